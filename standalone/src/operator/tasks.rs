//! Operators' commands about tasks.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::Client;
use super::input::{self, segment};
use super::output::Output;

const LIST: &str = "/orchestrator/tasks";
/// How long one question waits for an outcome, in seconds.
const WAIT: u64 = 20;
/// Statuses that stay.
const FINAL: [&str; 4] = ["completed", "failed", "timed_out", "cancelled"];

/// Look at tasks and change them.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum TasksCommand {
    /// List tasks, newest first
    List(ListOptions),
    /// Show one task with its result
    Show {
        /// The task
        task: String,
    },
    /// Follow a task until its outcome; fails with 5 when it does not complete
    Watch {
        /// The task
        task: String,
    },
    /// Submit a task
    Submit(SubmitOptions),
    /// Cancel tasks
    Cancel {
        /// The tasks
        #[arg(required = true)]
        tasks: Vec<String>,
    },
    /// Try tasks again that failed, timed out or were cancelled
    Retry {
        /// The tasks
        #[arg(required = true)]
        tasks: Vec<String>,
    },
}

/// Which tasks to list.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListOptions {
    /// Only those of this agent
    #[arg(long)]
    agent: Option<String>,
    /// Only those with this status, such as queued
    #[arg(long)]
    status: Option<String>,
    /// Only those of this type
    #[arg(long = "type")]
    task_type: Option<String>,
    /// Only those submitted since then, such as 2026-03-01T12:00:00Z
    #[arg(long)]
    since: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
}

