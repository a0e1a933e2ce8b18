//! Misbehaviour on request, and the counters that tests of callers read.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{TestFactory, config, task};
use crate::brain_factory::BrainFactoryOptions;

fn simulating(wish: Value) -> Value {
    task("t", json!({"x": 1, "_simulate": wish}))
}

#[tokio::test]
async fn concurrent_executions_are_counted() {
    let factory = TestFactory::start().await;
    factory.agent(config("a")).await;
    factory.agent(config("b")).await;
    let calls = (0..6).map(|number| {
        let agent = if number < 4 { "a" } else { "b" };
        let slow = task(
            &format!("t{number}"),
            json!({"_simulate": {"delay_ms": 1_000}}),
        );
        let factory = &factory;
        async move { factory.execute(agent, slow).await }
    });
    for answer in join_all(calls).await {
        assert_eq!(answer.status, "completed");
    }
    let stats = &factory.stats;
    assert_eq!(stats.agent("a").max_executing, 4);
    assert_eq!(stats.agent("b").max_executing, 2);
    assert_eq!((stats.executing(), stats.max_executing()), (0, 6));
    let metrics: Value = factory.get("/metrics").await.json().await.unwrap();
    assert_eq!(
        metrics["per_agent"]["a"],
        json!({"executing": 0, "max_executing": 4, "ended": 4})
    );
    assert_eq!(metrics["executions_per_task"]["t5"], 1);
}

#[tokio::test]
async fn refusals_have_their_status_and_retry_after() {
    let factory = TestFactory::start().await;
    factory.agent(config("a")).await;
    let wish = simulating(json!({"status": 503, "retry_after": 7}));
    let response = factory.call("a", &wish, &[]).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "7");
    let wish = simulating(json!({"fail_attempts": 2}));
    for (attempt, status) in [("1", 503), ("2", 503), ("3", 200)] {
        let response = factory.call("a", &wish, &[("x-attempt", attempt)]).await;
        assert_eq!(response.status(), status, "attempt {attempt}");
    }
}

#[tokio::test]
async fn failures_usage_and_timeouts_are_answered_with_200() {
    let factory = TestFactory::start().await;
    factory.agent(config("a")).await;
    let failed = factory
        .execute("a", simulating(json!({"fail": "Reasoning failed: no"})))
        .await;
    assert_eq!(failed.status, "failed");
    assert_eq!(
        failed.error_message.as_deref(),
        Some("Reasoning failed: no")
    );
    let used = factory
        .execute(
            "a",
            simulating(json!({"tokens_used": 42, "cost_estimate": 0.5})),
        )
        .await;
    assert_eq!(used.metadata["tokens_used"], 42);
    assert_eq!(used.metadata["cost_estimate"], 0.5);
    assert_eq!(used.result.unwrap()["input"], json!({"x": 1}));
    let mut slow = simulating(json!({"delay_ms": 60_000}));
    slow["timeout_seconds"] = json!(1);
    let late = factory.execute("a", slow).await;
    assert_eq!(
        late.error_message.as_deref(),
        Some("Task execution timed out after 1 seconds")
    );
    assert!(late.execution_time.unwrap() >= 1.0);
}

#[tokio::test]
async fn a_forgotten_agent_is_gone_until_it_is_made_again() {
    let factory = TestFactory::start().await;
    factory.agent(config("a")).await;
    let wish = simulating(json!({"forget": 1}));
    assert_eq!(factory.call("a", &wish, &[]).await.status(), 404);
    let other = task("other", json!({}));
    assert_eq!(factory.call("a", &other, &[]).await.status(), 404);
    factory.agent(config("a")).await;
    assert_eq!(factory.call("a", &wish, &[]).await.status(), 200);
}

#[tokio::test]
async fn busy_may_last_for_ever_or_for_some_calls() {
    let factory = TestFactory::start().await;
    factory.agent(config("a")).await;
    for (call, status) in [(1, "failed"), (2, "failed"), (3, "completed")] {
        let answer = factory.execute("a", simulating(json!({"busy": 2}))).await;
        assert_eq!(answer.status, status, "call {call}");
    }
    let answer = factory
        .execute("a", simulating(json!({"busy": true})))
        .await;
    assert_eq!(
        answer.error_message.as_deref(),
        Some("Agent not ready for task execution. Current state: executing")
    );
    assert_eq!(factory.stats.executions_of_task("t"), 1);
}

#[tokio::test]
async fn a_dropped_connection_delivers_no_answer() {
    let factory = TestFactory::start().await;
    factory.agent(config("a")).await;
    let request = factory.request("a", &simulating(json!({"drop_connection": true})), &[]);
    let broken = match request.send().await {
        Ok(response) => response.bytes().await.is_err(),
        Err(_) => true,
    };
    assert!(broken);
    let next = factory.execute("a", task("next", json!({}))).await;
    assert_eq!(next.status, "completed");
}

#[tokio::test]
async fn an_unknown_wish_is_refused_and_without_simulation_it_is_plain_data() {
    let factory = TestFactory::start().await;
    factory.agent(config("a")).await;
    let typo = simulating(json!({"dealy_ms": 1}));
    assert_eq!(factory.call("a", &typo, &[]).await.status(), 422);

    let plain = TestFactory::with(BrainFactoryOptions::default()).await;
    plain.agent(config("a")).await;
    let answer = plain
        .execute("a", simulating(json!({"status": 503, "tokens_used": 9})))
        .await;
    assert_eq!(answer.status, "completed");
    assert_eq!(answer.result.unwrap()["input"]["_simulate"]["status"], 503);
    assert!(!answer.metadata.contains_key("tokens_used"));
    assert_eq!(plain.stats.executions_of_task("t"), 0);
}
