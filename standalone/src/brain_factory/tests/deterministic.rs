//! Agents without a language model: they run their graph.

use serde_json::{Value, json};

use super::{TestFactory, config, config_with, task};

/// The JSON examples of the user's page, in order.
fn documented(index: usize) -> Value {
    let page = include_str!("../../../../docs/brain-factory.md");
    let example = page.split("```json\n").nth(index + 1).unwrap();
    serde_json::from_str(example.split("```").next().unwrap()).unwrap()
}

fn underwriting() -> Value {
    documented(0)
}

async fn run(graph: Value, input: Value) -> Result<Value, String> {
    let factory = TestFactory::start().await;
    factory.agent(config_with("a", graph)).await;
    let answer = factory.execute("a", task("t", input)).await;
    assert_eq!(answer.status == "completed", answer.result.is_some());
    answer
        .result
        .ok_or_else(|| answer.error_message.unwrap_or_default())
}

#[tokio::test]
async fn the_underwriting_example_decides_by_its_rules() {
    let cases = [
        (720, 500_000, "approve", 3),
        (720, 900_000, "refer", 2),
        (500, 100_000, "refer", 1),
        (500, 900_000, "decline", 0),
    ];
    for (credit_score, loan_amount, decision, score) in cases {
        let input = json!({"applicant_id": "APP001", "credit_score": credit_score, "loan_amount": loan_amount});
        let result = run(underwriting(), input).await.unwrap();
        assert_eq!(result["mode"], "deterministic");
        assert!(
            result["note"]
                .as_str()
                .unwrap()
                .contains("no language model")
        );
        assert_eq!(result["decision"], decision);
        assert_eq!(
            result["output"],
            format!("Applicant APP001: {decision} (score {score})")
        );
        let trace: Vec<_> = result["trace"].as_array().unwrap().iter().collect();
        assert_eq!(trace.len(), 4);
        assert_eq!(trace[2]["component"], "verdict");
        assert_eq!(
            trace[2]["output"],
            json!({"decision": decision, "value": score})
        );
    }
}

#[tokio::test]
async fn the_users_page_shows_the_result_that_it_promises() {
    let input = json!({"applicant_id": "APP001", "credit_score": 720, "loan_amount": 500_000});
    assert_eq!(run(underwriting(), input).await.unwrap(), documented(1));
}

#[tokio::test]
async fn a_missing_input_fails_naming_the_component_and_the_path() {
    let error = run(underwriting(), json!({"credit_score": 720})).await;
    assert_eq!(
        error.unwrap_err(),
        "Missing input: component 'loan' needs 'loan_amount'"
    );
    let error = run(
        underwriting(),
        json!({"credit_score": "720", "loan_amount": 1}),
    )
    .await;
    assert_eq!(
        error.unwrap_err(),
        "Wrong input: component 'credit' needs 'credit_score' to be a number, and it is a text"
    );
}

