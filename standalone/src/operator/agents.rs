//! Operators' commands about agents.

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::Client;
use super::input::{self, segment};
use super::output::{Output, rows};

const LIST: &str = "/orchestrator/agents";

/// Look at agents and change them.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AgentsCommand {
    /// List agents in the order of their identifiers
    List {
        /// Only those that are in this state, such as active
        #[arg(long)]
        status: Option<String>,
        /// Only those of this domain
        #[arg(long)]
        domain: Option<String>,
    },
    /// Show one agent
    Show {
        /// The agent
        agent: String,
    },
    /// Register an agent, or change what was registered
    Register {
        /// The registration: JSON, @ and the name of a file with it, or - for standard input
        registration: String,
    },
    /// Have it started
    Start {
        /// The agent
        agent: String,
    },
    /// Have it stopped; its waiting tasks stay
    Stop {
        /// The agent
        agent: String,
        /// Drop what it runs instead of waiting for it
        #[arg(long)]
        no_drain: bool,
    },
    /// Start none of its tasks until it is resumed
    Pause {
        /// The agent
        agent: String,
    },
    /// Go on after a pause
    Resume {
        /// The agent
        agent: String,
    },
    /// Change how much it does at once
    Scale {
        /// The agent
        agent: String,
        /// Sessions at the same time
        #[arg(long, required_unless_present = "instances")]
        sessions: Option<u32>,
        /// Instances
        #[arg(long)]
        instances: Option<u32>,
    },
    /// Terminate it and cancel its waiting tasks
    Remove {
        /// The agent
        agent: String,
        /// Drop what it runs instead of waiting for it
        #[arg(long)]
        no_drain: bool,
    },
}

pub(super) async fn run(
    command: AgentsCommand,
    client: &Client,
    out: Output,
) -> Result<(), Failure> {
    match command {
        AgentsCommand::List { status, domain } => list(client, out, status, domain).await,
        AgentsCommand::Show { agent } => show(client, out, &agent).await,
        AgentsCommand::Register { registration } => {
            let registration = input::json(&registration)?;
            let answer = client
                .post("/orchestrator/register", Some(&registration))
                .await?;
            tell(out, &answer)
        }
        AgentsCommand::Start { agent } => {
            let body = json!({"agent_id": agent});
            tell(out, &client.post("/orchestrator/start", Some(&body)).await?)
        }
        AgentsCommand::Stop { agent, no_drain } => {
            let body = json!({"agent_id": agent});
            let path = format!("/orchestrator/stop?drain={}", !no_drain);
            tell(out, &client.post(&path, Some(&body)).await?)
        }
        AgentsCommand::Pause { agent } => {
            tell(out, &client.post(&of(&agent, "/pause"), None).await?)
        }
        AgentsCommand::Resume { agent } => {
            tell(out, &client.post(&of(&agent, "/resume"), None).await?)
        }
        AgentsCommand::Scale {
            agent,
            sessions,
            instances,
        } => {
            let mut body = Map::new();
            let wanted = [
                ("max_concurrent_sessions", sessions),
                ("instances", instances),
            ];
            body.extend(
                wanted
                    .into_iter()
                    .filter_map(|(name, number)| Some((name.to_owned(), number?.into()))),
            );
            tell(
                out,
                &client
                    .post(&of(&agent, "/scale"), Some(&Value::Object(body)))
                    .await?,
            )
        }
        AgentsCommand::Remove { agent, no_drain } => {
            let drain = [("drain", (!no_drain).to_string())];
            tell(out, &client.delete(&of(&agent, ""), &drain).await?)
        }
    }
}

fn of(agent: &str, what: &str) -> String {
    format!("{LIST}/{}{what}", segment(agent))
}

/// What was done to an agent.
fn tell(out: Output, answer: &Value) -> Result<(), Failure> {
    let text = |name: &str| answer[name].as_str().unwrap_or("not known yet").to_owned();
    let sentence = format!(
        "{}: {} ({})",
        text("agent_id"),
        text("message"),
        text("status")
    );
    out.said(answer, &sentence)
}

async fn list(
    client: &Client,
    out: Output,
    status: Option<String>,
    domain: Option<String>,
) -> Result<(), Failure> {
    let wanted = [("status", status), ("domain", domain)];
    let query: Vec<_> = wanted
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let all = client.pages(LIST, &query, "agents", None).await?;
    if out.json {
        return out.json(&json!({"count": all.len(), "agents": all}));
    }
    let columns = [
        ("AGENT", "/agent_id"),
        ("STATUS", "/status"),
        ("WANTED", "/desired_state"),
        ("RUNNING", "/active_sessions"),
        ("LIMIT", "/limits/max_concurrent_sessions"),
        ("WAITING", "/queue_depth"),
        ("SUCCESS", "/success_rate"),
        ("SECONDS", "/average_response_time"),
        ("DOMAIN", "/domain"),
    ];
    out.table(&columns, &all)
}

async fn show(client: &Client, out: Output, agent: &str) -> Result<(), Failure> {
    let found = client.get(&of(agent, ""), &[]).await?;
    if out.json {
        return out.json(&found);
    }
    let plain = found.as_object().into_iter().flatten();
    let plain = plain.filter(|(_, value)| !value.is_object() && !value.is_array());
    out.facts(
        &plain
            .map(|(name, value)| (name.replace('_', " "), value.clone()))
            .collect::<Vec<_>>(),
    )?;
    let columns = [
        ("INSTANCE", "/instance_id"),
        ("STATE", "/state"),
        ("RUNNING", "/running"),
        ("CAPACITY", "/capacity"),
        ("ENDPOINT", "/endpoint"),
    ];
    out.table(&columns, rows(&found["instances"]))
}
