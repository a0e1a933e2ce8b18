//! The routes, their status codes and their shapes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{TestFactory, config, config_with, eventually, task};
use crate::brain_factory::{BrainFactory, BrainFactoryOptions};

#[tokio::test]
async fn an_agent_is_made_listed_asked_and_deleted() {
    let factory = TestFactory::start().await;
    let made = factory.generate(config("a:1")).await;
    assert!(made.success);
    assert_eq!(made.status.as_deref(), Some("ready"));
    assert_eq!(made.agent_id.as_deref(), Some("a:1"));
    let endpoint = format!("{}/agents/a:1", factory.url);
    assert_eq!(made.agent_endpoint, Some(endpoint));

    let listed: Value = factory.get("/agents").await.json().await.unwrap();
    assert_eq!(listed["count"], 1);
    assert_eq!(listed["agents"][0]["agent_id"], "a:1");

    let status = factory.status("a:1").await;
    assert_eq!(status.status["state"], "ready");
    assert!(status.active_tasks.is_empty() && status.task_history_count == 0);

    factory.execute("a:1", task("t1", json!({}))).await;
    assert_eq!(factory.status("a:1").await.task_history_count, 1);

    let gone = factory.delete("a:1").await;
    assert_eq!(gone, json!({"termination_status": "success"}));
    assert_eq!(factory.get("/agents/a:1/status").await.status(), 404);
}

#[tokio::test]
async fn deleting_an_unknown_agent_is_no_404_but_executing_it_is() {
    let factory = TestFactory::start().await;
    let gone = factory.delete("nobody").await;
    assert_eq!(gone, json!({"termination_status": "not_found"}));
    let response = factory.call("nobody", &task("t", json!({})), &[]).await;
    assert_eq!(response.status(), 404);
    assert_eq!(
        response.json::<Value>().await.unwrap()["detail"],
        "Agent nobody not found"
    );
}

#[tokio::test]
async fn a_body_that_is_not_of_the_contract_is_a_422() {
    let factory = TestFactory::start().await;
    factory.agent(config("a")).await;
    for body in [json!({}), json!({"agent_config": "text"}), json!([])] {
        assert_eq!(factory.post("/generate-agent", &body).await.status(), 422);
    }
    let no_description = json!({"task_id": "t"});
    let numeric_priority = json!({"task_id": "t", "description": "d", "priority": 5});
    for body in [no_description, numeric_priority, json!("text")] {
        assert_eq!(factory.post("/agents/a/execute", &body).await.status(), 422);
    }
    let key = "k".repeat(256);
    let refused = factory
        .call(
            "a",
            &task("t", json!({})),
            &[("idempotency-key", key.as_str())],
        )
        .await;
    assert_eq!(refused.status(), 422);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_while_it_is_read() {
    let factory = TestFactory::with(BrainFactoryOptions {
        max_body_bytes: 2_048,
        ..BrainFactoryOptions::default()
    })
    .await;
    factory.agent(config("a")).await;
    let large = task("t", json!({"text": "x".repeat(4_096)}));
    assert_eq!(factory.call("a", &large, &[]).await.status(), 413);
}

#[tokio::test]
async fn an_agent_with_a_limit_is_busy_beyond_it_and_ready_again_afterwards() {
    let factory = TestFactory::start().await;
    factory
        .agent(config_with(
            "a",
            json!({"execution_limits": {"max_concurrent_tasks": 1}}),
        ))
        .await;
    let slow = factory.request(
        "a",
        &task("slow", json!({"_simulate": {"delay_ms": 60_000}})),
        &[],
    );
    let running = tokio::spawn(slow.send());
    eventually("the task runs", || factory.stats.executing() == 1).await;
    let status = factory.status("a").await;
    assert_eq!(status.status["state"], "executing");
    assert_eq!(status.active_tasks, ["slow"]);
    let busy = factory.execute("a", task("other", json!({}))).await;
    assert_eq!(busy.status, "failed");
    assert_eq!(
        busy.error_message.as_deref(),
        Some("Agent not ready for task execution. Current state: executing")
    );
    assert_eq!(factory.stats.executions_of_task("other"), 0);
    running.abort();
}

#[tokio::test]
async fn an_execution_goes_on_when_its_caller_hangs_up() {
    let factory = TestFactory::start().await;
    factory.agent(config("a")).await;
    let slow = task("t", json!({"_simulate": {"delay_ms": 1_000}}));
    let call = tokio::spawn(factory.request("a", &slow, &[]).send());
    eventually("the task runs", || factory.stats.executing() == 1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    eventually("the task ended", || factory.stats.agent("a").ended == 1).await;
    let metrics: Value = factory.get("/metrics").await.json().await.unwrap();
    assert_eq!(metrics["executions_completed"], 1);
}

#[tokio::test]
async fn stopping_ends_what_still_runs_after_the_grace_period() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = BrainFactoryOptions {
        simulation: true,
        shutdown_grace: Duration::from_millis(50),
        ..BrainFactoryOptions::default()
    };
    let built = BrainFactory::build(listener, options).unwrap();
    let shutdown = CancellationToken::new();
    let mut factory = TestFactory {
        url: built.url().to_owned(),
        stats: built.stats(),
        client: reqwest::Client::new(),
        server: tokio::spawn(built.run_until_stopped(shutdown.clone())),
        shutdown,
    };
    factory.agent(config("a")).await;
    let slow = task("t", json!({"_simulate": {"delay_ms": 60_000}}));
    let call = tokio::spawn(factory.request("a", &slow, &[]).send());
    eventually("the task runs", || factory.stats.executing() == 1).await;
    factory.shutdown.cancel();
    let stopped = tokio::time::timeout(Duration::from_secs(10), &mut factory.server).await;
    stopped.expect("it stops").unwrap().unwrap();
    assert_eq!(factory.stats.executing(), 0);
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn health_says_what_the_agents_run_on() {
    let factory = TestFactory::start().await;
    let health: Value = factory.get("/health").await.json().await.unwrap();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["mode"], "deterministic");
}
