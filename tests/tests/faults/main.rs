//! Faults under load, on real processes and real servers: whatever dies, every accepted task gets one outcome, no limit
//! is exceeded, and the work goes on by itself. Each test prints how long that took.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may panic, in its helpers too"
)]

mod callbacks;
mod hot_agent;
mod postgres;
mod processes;
mod rabbitmq;
mod redis;

use std::time::Duration;

use orchestrator_common::domain::{AgentId, TaskId};
use orchestrator_tests::counting_agents::Repetition;
use orchestrator_tests::deployment::{Api, Deployment, LoadOptions, Places, Programs};
use serde_json::Value;

const PROGRAMS: Programs = Programs {
    api: env!("CARGO_BIN_EXE_tested-api"),
    worker: env!("CARGO_BIN_EXE_tested-worker"),
};

/// No recovery may take longer, on a loaded machine either.
const BOUND: Duration = Duration::from_secs(30);

/// A deployment with two agents of limit 20, for tasks of 20 ms and, every tenth, a second.
async fn deployment(places: &Places) -> (Deployment, LoadOptions) {
    let mut deployment = Deployment::create(PROGRAMS, places, Repetition::RunsAgain)
        .await
        .unwrap();
    let mut agents: Vec<AgentId> = Vec::new();
    for name in ["a", "b"] {
        agents.push(deployment.agent(name, 20).await.unwrap());
    }
    let load = LoadOptions {
        callers: 4,
        agents,
        millis: 20,
        long_millis: 1_000,
    };
    (deployment, load)
}

async fn get(url: &str) -> Option<Value> {
    reqwest::get(url).await.ok()?.json().await.ok()
}

/// Whether the API has all of its servers.
async fn is_healthy(api: &Api) -> bool {
    let health = get(&format!("{}/health", api.url)).await;
    health.is_some_and(|health| health["status"] == "healthy")
}

/// Asserts that readers of some of the tasks see `status`.
async fn reads(api: &Api, tasks: &[TaskId], status: &str) {
    for task_id in tasks.iter().step_by(tasks.len().div_ceil(50).max(1)) {
        let url = format!("{}/orchestrator/tasks/{task_id}", api.url);
        let task = get(&url).await.unwrap();
        assert_eq!(task["status"], status, "{task}");
    }
}
