//! What bodies are taken, and what is said of the others.

use std::time::Duration;

use poem::http::Method;
use serde_json::json;

use super::*;
use crate::Limits;
use crate::testing::{Received, TestApi, impatient};

const EXECUTE: &str = "/orchestrator/execute-task";

async fn post(api: &TestApi, content_type: Option<&str>, body: impl Into<Body>) -> Received {
    let headers: Vec<_> = content_type
        .iter()
        .map(|declared| ("content-type", *declared))
        .collect();
    api.send(Method::POST, EXECUTE, &headers, body).await
}

fn good() -> String {
    json!({"agent_id": "a", "task_type": "t", "task_data": {}}).to_string()
}

#[tokio::test]
async fn every_fault_of_a_body_is_named_at_once() {
    let body = json!({"agent_id": "a b", "priority": 11, "task_data": 5, "surprise": 1});
    let received = TestApi::new().await.post(EXECUTE, &body).await;
    assert_eq!(
        received.faulty_fields(),
        ["task_type", "agent_id", "task_data", "priority", "surprise"]
    );
}

#[tokio::test]
async fn a_body_that_is_not_json_is_a_400() {
    let api = TestApi::new().await;
    let json = Some("application/json");
    for body in ["", "{", "{} trailing", "{\"a\": 1e999}", "\u{feff}{}"] {
        post(&api, json, body).await.problem(400);
    }
    post(&api, json, b"{\"a\": \"\xff\"}".to_vec())
        .await
        .problem(400);
    post(&api, json, "[".repeat(100_000)).await.problem(400);
}

#[tokio::test]
async fn json_that_is_not_an_object_is_a_422() {
    for body in ["null", "[]", "5", "\"x\""] {
        let received = post(&TestApi::new().await, Some("application/json"), body).await;
        assert_eq!(received.faulty_fields(), [""], "{body}");
    }
}

#[tokio::test]
async fn a_body_that_is_encoded_further_or_declared_twice_is_a_415() {
    let api = TestApi::new().await;
    let json = ("content-type", "application/json");
    for refused in [
        [json, ("content-encoding", "gzip")],
        [json, ("transfer-encoding", "gzip, chunked")],
        [json, ("content-type", "text/plain")],
    ] {
        let sent = api.send(Method::POST, EXECUTE, &refused, good());
        sent.await.problem(415);
    }
    let plain = [json, ("content-encoding", "identity")];
    let sent = api.send(Method::POST, EXECUTE, &plain, good());
    assert_eq!(sent.await.status, 200);
}

#[tokio::test]
async fn a_body_must_be_declared_as_json_or_not_at_all() {
    let api = TestApi::new().await;
    for taken in [
        None,
        Some("application/json"),
        Some("Application/JSON; charset=utf-8"),
        Some("application/vnd.api+json"),
    ] {
        assert_eq!(post(&api, taken, good()).await.status, 200, "{taken:?}");
    }
    for refused in [
        "text/plain",
        "application/xml",
        "json",
        "application/x-www-form-urlencoded",
    ] {
        post(&api, Some(refused), good()).await.problem(415);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_declared_or_not() {
    let api = TestApi::with(&[("MAX_BODY_BYTES", "2048")], Limits::default(), vec![]).await;
    let large = format!("{}{}", good(), " ".repeat(2_048));
    let headers = [("content-length", "2097152")];
    api.send(Method::POST, EXECUTE, &headers, "{}")
        .await
        .problem(413);
    let chunk = Ok::<_, std::io::Error>(large.into_bytes());
    let chunks = futures::stream::iter([chunk]);
    post(&api, None, Body::from_bytes_stream(chunks))
        .await
        .problem(413);
    let fits = format!("{}{}", good(), " ".repeat(2_048 - good().len()));
    assert_eq!(post(&api, None, fits).await.status, 200);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_a_408() {
    let limits = Limits {
        request_time: Duration::from_secs(30),
        ..impatient()
    };
    let api = TestApi::with(&[], limits, vec![]).await;
    let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    post(&api, None, Body::from_bytes_stream(never))
        .await
        .problem(408);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_400() {
    let broken = Err::<Vec<u8>, _>(std::io::Error::other("reset"));
    let chunks = futures::stream::iter([Ok(b"{".to_vec()), broken]);
    post(&TestApi::new().await, None, Body::from_bytes_stream(chunks))
        .await
        .problem(400);
}

#[tokio::test]
async fn an_agent_is_named_in_the_body_or_in_the_query() {
    let api = TestApi::new().await;
    let send = |path: &'static str, body: &'static str| api.send(Method::POST, path, &[], body);
    for path in [
        "/orchestrator/start",
        "/orchestrator/stop",
        "/orchestrator/unregister",
    ] {
        let received = api.send(Method::POST, path, &[], "").await;
        assert_eq!(received.faulty_fields(), ["agent_id"], "{path}");
        // It gets as far as the ledger, which does not answer.
        api.send(Method::POST, path, &[], r#"{"agent_id": "a"}"#)
            .await
            .problem(503);
        let query = format!("{path}?agent_id=a");
        api.send(Method::POST, &query, &[], "").await.problem(503);
        api.send(Method::POST, &query, &[], r#"{"agent_id": "a"}"#)
            .await
            .problem(503);
        let other = api
            .send(Method::POST, &query, &[], r#"{"agent_id": "b"}"#)
            .await;
        assert_eq!(other.faulty_fields(), ["agent_id"], "{path}");
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let received = api
        .send(Method::POST, "/orchestrator/start?agent_id=a", &form, "")
        .await;
    received.problem(503);
    send("/orchestrator/stop?agent_id=a&drain=true", "")
        .await
        .problem(503);
    let both = send("/orchestrator/stop?agent_id=a%20b&drain=perhaps", "").await;
    assert_eq!(both.faulty_fields(), ["drain", "agent_id"]);
    let unknown = send("/orchestrator/start", r#"{"agent_id": "a", "force": true}"#).await;
    assert_eq!(unknown.faulty_fields(), ["force"]);
}

#[tokio::test]
async fn every_fault_of_a_query_is_named_at_once() {
    let api = TestApi::new().await;
    let received = api
        .get("/orchestrator/agents?status=happy&limit=0&cursor=a%20b&unknown=1")
        .await;
    assert_eq!(received.faulty_fields(), ["status", "limit", "cursor"]);
    api.get("/orchestrator/agents?status=active&limit=1000&cursor=a&domain=d")
        .await
        .problem(503);
}
