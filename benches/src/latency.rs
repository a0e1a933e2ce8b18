//! One task at a time: how long from its submission until a client sees its outcome.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::connection::{Connection, Target};
use crate::distribution::Latency;
use crate::orchestrator;

/// How a client waits for the outcome of its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Asks again at once whenever there is none yet.
    Polling,
    /// Lets the orchestrator hold the answer until there is one (`?wait=30`).
    Held,
}

/// Submits `count` tasks, each after the outcome of the one before was seen, over a single connection.
///
/// # Errors
/// When a task is refused, is not completed, or takes longer than a minute.
pub async fn measure(
    target: &Target,
    agent_id: &str,
    count: usize,
    waiting: Waiting,
) -> Result<Latency> {
    let mut connection = Connection::open(target).await?;
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        samples.push(one(&mut connection, agent_id, waiting).await?);
    }
    Latency::of(samples).context("nothing was measured")
}

/// Submits `count` tasks one after the other over a single connection, and returns how long each took to be accepted.
///
/// # Errors
/// When a task is refused.
pub async fn submissions(target: &Target, agent_id: &str, count: usize) -> Result<Latency> {
    let mut connection = Connection::open(target).await?;
    let body = orchestrator::task_body(agent_id, "one at a time");
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        let task_id = orchestrator::submit(&mut connection, body.clone()).await?;
        samples.push(started.elapsed());
        // The next one is to find nothing else under way.
        let deadline = started + Duration::from_secs(60);
        orchestrator::outcome(&mut connection, &task_id, deadline).await?;
    }
    Latency::of(samples).context("nothing was measured")
}

/// Submits one task and returns how long it took until its outcome was seen.
///
/// # Errors
/// When the task is refused, is not completed, or takes longer than a minute.
pub async fn one(
    connection: &mut Connection,
    agent_id: &str,
    waiting: Waiting,
) -> Result<Duration> {
    let started = Instant::now();
    let body = orchestrator::task_body(agent_id, "one at a time");
    let task_id = orchestrator::submit(connection, body).await?;
    let wait_seconds = match waiting {
        Waiting::Polling => None,
        Waiting::Held => Some(30),
    };
    loop {
        let state = orchestrator::task(connection, &task_id, wait_seconds).await?;
        if state.is_outcome() {
            if state.status != "completed" {
                bail!("task {task_id} ended as {}", state.status);
            }
            return Ok(started.elapsed());
        }
        if started.elapsed() > Duration::from_secs(60) {
            bail!("task {task_id} is still {} after a minute", state.status);
        }
    }
}
