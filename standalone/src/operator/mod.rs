//! Operators' commands: they speak HTTP to the API, show tables to people and the API's JSON to programs.

mod agents;
mod client;
mod dead_letters;
mod failure;
mod health;
mod input;
mod output;
mod tasks;

pub(crate) use agents::AgentsCommand;
pub(crate) use client::Access;
pub(crate) use dead_letters::DeadLettersCommand;
pub(crate) use failure::Failure;
pub(crate) use tasks::TasksCommand;

use client::Client;
use output::Output;
use serde_json::Value;

/// What an operator asks of an API.
#[derive(Debug)]
pub(crate) enum Wish {
    /// How it is.
    Health,
    /// The state of the cluster.
    Status,
    /// Its OpenAPI document.
    OpenApi,
    /// Something of agents.
    Agents(AgentsCommand),
    /// Something of tasks.
    Tasks(TasksCommand),
    /// Something of messages that were put aside.
    DeadLetters(DeadLettersCommand),
}

/// Carries out `wish` at the API that `access` names.
///
/// # Errors
/// See [`Failure`].
pub(crate) async fn carry_out(wish: Wish, access: &Access) -> Result<(), Failure> {
    let client = Client::new(access)?;
    let out = Output { json: access.json };
    match wish {
        Wish::Health => health::ask(&client, out).await,
        Wish::Status => status(&client, out).await,
        Wish::OpenApi => out.json(&client.get("/openapi.json", &[]).await?),
        Wish::Agents(command) => agents::run(command, &client, out).await,
        Wish::Tasks(command) => tasks::run(command, &client, out).await,
        Wish::DeadLetters(command) => dead_letters::run(command, &client, out).await,
    }
}

async fn status(client: &Client, out: Output) -> Result<(), Failure> {
    let cluster = client.get("/orchestrator/cluster/status", &[]).await?;
    if out.json {
        return out.json(&cluster);
    }
    let of = |name: &str| (name.replace('_', " "), cluster[name].clone());
    let numbers = [
        "capacity",
        "queued_tasks",
        "running_tasks",
        "completed_tasks",
        "failed_tasks",
    ];
    let mut facts: Vec<_> = numbers.into_iter().map(of).collect();
    if let Value::Object(agents) = &cluster["agents"] {
        facts.extend(
            agents
                .iter()
                .map(|(state, number)| (format!("agents {state}"), number.clone())),
        );
    }
    out.facts(&facts)?;
    let workers = output::rows(&cluster["workers"]);
    out.table(
        &[
            ("WORKER", "/worker_id"),
            ("HOST", "/host"),
            ("CAPACITY", "/capacity"),
            ("STARTED", "/started_at"),
            ("LAST HEARTBEAT", "/last_heartbeat"),
        ],
        workers,
    )
}
