//! The routes of the contract, with the status codes that the platform's services really give.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use orchestrator_common::brain_factory::contract::{
    AgentStatusAnswer, ExecuteRequest, GenerateAgentAnswer, GenerateAgentRequest, TerminationAnswer,
};
use poem::error::ReadBodyError;
use poem::http::{HeaderMap, StatusCode};
use poem::web::{Data, Json, Path};
use poem::{Body, EndpointExt, IntoEndpoint, Response, Route, get, handler, post};
use serde_json::{Map, Value, json};
use tokio_util::bytes::Bytes;

use super::agents::Agent;
use super::answer::Answer;
use super::blueprint::Blueprint;
use super::execution::{self, Call};
use super::server::Factory;

/// The longest `Idempotency-Key`, in bytes.
const MAX_KEY_BYTES: usize = 255;

type Shared<'a> = Data<&'a Arc<Factory>>;

pub(super) fn app(factory: Arc<Factory>) -> impl IntoEndpoint<Endpoint: 'static> {
    Route::new()
        .at("/health", get(health))
        .at("/metrics", get(metrics))
        .at("/generate-agent", post(generate))
        .at("/agents", get(list))
        .at("/agents/:id", poem::delete(terminate))
        .at("/agents/:id/status", get(status))
        .at("/agents/:id/execute", post(execute))
        .data(factory)
}

#[handler]
fn health(factory: Shared<'_>) -> Json<Value> {
    let mode = if factory.model.is_some() {
        "language_model"
    } else {
        "deterministic"
    };
    Json(json!({
        "status": "healthy",
        "service": "brain-factory",
        "version": env!("CARGO_PKG_VERSION"),
        "mode": mode,
        "agents": factory.agents.count(),
    }))
}

#[handler]
fn metrics(factory: Shared<'_>) -> Response {
    json_response(&factory.stats.metrics())
}

#[handler]
async fn generate(factory: Shared<'_>, body: Body) -> Response {
    let request = match read(body, factory.max_body_bytes).await {
        Ok(bytes) => serde_json::from_slice::<GenerateAgentRequest>(&bytes),
        Err(refusal) => return refusal.into_response(),
    };
    let config = match request {
        Ok(request) if request.agent_config.is_object() => request.agent_config,
        Ok(_) => return Answer::malformed("agent_config must be an object").into_response(),
        Err(error) => return Answer::malformed(&error.to_string()).into_response(),
    };
    let (blueprint, findings) = Blueprint::read(&config);
    let errors = findings.errors();
    let validation_results = findings.into_results();
    let agent_id = config
        .get("agent_id")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let Some(blueprint) = blueprint else {
        return json_response(&GenerateAgentAnswer {
            success: false,
            agent_id,
            agent_endpoint: None,
            status: Some("failed".to_owned()),
            validation_results,
            creation_metadata: Map::new(),
            error_message: Some(format!("Agent configuration is not valid: {errors}")),
        });
    };
    let endpoint = format!("{}/agents/{}", factory.url, blueprint.agent_id);
    let creation_metadata = Map::from_iter([
        ("factory".to_owned(), "built-in".into()),
        (
            "reasoning_pattern".to_owned(),
            blueprint.pattern.as_str().into(),
        ),
    ]);
    factory.agents.put(blueprint);
    factory.counters.generated.fetch_add(1, Ordering::Relaxed);
    json_response(&GenerateAgentAnswer {
        success: true,
        agent_id,
        agent_endpoint: Some(endpoint),
        status: Some("ready".to_owned()),
        validation_results,
        creation_metadata,
        error_message: None,
    })
}

#[handler]
fn list(factory: Shared<'_>) -> Json<Value> {
    let agents: Vec<Value> = factory
        .agents
        .all()
        .iter()
        .map(|agent| {
            let id = &agent.blueprint.agent_id;
            json!({
                "agent_id": id,
                "name": agent.blueprint.name,
                "agent_endpoint": format!("{}/agents/{id}", factory.url),
                "status": state(agent),
            })
        })
        .collect();
    Json(json!({"count": agents.len(), "agents": agents}))
}

/// `ready` while the agent would take another task.
fn state(agent: &Agent) -> &'static str {
    let limit = agent.blueprint.limit;
    let full = limit.is_some_and(|limit| agent.live.running() >= limit);
    if full { "executing" } else { "ready" }
}

#[handler]
fn status(factory: Shared<'_>, Path(id): Path<String>) -> Response {
    let Some(agent) = factory.agents.get(&id) else {
        return Answer::unknown_agent(&id).into_response();
    };
    json_response(&AgentStatusAnswer {
        status: Map::from_iter([
            ("state".to_owned(), state(&agent).into()),
            ("agent_id".to_owned(), id.into()),
            ("honours_idempotency_key".to_owned(), true.into()),
            (
                "max_concurrent_tasks".to_owned(),
                agent.blueprint.limit.into(),
            ),
        ]),
        active_tasks: agent.live.tasks(),
        task_history_count: agent.live.ended(),
        memory_usage_mb: None,
    })
}

#[handler]
fn terminate(factory: Shared<'_>, Path(id): Path<String>) -> Response {
    let removed = factory.agents.remove(&id);
    let termination_status = if removed { "success" } else { "not_found" };
    json_response(&TerminationAnswer {
        termination_status: termination_status.to_owned(),
    })
}

#[handler]
async fn execute(
    factory: Shared<'_>,
    Path(id): Path<String>,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let Some(agent) = factory.agents.get(&id) else {
        return Answer::unknown_agent(&id).into_response();
    };
    let header = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    let key = header("idempotency-key");
    if key.is_some_and(|key| key.is_empty() || key.len() > MAX_KEY_BYTES) {
        let message = "Idempotency-Key must be 1 to 255 visible ASCII characters";
        return Answer::malformed(message).into_response();
    }
    let attempt = header("x-attempt")
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let bytes = match read(body, factory.max_body_bytes).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refusal.into_response(),
    };
    let request = match serde_json::from_slice::<ExecuteRequest>(&bytes) {
        Ok(request) => request,
        Err(error) => return Answer::malformed(&error.to_string()).into_response(),
    };
    let call = Call {
        agent,
        request,
        size: bytes.len(),
        attempt,
    };
    execution::answer(&factory, call, key).await.into_response()
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Answer> {
    body.into_bytes_limit(limit)
        .await
        .map_err(|error| match error {
            ReadBodyError::PayloadTooLarge => {
                let detail = json!(format!("The body is over {limit} bytes"));
                Answer::detail(StatusCode::PAYLOAD_TOO_LARGE, &detail)
            }
            other => Answer::malformed(&other.to_string()),
        })
}

fn json_response(body: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => Response::builder()
            .content_type("application/json")
            .body(body),
        Err(error) => {
            let detail = json!(error.to_string());
            Answer::detail(StatusCode::INTERNAL_SERVER_ERROR, &detail).into_response()
        }
    }
}
