//! Submitting tasks. The ledger does not answer here, which must not stop tasks from being accepted.

use std::time::Duration;

use orchestrator_common::commands::AcceptError;
use orchestrator_common::domain::{AgentId, TaskId};
use serde_json::{Value, json};

use crate::testing::{Fate, Received, TestApi};

const EXECUTE: &str = "/orchestrator/execute-task";

fn task() -> Value {
    json!({"agent_id": "a", "task_type": "t", "task_data": {"x": 1}, "priority": 5})
}

fn task_id(received: &Received) -> String {
    received.json()["task_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_accepted_task_is_answered_200_with_its_address() {
    let api = TestApi::new().await;
    let received = api.post(EXECUTE, &task()).await;
    assert_eq!(received.status, 200);
    assert_eq!(received.header("content-type"), "application/json");
    let id = task_id(&received);
    let address = format!("/orchestrator/tasks/{id}");
    assert_eq!(received.header("location"), address);
    assert_eq!(
        received.json(),
        json!({"success": true, "task_id": id, "agent_id": "a", "status": "queued", "queue_position": 3,
            "task_status_endpoint": address})
    );
    let submitted = api.commands.only_task();
    assert_eq!(submitted.task_id.to_string(), id);
    assert_eq!(
        (submitted.priority.get(), submitted.task_data.get()),
        (5, r#"{"x":1}"#)
    );
    assert_eq!(submitted.fingerprint, None);
}

#[tokio::test]
async fn a_caller_who_prefers_202_gets_it() {
    let api = TestApi::new().await;
    for prefer in [
        "respond-async",
        "wait=5, Respond-Async",
        "respond-async; wait=10",
    ] {
        let received = api.post_with(EXECUTE, &[("prefer", prefer)], &task()).await;
        assert_eq!(received.status, 202, "{prefer}");
        let applied = received.header("preference-applied");
        assert!(applied.starts_with("respond-async"), "{applied}");
        assert!(received.header("location").ends_with(&task_id(&received)));
    }
    let received = api
        .post_with(EXECUTE, &[("prefer", "return=minimal")], &task())
        .await;
    assert_eq!(received.status, 200);
}

#[tokio::test]
async fn the_trace_of_the_request_goes_with_the_task() {
    let api = TestApi::new().await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    api.post_with(EXECUTE, &[("traceparent", traceparent)], &task())
        .await;
    assert_eq!(
        api.commands.only_task().traceparent.as_deref(),
        Some(traceparent)
    );
}

#[tokio::test]
async fn a_key_names_one_task_and_its_fingerprint_tells_requests_apart() {
    let api = TestApi::new().await;
    let post = async |key, body: &Value| {
        let received = api
            .post_with(EXECUTE, &[("idempotency-key", key)], body)
            .await;
        assert_eq!(received.status, 200, "{}", received.text);
        task_id(&received)
    };
    let reordered =
        json!({"priority": 5, "task_data": {"x": 1}, "task_type": "t", "agent_id": "a"});
    let different =
        json!({"agent_id": "a", "task_type": "t", "task_data": {"x": 2}, "priority": 5});
    let first = post("k1", &task()).await;
    assert_eq!(post("k1", &reordered).await, first);
    assert_eq!(post("k1", &different).await, first);
    assert_ne!(post("k2", &task()).await, first);
    let prints: Vec<_> = api
        .commands
        .tasks
        .lock()
        .unwrap()
        .iter()
        .map(|task| task.fingerprint)
        .collect();
    assert!(prints[0].is_some());
    assert_eq!(prints[0], prints[1]);
    assert_ne!(prints[0], prints[2]);
    assert_eq!(prints[0], prints[3]);
}

#[tokio::test]
async fn a_key_that_cannot_be_one_is_refused() {
    let api = TestApi::new().await;
    for bad in ["", "a b", &"k".repeat(256)] {
        let received = api
            .post_with(EXECUTE, &[("idempotency-key", bad)], &task())
            .await;
        assert_eq!(received.faulty_fields(), ["Idempotency-Key"], "{bad}");
    }
    // Passed over, these would let a repeated request make a second task.
    let two = [("idempotency-key", "a"), ("idempotency-key", "a")];
    for bad in [&[("idempotency-key", "k\u{e9}")][..], &two] {
        let received = api.post_with(EXECUTE, bad, &task()).await;
        assert_eq!(received.faulty_fields(), ["Idempotency-Key"], "{bad:?}");
    }
    let mut named = task();
    named["task_id"] = json!("0199a3c4-6f6e-7c3b-9b1e-3d1f0a5c7e21");
    let received = api
        .post_with(EXECUTE, &[("idempotency-key", "k")], &named)
        .await;
    assert_eq!(received.faulty_fields(), ["task_id"]);
}

#[tokio::test]
async fn a_task_named_by_its_caller_carries_a_fingerprint_too() {
    let api = TestApi::new().await;
    let mut named = task();
    named["task_id"] = json!("0199a3c4-6f6e-7c3b-9b1e-3d1f0a5c7e21");
    let received = api.post(EXECUTE, &named).await;
    assert_eq!(task_id(&received), "0199a3c4-6f6e-7c3b-9b1e-3d1f0a5c7e21");
    assert!(api.commands.only_task().fingerprint.is_some());
}

#[tokio::test]
async fn what_was_not_accepted_is_answered_with_a_problem() {
    let refused = async |error| {
        let api = TestApi::new().await.fate(Fate::Refused(error));
        api.post(EXECUTE, &task()).await
    };
    let agent_id = AgentId::parse("a").unwrap();
    let unknown = refused(AcceptError::UnknownAgent(agent_id)).await;
    assert_eq!(unknown.problem(404)["detail"], "agent a is not registered");
    refused(AcceptError::Conflict(TaskId::generate()))
        .await
        .problem(409);
    let retry_after = Duration::from_secs(7);
    let unavailable = refused(AcceptError::Unavailable { retry_after }).await;
    unavailable.problem(503);
    assert_eq!(unavailable.header("retry-after"), "7");
}