#[tokio::test]
async fn every_operator_and_group_does_what_its_name_says() {
    let input = json!({"n": 5, "f": 5.0, "text": "underwriting", "list": ["a", 1], "nothing": null, "deep": {"items": [{"x": 7}]}});
    let cases = [
        (json!({"path": "n", "op": "eq", "value": 5.0}), true),
        (json!({"path": "n", "op": "ne", "value": "5"}), true),
        (json!({"path": "f", "op": "gt", "value": 5}), false),
        (json!({"path": "f", "op": "gte", "value": 5}), true),
        (json!({"path": "n", "op": "lt", "value": 5.5}), true),
        (json!({"path": "n", "op": "lte", "value": 4}), false),
        (json!({"path": "text", "op": "gt", "value": "a"}), true),
        (json!({"path": "n", "op": "in", "value": [4, 5]}), true),
        (json!({"path": "list", "op": "contains", "value": 1}), true),
        (
            json!({"path": "text", "op": "contains", "value": "write"}),
            false,
        ),
        (
            json!({"path": "text", "op": "contains", "value": "writ"}),
            true,
        ),
        (json!({"path": "nothing", "op": "exists"}), false),
        (
            json!({"path": "gone", "op": "exists", "value": false}),
            true,
        ),
        (
            json!({"path": "$.deep.items[0].x", "op": "eq", "value": 7}),
            true,
        ),
        (
            json!({"path": "input.deep.items.0.x", "operator": "eq", "value": 7}),
            true,
        ),
        (
            json!({"all": [{"path": "n", "op": "eq", "value": 5}, {"path": "n", "op": "eq", "value": 6}]}),
            false,
        ),
        (
            json!({"any": [{"path": "n", "op": "eq", "value": 5}, {"path": "gone", "op": "eq", "value": 6}]}),
            true,
        ),
        (
            json!({"any": [{"all": [{"path": "n", "op": "lt", "value": 0}]}, {"path": "n", "op": "eq", "value": 6}]}),
            false,
        ),
    ];
    for (condition, holds) in cases {
        let rule = json!({"components": [{"id": "r", "type": "rule", "config": {"when": condition, "then": "yes", "else": {"no": 1}}}]});
        let expected = if holds {
            json!("yes")
        } else {
            json!({"no": 1})
        };
        let result = run(rule, input.clone()).await.unwrap();
        assert_eq!(result["output"], expected, "{condition}");
    }
}

#[tokio::test]
async fn a_number_without_a_threshold_takes_the_default_or_fails() {
    let decision = |default: Value| {
        json!({"components": [{"id": "d", "type": "decision", "config": {
        "value": "n", "thresholds": [{"min": 10, "max": 20, "decision": "high"}], "default": default}}]})
    };
    let result = run(decision(json!("other")), json!({"n": 9.5}))
        .await
        .unwrap();
    assert_eq!(result["output"], json!({"decision": "other", "value": 9.5}));
    let error = run(decision(Value::Null), json!({"n": 21}))
        .await
        .unwrap_err();
    assert_eq!(
        error,
        "No decision: component 'd' has no threshold for 21 and no default"
    );
}

#[tokio::test]
async fn unknown_components_hand_their_input_on_and_are_listed() {
    let graph = json!({
        "components": [
            {"name": "start", "kind": "data_source"},
            {"name": "memory", "kind": "vector_store"},
            {"name": "end", "kind": "sink"},
        ],
        "edges": [
            {"source": "start", "target": "end"},
            {"source": "memory", "target": "end"},
        ],
    });
    let result = run(graph, json!({"x": 1})).await.unwrap();
    assert_eq!(
        result["output"],
        json!({"start": {"x": 1}, "memory": {"x": 1}})
    );
    assert_eq!(result["passed_through"], json!(["start", "memory", "end"]));
    assert!(result.get("decision").is_none());
}

#[tokio::test]
async fn components_that_double_their_input_again_and_again_fail_instead_of_filling_memory() {
    let mut components = vec![json!({"id": "l0"}), json!({"id": "r0"})];
    let mut connections = Vec::new();
    for layer in 1..60 {
        for side in ["l", "r"] {
            components.push(json!({"id": format!("{side}{layer}")}));
            for from in ["l", "r"] {
                let (from, to) = (format!("{from}{}", layer - 1), format!("{side}{layer}"));
                connections.push(json!({"from": from, "to": to}));
            }
        }
    }
    let graph = json!({"components": components, "connections": connections});
    let error = run(graph, json!({"x": "y"})).await.unwrap_err();
    assert!(error.starts_with("Result too large"), "{error}");
}

#[tokio::test]
async fn an_agent_without_components_says_so_and_repeats_its_input() {
    let factory = TestFactory::start().await;
    factory.agent(config("a")).await;
    let answer = factory.execute("a", task("t", json!({"x": 1}))).await;
    let result = answer.result.unwrap();
    assert_eq!(result["input"], json!({"x": 1}));
    assert_eq!(result["persona"]["name"], "Ada");
    assert!(result["note"].as_str().unwrap().contains("no components"));
    assert_eq!(answer.metadata["mode"], "deterministic");
    assert!(!answer.metadata.contains_key("tokens_used"));
}
