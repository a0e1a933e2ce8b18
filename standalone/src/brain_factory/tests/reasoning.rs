//! Agents with a language model, against a chat endpoint that plays a script.

use std::time::Duration;

use serde_json::{Value, json};
use wiremock::matchers::{header, method, path, query_param};
use wiremock::{Mock, ResponseTemplate};

use super::script::{KEY, Script, calls, last_message, says};
use super::{config_with, task};

#[tokio::test]
async fn react_calls_a_tool_sees_its_answer_and_concludes() {
    let script = Script::of([calls("rates", r#"{"term": "30y"}"#), says("Approve.")]).await;
    Mock::given(method("GET"))
        .and(path("/rates"))
        .and(query_param("term", "30y"))
        .and(header("x-api-key", "tool-secret"))
        .respond_with(ResponseTemplate::new(200).set_body_string("4.1%"))
        .expect(1)
        .mount(&script.server)
        .await;
    let tool = json!({"id": "rates", "type": "http_tool", "config": {
        "description": "Interest rates", "url": format!("{}/rates", script.server.uri()),
        "headers": {"x-api-key": "tool-secret"},
        "parameters": {"type": "object", "properties": {"term": {"type": "string"}}}}});
    let answer = script.run("ReAct", json!({"components": [tool]})).await;

    let result = answer.result.unwrap();
    assert_eq!(result["answer"], "Approve.");
    assert_eq!(result["mode"], "language_model");
    let step = &result["reasoning_steps"][0];
    assert_eq!(
        (&step["action"], &step["observation"]),
        (&json!("rates"), &json!("4.1%"))
    );
    let metadata = answer.metadata;
    assert_eq!(metadata["tokens_used"], 220);
    assert_eq!(metadata["llm_calls"], 2);
    assert_eq!(metadata["model"], "test-model");
    assert!((metadata["cost_estimate"].as_f64().unwrap() - 0.0004).abs() < 1e-9);

    let heard = script.heard().await;
    assert_eq!(heard[0]["model"], "test-model");
    let system = heard[0]["messages"][0]["content"].as_str().unwrap();
    assert!(system.contains("You are Ada") && system.contains("risk tolerance: low"));
    let user = heard[0]["messages"][1]["content"].as_str().unwrap();
    assert!(user.contains("risk_assessment") && user.contains("720"));
    assert_eq!(heard[0]["tools"][0]["function"]["name"], "rates");
    assert!(!heard[0].to_string().contains("tool-secret"));
    assert_eq!(
        *last_message(&heard[1]),
        json!({"role": "tool", "tool_call_id": "call_1", "content": "4.1%"})
    );
}

#[tokio::test]
async fn a_failing_or_unknown_tool_is_told_to_the_model() {
    let script = Script::of([calls("gone", "{}"), calls("down", "{}"), says("Done.")]).await;
    Mock::given(method("POST"))
        .and(path("/down"))
        .respond_with(ResponseTemplate::new(500).set_body_string("oops"))
        .mount(&script.server)
        .await;
    let tool =
        json!({"name": "down", "method": "post", "url": format!("{}/down", script.server.uri())});
    let answer = script
        .run("ReAct", json!({"plugin_config": {"tools": [tool]}}))
        .await;
    assert_eq!(answer.status, "completed");
    let heard = script.heard().await;
    assert_eq!(
        last_message(&heard[1])["content"],
        "Error: there is no tool 'gone'"
    );
    assert_eq!(
        last_message(&heard[2])["content"],
        "Error: the tool answered 500: oops"
    );
}

#[tokio::test]
async fn a_tool_is_read_to_its_limit_and_not_followed_elsewhere() {
    let script = Script::of([calls("large", "{}"), calls("moved", "{}"), says("Done.")]).await;
    for (name, response) in [
        (
            "/large",
            ResponseTemplate::new(200).set_body_string("x".repeat(200_000)),
        ),
        (
            "/moved",
            ResponseTemplate::new(302).insert_header("location", "/secret"),
        ),
    ] {
        Mock::given(path(name))
            .respond_with(response)
            .mount(&script.server)
            .await;
    }
    Mock::given(path("/secret"))
        .respond_with(ResponseTemplate::new(200))
        .expect(0)
        .mount(&script.server)
        .await;
    let tool = |name: &str| json!({"name": name, "url": format!("{}/{name}", script.server.uri())});
    let tools = json!({"plugin_config": {"tools": [tool("large"), tool("moved")]}});
    assert_eq!(script.run("ReAct", tools).await.status, "completed");
    let heard = script.heard().await;
    let large = last_message(&heard[1])["content"].as_str().unwrap();
    assert!(large.ends_with("[cut: the answer is over 64 KiB]") && large.len() < 66_000);
    let moved = last_message(&heard[2])["content"].as_str().unwrap();
    assert!(moved.starts_with("Error: the tool answered 302"));
}

#[tokio::test]
async fn a_model_that_only_calls_tools_is_made_to_answer() {
    let script = Script::of(
        (0..8)
            .map(|_| calls("nothing", "{}"))
            .chain([says("Enough.")]),
    )
    .await;
    let answer = script.run("ReAct", json!({})).await;
    assert_eq!(answer.result.unwrap()["answer"], "Enough.");
    assert!(script.is_over());
}

#[tokio::test]
async fn reflection_drafts_criticises_and_revises() {
    let script = Script::of([says("draft one"), says("too short"), says("final")]).await;
    let answer = script.run("Reflection", json!({})).await;
    let result = answer.result.unwrap();
    assert_eq!(result["answer"], "final");
    assert_eq!(answer.metadata["tokens_used"], 330);
    let stages: Vec<&Value> = result["reasoning_steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| &step["stage"])
        .collect();
    assert_eq!(stages, ["draft", "critique", "revision"]);
    let heard = script.heard().await;
    let revision = last_message(&heard[2])["content"].as_str().unwrap();
    assert!(revision.contains("draft one") && revision.contains("too short"));
}

#[tokio::test]
async fn planning_plans_carries_out_every_step_and_combines() {
    let plan = "Sure:\n```json\n{\"steps\": [\"check credit\", {\"task\": \"check loan\"}]}\n```";
    let script = Script::of([
        says(plan),
        says("credit ok"),
        says("loan ok"),
        says("both ok"),
    ])
    .await;
    let answer = script.run("Planning", json!({})).await;
    assert_eq!(answer.result.unwrap()["answer"], "both ok");
    let heard = script.heard().await;
    let combination = last_message(&heard[3])["content"].as_str().unwrap();
    assert!(combination.contains("1. check credit: credit ok"));
    assert!(combination.contains("2. check loan: loan ok"));
}

#[tokio::test]
async fn a_plan_that_cannot_be_read_is_asked_for_once_more_and_then_fails() {
    let script = Script::of([says("I would rather not."), says("No.")]).await;
    let answer = script.run("Planning", json!({})).await;
    assert_eq!(
        answer.error_message.as_deref(),
        Some("Reasoning failed: the model gave no plan that can be read")
    );
    assert_eq!(answer.metadata["tokens_used"], 220);
}

#[tokio::test]
async fn multi_agent_gives_each_step_its_role() {
    let plan = r#"{"steps": [{"role": "Fraud Examiner", "task": "look for fraud"}]}"#;
    let script = Script::of([says(plan), says("none"), says("clean")]).await;
    let answer = script.run("Multi-Agent", json!({})).await;
    assert_eq!(answer.result.unwrap()["answer"], "clean");
    let heard = script.heard().await;
    let system = heard[1]["messages"][0]["content"].as_str().unwrap();
    assert!(system.contains("the role of Fraud Examiner"));
}

#[tokio::test]
async fn the_model_is_told_what_the_agents_own_rules_computed() {
    let script = Script::of([says("Approve.")]).await;
    let rule = json!({"id": "credit", "type": "rule", "config": {
        "when": {"path": "credit_score", "op": "gte", "value": 700}, "then": "good-credit"}});
    let answer = script.run("ReAct", json!({"components": [rule]})).await;
    assert_eq!(answer.result.unwrap()["graph"]["output"], "good-credit");
    let heard = script.heard().await;
    let user = last_message(&heard[0])["content"].as_str().unwrap();
    assert!(user.contains("good-credit"));
}

#[tokio::test]
async fn a_busy_endpoint_is_tried_again() {
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "0");
    let script = Script::of([busy, ResponseTemplate::new(502), says("Approve.")]).await;
    let answer = script.run("ReAct", json!({})).await;
    assert_eq!(answer.result.unwrap()["answer"], "Approve.");
    assert_eq!(answer.metadata["llm_calls"], 1);
    assert!(script.is_over());
}

#[tokio::test]
async fn a_refused_key_fails_the_task_at_once_without_showing_the_key() {
    for status in [401, 404] {
        let body = json!({"error": {"message": format!("bad {KEY}")}});
        let script = Script::of([ResponseTemplate::new(status).set_body_json(body)]).await;
        let answer = script.run("ReAct", json!({})).await;
        assert_eq!(answer.status, "failed");
        let message = answer.error_message.unwrap();
        assert!(
            message.starts_with("Reasoning failed: the model endpoint refused"),
            "{message}"
        );
        assert!(!message.contains(KEY), "{message}");
        assert_eq!(script.heard().await.len(), 1);
    }
}

#[tokio::test]
async fn the_tasks_time_out_bounds_the_model_too() {
    let script = Script::of([
        calls("nothing", "{}"),
        says("late").set_delay(Duration::from_secs(60)),
    ])
    .await;
    let factory = script.factory().await;
    factory.agent(config_with("a", json!({}))).await;
    let mut hasty = task("t", json!({}));
    hasty["timeout_seconds"] = json!(1);
    let answer = factory.execute("a", hasty).await;
    assert_eq!(
        answer.error_message.as_deref(),
        Some("Task execution timed out after 1 seconds")
    );
    assert_eq!(
        answer.metadata["tokens_used"], 110,
        "what was used until then"
    );
}
