//! The document and the pages that show it.

use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::testing::TestApi;

/// Set to any value, it rewrites the checked-in document instead of comparing with it.
const UPDATE: &str = "UPDATE_SNAPSHOTS";

fn document() -> Value {
    serde_json::from_str(&openapi_document()).unwrap()
}

#[test]
fn the_checked_in_document_is_the_one_that_is_served() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let now = openapi_document() + "\n";
    if std::env::var_os(UPDATE).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, now).unwrap();
        return;
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == now,
        "docs/openapi.json is out of date: run the tests once with {UPDATE}=1 and commit it"
    );
}

#[test]
fn every_operation_is_described_and_names_its_errors() {
    for (path, operations) in document()["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let named = format!("{method} {path}");
            assert!(
                operation["summary"].is_string() && operation["description"].is_string(),
                "{named}"
            );
            assert!(operation["operationId"].is_string(), "{named}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200"), "{named}");
            for (status, response) in responses {
                assert!(
                    response["headers"]["X-REQUEST-ID"].is_object(),
                    "{named} {status}"
                );
                let is_health = path.starts_with("/health");
                if status.starts_with(['4', '5']) && !is_health {
                    let schema = &response["content"]["application/problem+json"]["schema"];
                    assert_eq!(
                        schema["$ref"], "#/components/schemas/Problem",
                        "{named} {status}"
                    );
                }
            }
        }
    }
}

#[test]
fn no_operation_is_lost_where_several_share_a_path() {
    let document = document();
    let task = &document["paths"]["/orchestrator/tasks/{task_id}"];
    assert_eq!(task["get"]["operationId"], "get_task");
    assert_eq!(task["delete"]["operationId"], "cancel_task");
    let operations = |api: MetaApi| api.paths.into_iter().map(|path| path.operations.len());
    let paths = document["paths"].as_object().unwrap().values();
    let shown: usize = paths.map(|path| path.as_object().unwrap().len()).sum();
    let known: usize = Endpoints::meta().into_iter().flat_map(operations).sum();
    assert_eq!(shown, known);
}

#[test]
fn request_bodies_are_documented_with_examples_and_limits() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let task = &schemas["TaskRequest"];
    assert_eq!(task["example"]["agent_id"], "underwriting_agent_01");
    assert_eq!(task["properties"]["priority"]["maximum"], 10.0);
    assert_eq!(
        task["required"],
        serde_json::json!(["agent_id", "task_type"])
    );
    assert!(schemas["AgentRegistration"]["example"]["brain_config"].is_object());
    // As each of them is read.
    assert_eq!(task["properties"]["max_attempts"]["nullable"], true);
    assert_eq!(task["properties"]["run_at"]["format"], "date-time");
    assert_eq!(
        schemas["AgentRegistration"]["properties"]["domain"]["minLength"],
        1
    );
}

#[tokio::test]
async fn the_pages_fetch_nothing_from_outside() {
    let api = TestApi::new().await;
    for path in ["/docs", "/redoc"] {
        let page = api.get(path).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert!(
            page.text.contains("/orchestrator/execute-task"),
            "{path} shows no endpoints"
        );
        assert!(
            page.text.contains("additionalProperties\": false"),
            "{path}"
        );
        // What a page fetches it names in a tag's attribute; the scripts themselves are part of it.
        for fetching in ["<link", "src=\"http", "href=\"https://fonts", "@import"] {
            assert!(!page.text.contains(fetching), "{path} contains {fetching}");
        }
    }
    // Else every reader's browser would send the page's address to a service elsewhere.
    let page = api.get("/docs").await;
    assert!(page.text.contains("validatorUrl: null"));
}

#[tokio::test]
async fn the_pages_run_their_own_scripts_and_no_other() {
    let api = TestApi::new().await;
    for path in ["/docs", "/redoc"] {
        let page = api.get(path).await;
        let policy = page.header("content-security-policy");
        let (_, scripts) = policy.split_once("script-src ").unwrap();
        let hashes: Vec<&str> = scripts.split(' ').collect();
        // The library, and what begins it with our document.
        assert_eq!(hashes.len(), 2, "{policy}");
        assert!(hashes.iter().all(|hash| hash.starts_with("'sha256-")));
        for rule in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "connect-src 'self'",
        ] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("http") && !policy.contains("unsafe-eval"));
    }
}

#[tokio::test]
async fn the_root_leads_to_the_pages_and_the_document_is_served_as_it_is() {
    let api = TestApi::new().await;
    let home = api.get("/").await;
    assert_eq!(
        (home.status.as_u16(), home.header("location")),
        (307, "/docs")
    );
    let served = api.get("/openapi.json").await;
    assert_eq!(served.header("content-type"), "application/json");
    assert_eq!(served.text, openapi_document());
}
