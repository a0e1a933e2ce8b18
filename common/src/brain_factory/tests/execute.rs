//! What an agent may answer to a task, and what the client makes of it.

use std::time::Duration;

use serde_json::{Value, json};
use wiremock::matchers::{body_json, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{call_with, client_of, raw};
use crate::brain_factory::{ExecuteError, Execution, MAX_ANSWER_BYTES, MAX_RETRY_AFTER};
use crate::domain::Usage;

/// What comes of a task that the agent answers with `answer`.
async fn executed(answer: ResponseTemplate) -> Result<Execution, ExecuteError> {
    let agent = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/agents/a/execute"))
        .respond_with(answer)
        .expect(1)
        .mount(&agent)
        .await;
    let input = raw("{}");
    client_of(&agent.uri())
        .execute(&format!("{}/agents/a", agent.uri()), &call_with(&input))
        .await
}

async fn failed_with(body: Value) -> ExecuteError {
    executed(ResponseTemplate::new(200).set_body_json(body))
        .await
        .unwrap_err()
}

async fn answered(status: u16, body: Value) -> ExecuteError {
    executed(ResponseTemplate::new(status).set_body_json(body))
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_task_is_sent_in_the_agents_own_form_and_its_result_returned() {
    let agent = MockServer::start().await;
    let task_id = "00000000-0000-0000-0000-000000000007";
    Mock::given(method("POST"))
        .and(path("/agents/a/execute"))
        .and(header("content-type", "application/json"))
        .and(header("idempotency-key", task_id))
        .and(header("x-attempt", "2"))
        .and(header("traceparent", "00-ab-cd-01"))
        .and(body_json(json!({"task_id": task_id, "description": "risk_assessment",
            "input_data": {"loan": 500_000, "nested": {"a": [1, 2]}}, "priority": "normal", "timeout_seconds": 30})))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({
            "task_id": task_id, "status": "completed", "result": {"risk": "low"}, "error_message": null,
            "execution_time": 0.2, "confidence_score": 0.9,
            "metadata": {"tokens_used": 42, "cost_estimate": 0.01}})))
        .expect(1)
        .mount(&agent)
        .await;
    let input = raw(r#"{"loan": 500000, "nested": {"a": [1, 2]}}"#);
    let mut call = call_with(&input);
    call.traceparent = Some("00-ab-cd-01");
    let execution = client_of(&agent.uri())
        .execute(&format!("{}/agents/a/", agent.uri()), &call)
        .await
        .unwrap();
    assert_eq!(execution.result.get(), r#"{"risk":"low"}"#);
    let usage = Usage {
        tokens_used: Some(42),
        cost_estimate: Some(0.01),
    };
    assert_eq!((execution.usage, execution.confidence), (usage, Some(0.9)));
}

#[tokio::test]
async fn a_trace_context_that_fits_no_header_is_left_out() {
    let agent = MockServer::start().await;
    let done = ResponseTemplate::new(200).set_body_json(json!({"status": "completed"}));
    Mock::given(method("POST"))
        .respond_with(done)
        .mount(&agent)
        .await;
    let input = raw("{}");
    let mut call = call_with(&input);
    call.traceparent = Some("broken\r\nX-Evil: 1");
    let client = client_of(&agent.uri());
    assert!(client.execute(&agent.uri(), &call).await.is_ok());
    let requests = agent.received_requests().await.unwrap();
    assert!(requests[0].headers.get("traceparent").is_none());
    assert!(requests[0].headers.get("x-evil").is_none());
}

#[tokio::test]
async fn a_busy_agent_is_busy_and_not_failed() {
    let message = "Agent not ready for task execution. Current state: executing";
    let busy =
        failed_with(json!({"task_id": "t", "status": "failed", "error_message": message})).await;
    assert_eq!(
        busy,
        ExecuteError::Busy {
            state: "executing".to_owned()
        }
    );
    assert!(!busy.needs_new_brain() && !busy.may_still_run());
}

#[tokio::test]
async fn an_agent_in_a_state_that_it_never_leaves_needs_a_new_brain() {
    for state in ["error", "terminated"] {
        let message = format!("Agent not ready for task execution. Current state: {state}");
        let stuck = failed_with(json!({"status": "failed", "error_message": message})).await;
        assert!(stuck.needs_new_brain(), "{stuck:?}");
    }
}

#[tokio::test]
async fn an_agent_that_times_out_itself_has_stopped() {
    let message = "Task execution timed out after 30 seconds";
    let timed_out = failed_with(json!({"status": "failed", "error_message": message})).await;
    let expected = ExecuteError::TimedOut {
        message: message.to_owned(),
        may_be_running: false,
    };
    assert_eq!(timed_out, expected);
}

#[tokio::test]
async fn a_failure_keeps_its_message_and_what_it_used() {
    let failed = failed_with(
        json!({"status": "failed", "error_message": "Reasoning failed: no model at http://u:p@llm",
        "metadata": {"tokens_used": 9}}),
    )
    .await;
    let expected = ExecuteError::Failed {
        message: "Reasoning failed: no model at http://llm".to_owned(),
        usage: Usage {
            tokens_used: Some(9),
            cost_estimate: None,
        },
    };
    assert_eq!(failed, expected);
    for silent in [
        json!({"status": "failed"}),
        json!({"status": "failed", "error_message": {"no": "text"}}),
    ] {
        let failed = failed_with(silent).await;
        assert_eq!(failed.to_string(), "the agent failed without saying why");
    }
    let long = failed_with(json!({"status": "failed", "error_message": "x".repeat(10_000)})).await;
    assert_eq!(long.to_string().len(), 2_000);
}

#[tokio::test]
async fn a_forgotten_agent_is_unknown() {
    let unknown = answered(404, json!({"detail": "Agent a not found"})).await;
    assert_eq!(unknown, ExecuteError::UnknownAgent);
    assert!(unknown.needs_new_brain());
}

#[tokio::test]
async fn a_refused_form_is_rejected_with_the_reason() {
    for status in [400, 401, 413, 422] {
        let rejected = answered(status, json!({"detail": "task_id: field required"})).await;
        let reason = format!("status {status}: task_id: field required");
        assert_eq!(rejected, ExecuteError::Rejected(reason));
    }
}

#[tokio::test]
async fn a_server_error_or_a_full_house_is_unavailable() {
    for status in [408, 429, 500, 502, 503, 504] {
        let unavailable = answered(status, json!({"message": "later"})).await;
        let expected = ExecuteError::Unavailable {
            status,
            retry_after: None,
            message: "later".to_owned(),
        };
        assert_eq!(unavailable, expected);
        assert_eq!(
            unavailable.may_still_run(),
            matches!(status, 408 | 502 | 504)
        );
    }
}

#[tokio::test]
async fn a_wish_for_a_pause_is_honoured_within_reason() {
    for (wish, honoured) in [
        ("7", Some(Duration::from_secs(7))),
        ("999999", Some(MAX_RETRY_AFTER)),
        ("soon", None),
        ("-1", None),
    ] {
        let answer = ResponseTemplate::new(429).insert_header("retry-after", wish);
        let error = executed(answer).await.unwrap_err();
        assert!(
            matches!(error, ExecuteError::Unavailable { retry_after, .. } if retry_after == honoured),
            "{wish}: {error:?}"
        );
    }
}

#[tokio::test]
async fn garbage_and_redirects_are_invalid_answers() {
    for answer in [
        ResponseTemplate::new(200).set_body_string("<html>hello</html>"),
        ResponseTemplate::new(200),
        ResponseTemplate::new(200).set_body_json(json!({"status": "accepted"})),
        ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/"),
    ] {
        let error = executed(answer).await.unwrap_err();
        assert!(matches!(error, ExecuteError::InvalidAnswer(_)), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_of_several_megabytes_is_read_whole() {
    let text = "x".repeat(MAX_ANSWER_BYTES / 4);
    let body = json!({"status": "completed", "result": text});
    let execution = executed(ResponseTemplate::new(200).set_body_json(body))
        .await
        .unwrap();
    assert_eq!(execution.result.get().len(), text.len() + 2);
}
