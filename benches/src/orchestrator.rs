//! The few calls of the orchestrator's API that a measurement makes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::connection::Connection;

/// What `GET /orchestrator/tasks/{task_id}` says, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct TaskState {
    /// `queued`, `running`, …, or an outcome.
    pub status: String,
    /// Attempts up to now.
    #[serde(default)]
    pub attempt: u32,
    /// When the outcome was recorded, RFC 3339.
    pub completed_at: Option<String>,
}

impl TaskState {
    /// Whether nothing more will happen to the task.
    #[must_use]
    pub fn is_outcome(&self) -> bool {
        matches!(
            self.status.as_str(),
            "completed" | "failed" | "timed_out" | "cancelled"
        )
    }

    /// When the outcome was recorded, by the orchestrator's clock.
    #[must_use]
    pub fn recorded_at(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(self.completed_at.as_deref()?, &Rfc3339).ok()
    }
}

/// How long to wait before a task is asked for again that had no outcome yet.
const LOOK: Duration = Duration::from_millis(20);
/// How long an agent may take to become active; making one can take minutes.
const ACTIVE_WITHIN: Duration = Duration::from_secs(180);

/// Whether the orchestrator says that it can work.
///
/// # Errors
/// When the connection breaks.
pub async fn is_ready(connection: &mut Connection) -> Result<bool> {
    let (status, _) = connection.call(Method::GET, "/health/ready", None).await?;
    Ok(status == StatusCode::OK)
}

/// Registers an agent that may run `sessions` tasks at the same time.
///
/// # Errors
/// When the answer is not 200.
pub async fn register(connection: &mut Connection, agent_id: &str, sessions: u32) -> Result<()> {
    let body = json!({
        "agent_id": agent_id,
        "agent_name": "Benchmark agent",
        "domain": "benchmark",
        "max_concurrent_sessions": sessions,
        "brain_config": {
            "persona": {"role": "Analyst", "expertise": ["measurement"], "personality": "balanced"},
        },
    });
    connection
        .call_ok(
            Method::POST,
            "/orchestrator/register",
            Some(body.to_string()),
        )
        .await?;
    Ok(())
}

/// Starts an agent and waits until it is active.
///
/// # Errors
/// When it is not active after three minutes.
pub async fn start(connection: &mut Connection, agent_id: &str) -> Result<()> {
    #[derive(Deserialize)]
    struct Agent {
        status: String,
    }
    let body = json!({ "agent_id": agent_id }).to_string();
    connection
        .call_ok(Method::POST, "/orchestrator/start", Some(body))
        .await?;
    let path = format!("/orchestrator/agents/{agent_id}");
    let started = Instant::now();
    loop {
        let answer = connection.call_ok(Method::GET, &path, None).await?;
        let agent: Agent = serde_json::from_slice(&answer).context("an agent without a status")?;
        if agent.status == "active" {
            return Ok(());
        }
        if started.elapsed() > ACTIVE_WITHIN {
            bail!(
                "agent {agent_id} is still {} after {ACTIVE_WITHIN:?}",
                agent.status
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Removes an agent.
///
/// # Errors
/// When the answer is not 200.
pub async fn unregister(connection: &mut Connection, agent_id: &str) -> Result<()> {
    let body = json!({ "agent_id": agent_id }).to_string();
    connection
        .call_ok(Method::POST, "/orchestrator/unregister", Some(body))
        .await?;
    Ok(())
}

/// The body of a task request for `agent_id` whose input carries `payload`.
#[must_use]
pub fn task_body(agent_id: &str, payload: &str) -> String {
    json!({
        "agent_id": agent_id,
        "task_type": "benchmark",
        "task_data": {"payload": payload},
        "timeout_seconds": 60,
    })
    .to_string()
}

/// Submits a task and returns its identifier.
///
/// # Errors
/// When it is not accepted with a 200.
pub async fn submit(connection: &mut Connection, body: String) -> Result<String> {
    #[derive(Deserialize)]
    struct Accepted {
        task_id: String,
    }
    let answer: Bytes = connection
        .call_ok(Method::POST, "/orchestrator/execute-task", Some(body))
        .await?;
    let accepted: Accepted =
        serde_json::from_slice(&answer).context("accepted without a task_id")?;
    Ok(accepted.task_id)
}

/// Asks for a task; `wait_seconds` lets the orchestrator hold the answer until the outcome is there.
///
/// # Errors
/// When the answer is not 200 with a status.
pub async fn task(
    connection: &mut Connection,
    task_id: &str,
    wait_seconds: Option<u32>,
) -> Result<TaskState> {
    let path = match wait_seconds {
        Some(seconds) => format!("/orchestrator/tasks/{task_id}?wait={seconds}"),
        None => format!("/orchestrator/tasks/{task_id}"),
    };
    let answer = connection.call_ok(Method::GET, &path, None).await?;
    serde_json::from_slice(&answer).with_context(|| format!("{path} answered without a status"))
}

/// Asks for a task until it has an outcome; waits a little in between.
///
/// # Errors
/// When an answer is not 200 with a status, or there is no outcome at `deadline`.
pub async fn outcome(
    connection: &mut Connection,
    task_id: &str,
    deadline: Instant,
) -> Result<TaskState> {
    loop {
        let state = task(connection, task_id, None).await?;
        if state.is_outcome() {
            return Ok(state);
        }
        if Instant::now() > deadline {
            bail!("task {task_id} is still {} at the deadline", state.status);
        }
        tokio::time::sleep(LOOK).await;
    }
}