/// What to submit.
#[derive(Clone, Debug, Args)]
pub(crate) struct SubmitOptions {
    /// The agent that does it
    agent: String,
    /// What kind of work it is
    #[arg(long = "type")]
    task_type: String,
    /// Its input: a JSON object, @ and the name of a file with it, or - for standard input
    #[arg(long, default_value = "{}")]
    data: String,
    /// How urgent it is, 1 to 10; 10 runs first
    #[arg(long)]
    priority: Option<u8>,
    /// Seconds that an attempt may take
    #[arg(long)]
    timeout: Option<u32>,
    /// Repeating it with the same key submits nothing further
    #[arg(long)]
    idempotency_key: Option<String>,
    /// Follow it until its outcome, as `watch` does
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(
    command: TasksCommand,
    client: &Client,
    out: Output,
) -> Result<(), Failure> {
    match command {
        TasksCommand::List(options) => list(client, out, options).await,
        TasksCommand::Show { task } => show(out, &client.get(&of(&task, ""), &[]).await?),
        TasksCommand::Watch { task } => watch(client, out, &task).await,
        TasksCommand::Submit(options) => submit(client, out, options).await,
        TasksCommand::Cancel { tasks } => {
            each(out, &tasks, async |task| {
                client.delete(&of(task, ""), &[]).await
            })
            .await
        }
        TasksCommand::Retry { tasks } => {
            each(out, &tasks, async |task| {
                client.post(&of(task, "/retry"), None).await
            })
            .await
        }
    }
}

fn of(task: &str, what: &str) -> String {
    format!("{LIST}/{}{what}", segment(task))
}

async fn list(client: &Client, out: Output, options: ListOptions) -> Result<(), Failure> {
    let wanted = [
        ("agent_id", options.agent),
        ("status", options.status),
        ("task_type", options.task_type),
        ("since", options.since),
    ];
    let query: Vec<_> = wanted
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let all = client
        .pages(LIST, &query, "tasks", Some(options.limit))
        .await?;
    if out.json {
        return out.json(&json!({"count": all.len(), "tasks": all}));
    }
    let columns = [
        ("TASK", "/task_id"),
        ("AGENT", "/agent_id"),
        ("TYPE", "/task_type"),
        ("STATUS", "/status"),
        ("PRIORITY", "/priority"),
        ("ATTEMPT", "/attempt"),
        ("SUBMITTED", "/submitted_at"),
        ("SECONDS", "/duration_seconds"),
        ("ERROR", "/error/code"),
    ];
    out.table(&columns, &all)
}

fn show(out: Output, task: &Value) -> Result<(), Failure> {
    if out.json {
        return out.json(task);
    }
    let of = |name: &str| (name.replace('_', " "), task[name].clone());
    let names = [
        "task_id",
        "agent_id",
        "task_type",
        "status",
        "priority",
        "attempt",
        "queue_position",
        "submitted_at",
        "started_at",
        "completed_at",
        "duration_seconds",
        "tokens_used",
        "cost_estimate",
        "error_message",
    ];
    out.facts(&names.map(of))?;
    if task["result"].is_null() {
        Ok(())
    } else {
        out.json(&task["result"])
    }
}

async fn submit(client: &Client, out: Output, options: SubmitOptions) -> Result<(), Failure> {
    let mut task = Map::from_iter([
        ("agent_id".to_owned(), options.agent.into()),
        ("task_type".to_owned(), options.task_type.into()),
        ("task_data".to_owned(), input::json(&options.data)?),
    ]);
    let bounds = [
        ("priority", options.priority.map(u32::from)),
        ("timeout_seconds", options.timeout),
    ];
    task.extend(
        bounds
            .into_iter()
            .filter_map(|(name, number)| Some((name.to_owned(), number?.into()))),
    );
    let accepted = client
        .submit(&Value::Object(task), options.idempotency_key.as_deref())
        .await?;
    let task_id = accepted["task_id"].as_str().unwrap_or_default();
    if options.wait {
        return watch(client, out, task_id).await;
    }
    out.said(&accepted, task_id)
}

/// Asks again and again, each time for as long as the API holds an answer back for an outcome.
async fn watch(client: &Client, out: Output, task: &str) -> Result<(), Failure> {
    let began = Instant::now();
    let mut status = String::new();
    loop {
        // The first answer comes at once, and says where it stands.
        let wait = if status.is_empty() { 0 } else { WAIT };
        let asked = Instant::now();
        let found = client
            .get(&of(task, ""), &[("wait", wait.to_string())])
            .await?;
        found["status"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut status);
        if FINAL.contains(&status.as_str()) {
            out.progress_done();
            show(out, &found)?;
            return if status == "completed" {
                Ok(())
            } else {
                Err(Failure::NotCompleted(status))
            };
        }
        out.progress(&format!("{status} for {} s", began.elapsed().as_secs()));
        // An API that does not hold answers back is not asked more often than that.
        tokio::time::sleep(Duration::from_secs(1).saturating_sub(asked.elapsed())).await;
    }
}

/// Does the same with each, and goes on when one is refused.
pub(super) async fn each<'a>(
    out: Output,
    all: &'a [String],
    mut change: impl AsyncFnMut(&'a str) -> Result<Value, Failure>,
) -> Result<(), Failure> {
    let mut answers = Vec::new();
    let mut failed = 0;
    for (number, one) in all.iter().enumerate() {
        if all.len() > 1 {
            out.progress(&format!("{number} of {}", all.len()));
        }
        let answer = match change(one).await {
            Ok(answer) => answer,
            // One of one says itself why.
            Err(refused) if all.len() == 1 => return Err(refused),
            Err(Failure::Refused(why)) => {
                failed += 1;
                json!({"success": false, "id": one, "message": why})
            }
            Err(other) => return Err(other),
        };
        out.progress_done();
        if !out.json {
            out.said(
                &answer,
                &format!("{one}: {}", answer["message"].as_str().unwrap_or_default()),
            )?;
        }
        answers.push(answer);
    }
    if out.json {
        let shown = if let [one] = answers.as_slice() {
            one.clone()
        } else {
            Value::Array(answers)
        };
        out.json(&shown)?;
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Partly {
            failed,
            all: all.len(),
        }),
    }
}
