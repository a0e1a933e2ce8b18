//! The one place with Redis keys, channels, and how long things are kept.

use crate::domain::{AgentId, TaskId};

/// Seconds for which the status of an unfinished task is kept; readers then ask the ledger.
pub(super) const LIVE_SECONDS: u64 = 3_600;
/// Seconds for which the status of a finished task is kept: pollers read it soon, or not at all.
pub(super) const FINISHED_SECONDS: u64 = 600;
/// Seconds for which an agent is kept. Short, since a change that could not be written here is seen only afterwards.
pub(super) const AGENT_SECONDS: u64 = 60;

/// Seconds for which it is remembered what a name chosen by a caller was first used for: ingest takes moments, and then
/// the ledger knows it.
pub(super) const NAME_SECONDS: u64 = 600;

/// The names of one deployment.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    /// `prefix` tells deployments in one database apart; it may be empty.
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: format!("{prefix}orchestrator:"),
        }
    }

    /// The age and the document of a task's status.
    pub(super) fn task(&self, task_id: TaskId) -> String {
        format!("{}status:{task_id}", self.prefix)
    }

    /// What a task was asked for under a name that its caller chose.
    pub(super) fn name(&self, task_id: TaskId) -> String {
        format!("{}name:{task_id}", self.prefix)
    }

    /// What is known of an agent.
    pub(super) fn agent(&self, agent_id: &AgentId) -> String {
        format!("{}agent:{agent_id}", self.prefix)
    }

    /// The channel on which changed tasks are named.
    pub(super) fn changed(&self) -> String {
        format!("{}changed", self.prefix)
    }
}
