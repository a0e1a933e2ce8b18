//! Making, asking and removing agents.

use std::time::Duration;

use serde_json::{Value, json};
use url::Url;
use wiremock::matchers::{body_json, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::client_of;
use crate::brain_factory::{
    AgentHealth, BrainFactoryClient, GenerateError, GeneratedAgent, ProbeError,
};

async fn server(verb: &str, at: &str, answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method(verb))
        .and(path(at))
        .respond_with(answer)
        .expect(1)
        .mount(&server)
        .await;
    server
}

fn ok(body: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

async fn generated(answer: ResponseTemplate) -> Result<GeneratedAgent, GenerateError> {
    let factory = server("POST", "/generate-agent", answer).await;
    client_of(&factory.uri())
        .generate_agent(&json!({"agent_id": "a"}))
        .await
}

async fn status(answer: ResponseTemplate) -> Result<AgentHealth, ProbeError> {
    let agent = server("GET", "/agents/a/status", answer).await;
    let endpoint = format!("{}/agents/a", agent.uri());
    client_of(&agent.uri()).status(&endpoint).await
}

async fn deleted(answer: ResponseTemplate) -> Result<(), ProbeError> {
    let agent = server("DELETE", "/agents/a", answer).await;
    let endpoint = format!("{}/agents/a", agent.uri());
    client_of(&agent.uri()).delete(&endpoint).await
}

#[tokio::test]
async fn an_agent_is_made_from_its_config() {
    let factory = MockServer::start().await;
    let body = json!({"agent_config": {"agent_id": "a"}, "deployment_options": {}, "validation_options": {}});
    Mock::given(method("POST"))
        .and(path("/generate-agent"))
        .and(body_json(body))
        .respond_with(ok(
            json!({"success": true, "agent_id": "a", "agent_endpoint": "http://h:8305/agents/a/",
            "status": "ready", "validation_results": null, "creation_metadata": {"took": 0.6},
            "error_message": null}),
        ))
        .expect(1)
        .mount(&factory)
        .await;
    let client = client_of(&factory.uri());
    let agent = client
        .generate_agent(&json!({"agent_id": "a"}))
        .await
        .unwrap();
    assert_eq!(agent.endpoint, "http://h:8305/agents/a");
    assert_eq!(agent.metadata["took"], 0.6);
}

#[tokio::test]
async fn a_refusal_names_every_check_that_failed() {
    let refused = generated(ok(json!({"success": false, "status": "failed", "creation_metadata": null,
        "error_message": "Validation failed", "validation_results": [
            {"is_valid": true, "message": "fine"},
            {"is_valid": false, "severity": "error", "field": "persona.name", "message": "too short",
                "suggestion": "give a name"},
            {"is_valid": false}]})))
    .await
    .unwrap_err();
    let reason = "Validation failed; persona.name: too short (give a name); is not valid";
    assert_eq!(refused, GenerateError::Refused(reason.to_owned()));
    let malformed =
        generated(ResponseTemplate::new(422).set_body_json(json!({"detail": "bad body"})))
            .await
            .unwrap_err();
    assert_eq!(
        malformed,
        GenerateError::Refused("status 422: bad body".to_owned())
    );
}

#[tokio::test]
async fn a_made_agent_without_a_usable_address_is_an_invalid_answer() {
    for answer in [
        json!({"success": true}),
        json!({"success": true, "agent_endpoint": "/agents/a"}),
        json!({"success": true, "agent_endpoint": "file:///etc/passwd"}),
        json!({"agent_endpoint": "http://h/agents/a"}),
    ] {
        let error = generated(ok(answer)).await.unwrap_err();
        assert!(
            matches!(error, GenerateError::InvalidAnswer(_)),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_factory_in_trouble_is_told_apart_from_one_that_refuses() {
    let answer = ResponseTemplate::new(503)
        .insert_header("retry-after", "3")
        .set_body_string("starting");
    let expected = GenerateError::Unavailable {
        status: 503,
        retry_after: Some(Duration::from_secs(3)),
        message: "starting".to_owned(),
    };
    assert_eq!(generated(answer).await.unwrap_err(), expected);
    let elsewhere = generated(ResponseTemplate::new(404)).await.unwrap_err();
    assert!(
        matches!(elsewhere, GenerateError::InvalidAnswer(_)),
        "{elsewhere:?}"
    );
}

#[tokio::test]
async fn a_factory_that_takes_too_long_times_out() {
    let slow = ok(json!({"success": true})).set_delay(Duration::from_secs(60));
    let factory = server("POST", "/generate-agent", slow).await;
    let patience = Duration::from_secs(1);
    let client = BrainFactoryClient::at(&Url::parse(&factory.uri()).unwrap(), patience).unwrap();
    let error = client.generate_agent(&json!({})).await.unwrap_err();
    assert_eq!(error, GenerateError::TimedOut(patience));
}

#[tokio::test]
async fn an_agent_says_how_it_is() {
    let health = status(ok(
        json!({"status": {"state": "Ready", "x": 1}, "active_tasks": ["t1"],
        "task_history_count": 3, "memory_usage_mb": 12.5}),
    ))
    .await
    .unwrap();
    let expected = AgentHealth {
        state: "ready".to_owned(),
        active_tasks: vec!["t1".to_owned()],
        memory_usage_mb: Some(12.5),
        honours_idempotency_key: false,
    };
    assert_eq!(health, expected);
    let sparse = status(ok(
        json!({"status": {"state": "error", "memory_usage_mb": 3}, "active_tasks": null}),
    ))
    .await
    .unwrap();
    assert_eq!(
        (sparse.state.as_str(), sparse.memory_usage_mb),
        ("error", Some(3.0))
    );
}

#[tokio::test]
async fn an_agent_that_does_not_say_how_it_is_is_told_apart_by_cause() {
    let error = status(ResponseTemplate::new(404)).await.unwrap_err();
    assert_eq!(error, ProbeError::NotFound);
    let error = status(ResponseTemplate::new(500).set_body_string("boom"))
        .await
        .unwrap_err();
    assert_eq!(
        error,
        ProbeError::Unavailable {
            status: 500,
            message: "boom".to_owned()
        }
    );
    for garbage in [json!({"status": "ready"}), json!({"status": {}}), json!([])] {
        let error = status(ok(garbage)).await.unwrap_err();
        assert!(matches!(error, ProbeError::InvalidAnswer(_)), "{error:?}");
    }
}

#[tokio::test]
async fn removing_an_agent_twice_is_a_success() {
    for status in ["success", "not_found"] {
        assert_eq!(
            deleted(ok(json!({"termination_status": status}))).await,
            Ok(())
        );
    }
    assert_eq!(deleted(ResponseTemplate::new(404)).await, Ok(()));
    let refused = deleted(ok(json!({"termination_status": "failed"})))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, ProbeError::InvalidAnswer(_)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_factory_is_healthy_when_it_says_so() {
    let healthy = server("GET", "/health", ok(json!({"status": "healthy"}))).await;
    assert_eq!(client_of(&healthy.uri()).health().await, Ok(()));
    let sick = server("GET", "/health", ResponseTemplate::new(503)).await;
    let error = client_of(&sick.uri()).health().await.unwrap_err();
    assert!(
        matches!(error, ProbeError::Unavailable { status: 503, .. }),
        "{error:?}"
    );
}
