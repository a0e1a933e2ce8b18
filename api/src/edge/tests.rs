//! What holds for every request and every answer.

use poem::Body;
use serde_json::json;

use super::*;
use crate::Limits;
use crate::testing::{Fate, TestApi, impatient};

fn task() -> serde_json::Value {
    json!({"agent_id": "a", "task_type": "t", "task_data": {}})
}

#[tokio::test]
async fn every_answer_carries_a_request_id_and_a_trace_context() {
    let api = TestApi::new().await;
    for path in ["/health/live", "/nowhere", "/docs"] {
        let received = api.get(path).await;
        assert_eq!(received.header("x-request-id").len(), 36, "{path}");
        assert_eq!(received.header("traceparent").len(), 55, "{path}");
    }
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let given = [("x-request-id", "mine-1"), ("traceparent", traceparent)];
    let received = api
        .send(Method::GET, "/nowhere", &given, Body::empty())
        .await;
    assert_eq!(received.problem(404)["request_id"], "mine-1");
    assert_eq!(received.header("traceparent"), traceparent);
}

#[tokio::test]
async fn an_unknown_address_is_a_problem_without_its_query() {
    let problem = TestApi::new()
        .await
        .get("/nowhere?token=secret")
        .await
        .problem(404);
    assert_eq!(
        problem["type"],
        "urn:agent-orchestrator:problem:no_such_route"
    );
    assert_eq!(problem["instance"], "/nowhere");
}

#[tokio::test]
async fn a_wrong_method_is_a_problem_that_names_the_right_ones() {
    let api = TestApi::new().await;
    let wrong = |method, path| api.send(method, path, &[], Body::empty());
    let received = wrong(Method::DELETE, "/orchestrator/execute-task").await;
    received.problem(405);
    assert_eq!(received.header("allow"), "POST");
    let received = wrong(Method::PUT, "/orchestrator/agents/some_agent").await;
    received.problem(405);
    assert_eq!(received.header("allow"), "GET, DELETE");
}

#[tokio::test]
async fn a_panic_of_a_handler_is_a_500_that_tells_nothing() {
    let api = TestApi::new().await.fate(Fate::Panic);
    let received = api.post("/orchestrator/execute-task", &task()).await;
    received.problem(500);
    assert!(!received.text.contains("secret detail"));
    let after = api.get("/health/live").await;
    assert_eq!(after.status, 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_503() {
    let api = TestApi::with(&[], impatient(), vec![])
        .await
        .fate(Fate::Stuck);
    let received = api.post("/orchestrator/execute-task", &task()).await;
    received.problem(503);
    assert_eq!(received.header("retry-after"), "1");
}

#[tokio::test]
async fn a_busy_process_says_so_and_still_answers_probes() {
    let limits = Limits {
        concurrent_requests: 1,
        ..Limits::default()
    };
    let api = TestApi::with(&[], limits, vec![]).await.fate(Fate::Stuck);
    let body = task();
    let stuck = api.post("/orchestrator/execute-task", &body);
    tokio::pin!(stuck);
    assert!(futures::poll!(&mut stuck).is_pending());

    let refused = api.post("/orchestrator/execute-task", &body).await;
    refused.problem(503);
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(api.get("/health/live").await.status, 200);
    assert!(futures::poll!(&mut stuck).is_pending());
}

#[tokio::test]
async fn requests_are_counted_by_the_template_of_their_route() {
    let api = TestApi::new().await;
    api.get("/orchestrator/agents/agent_7").await;
    api.get("/orchestrator/tasks/not-a-task").await;
    api.get("/nowhere/at/all").await;
    api.send(
        Method::from_bytes(b"BREW").unwrap(),
        "/docs",
        &[],
        Body::empty(),
    )
    .await;
    let text = api.get("/metrics").await.text;
    for line in [
        r#"agent_orchestrator_requests_total{endpoint="/orchestrator/tasks/{task_id}",method="GET",status="404"} 1"#,
        r#"agent_orchestrator_requests_total{endpoint="unmatched",method="GET",status="404"} 1"#,
        r#"agent_orchestrator_requests_total{endpoint="/docs",method="other",status="405"} 1"#,
        r#"agent_orchestrator_errors_total{type="no_such_task"} 1"#,
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
    }
    assert!(text.contains(r#"endpoint="/orchestrator/agents/{agent_id}""#));
    assert!(!text.contains("agent_7") && !text.contains("nowhere"));
}

#[tokio::test]
async fn metrics_that_are_off_say_so() {
    let api = TestApi::with(
        &[("AGENT_METRICS_ENABLED", "false")],
        Limits::default(),
        vec![],
    )
    .await;
    let received = api.get("/metrics").await;
    assert_eq!(received.status, 200);
    assert!(received.text.contains("AGENT_METRICS_ENABLED=false"));
}

#[tokio::test]
async fn an_answer_from_an_unreachable_ledger_tells_when_to_try_again() {
    let received = TestApi::new().await.get("/orchestrator/agents").await;
    let problem = received.problem(503);
    assert_eq!(
        problem["type"],
        "urn:agent-orchestrator:problem:unavailable"
    );
    assert_eq!(received.header("retry-after"), "2");
}
