//! The work that every measurement of throughput puts on an orchestrator, as arguments of its command.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::connection::Connection;
use crate::orchestrator;
use crate::throughput::Plan;

/// Which agents there are, and what they are given to do.
#[derive(Args, Clone, Debug)]
pub struct Workload {
    /// Agents that share the tasks.
    #[arg(long, default_value_t = 4)]
    pub agents: usize,
    /// Concurrent sessions of each agent.
    #[arg(long, default_value_t = 256)]
    pub sessions: u32,
    /// Tasks to submit from many clients.
    #[arg(long, default_value_t = 50_000)]
    pub tasks: usize,
    /// Connections, each with one request under way.
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// Bytes of input that a task carries.
    #[arg(long, default_value_t = 128)]
    pub payload_bytes: usize,
    /// Seconds until a measurement is given up.
    #[arg(long, default_value_t = 300)]
    pub deadline_seconds: u64,
}

impl Workload {
    /// How long a measurement may take.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_seconds)
    }

    /// `tasks` tasks for `agents`, on processes of the orchestrator and of the servers beside it.
    #[must_use]
    pub fn plan(
        &self,
        agents: Vec<String>,
        tasks: usize,
        pids: Vec<u32>,
        server_pids: Vec<u32>,
    ) -> Plan {
        Plan {
            agents,
            tasks,
            clients: self.clients,
            payload_bytes: self.payload_bytes,
            deadline: self.deadline(),
            pids,
            server_pids,
        }
    }
}

/// Registers and starts at least one agent, and returns their names.
///
/// # Errors
/// When the orchestrator refuses one.
pub async fn ready_agents(
    connection: &mut Connection,
    prefix: &str,
    number: usize,
    sessions: u32,
) -> Result<Vec<String>> {
    let agents: Vec<String> = (0..number.max(1))
        .map(|number| format!("{prefix}-{number}"))
        .collect();
    for agent in &agents {
        orchestrator::register(connection, agent, sessions).await?;
        orchestrator::start(connection, agent).await?;
    }
    Ok(agents)
}
