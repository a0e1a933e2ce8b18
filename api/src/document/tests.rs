//! What the document says beside the framework, and that it says so of everything.

use poem::http::Method;
use serde_json::{Value, json};

use crate::openapi_document;
use crate::testing::TestApi;

fn document() -> Value {
    serde_json::from_str(&openapi_document()).unwrap()
}

/// Every operation with its method and its address.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations.push((method.clone(), path.clone(), operation.clone()));
        }
    }
    operations
}

#[test]
fn every_operation_has_a_group_a_description_and_examples_of_all_its_answers() {
    for (method, path, operation) in operations(&document()) {
        let named = format!("{method} {path}");
        assert!(!operation["tags"].as_array().unwrap().is_empty(), "{named}");
        let described = operation["description"].as_str().unwrap();
        assert!(described.len() > 20, "{named}");
        let responses = operation["responses"].as_object().unwrap();
        for (status, response) in responses {
            for (kind, content) in response["content"].as_object().into_iter().flatten() {
                let example = &content["example"];
                assert!(!example.is_null(), "{named} {status} {kind}");
                if kind == "application/problem+json" {
                    assert_eq!(example["status"].to_string(), *status, "{named}");
                }
            }
        }
        let errors = responses
            .keys()
            .filter(|status| status.starts_with(['4', '5']));
        assert!(errors.count() > 0 || path == "/health/live", "{named}");
    }
}

#[test]
fn the_callback_of_a_task_is_described() {
    let document = document();
    let callbacks = &document["paths"]["/orchestrator/execute-task"]["post"]["callbacks"];
    let post = &callbacks["outcome"]["{$request.body#/callback_url}"]["post"];
    assert_eq!(post["parameters"][0]["name"], "webhook-id");
    let content = &post["requestBody"]["content"]["application/json"];
    let fields = content["schema"]["properties"].as_object().unwrap();
    let example = content["example"].as_object().unwrap();
    assert!(fields.keys().eq(example.keys()), "{example:?}");
}

#[tokio::test]
async fn bodies_that_are_closed_in_the_document_refuse_unknown_fields_and_no_others_do() {
    let document = document();
    // Some are looked at together with what the ledger has.
    let api = TestApi::with_working_ledger().await;
    let mut seen = [0, 0];
    for (method, path, operation) in operations(&document) {
        let content = &operation["requestBody"]["content"]["application/json"];
        let Some(name) = content["schema"]["$ref"].as_str() else {
            continue;
        };
        let name = name.rsplit('/').next().unwrap();
        let is_closed =
            document["components"]["schemas"][name]["additionalProperties"] == json!(false);
        let id = "01957f3a-5c00-7000-8000-000000000001";
        let mut path = path.replace("{agent_id}", "a");
        while let (Some(from), Some(to)) = (path.find('{'), path.find('}')) {
            path.replace_range(from..=to, id);
        }
        let body = json!({"agent_id": "a", "surprise_field": 1}).to_string();
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let answer = api
            .send(method, &path, &[("content-type", "application/json")], body)
            .await;
        let refused = answer.status == 422 && answer.text.contains("surprise_field");
        assert_eq!(refused, is_closed, "{path} {name}: {}", answer.text);
        seen[usize::from(is_closed)] += 1;
    }
    assert!(seen[0] >= 2 && seen[1] >= 6, "{seen:?}");
}
