//! The way of a command from the API to whoever carries it out.
//!
//! The embedded default hands commands to the worker in the same process; at full strength they go through RabbitMQ.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::domain::{AgentId, DeadLetter, NewTask, Origin, TaskId, TaskStatus, WorkerId};
use crate::ledger::{Ingested, Ingestion};
use crate::messaging::Command;

/// What a caller is told to wait when nothing durable can take what it brings.
pub const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A task that is now in durable hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its identifier.
    pub task_id: TaskId,
    /// Where it stands; `Queued` when only the broker has it.
    pub status: TaskStatus,
    /// How many tasks of its agent run before it, when that is known.
    pub queue_position: Option<u64>,
    /// Whether the very same request had been accepted before.
    pub repeated: bool,
}

/// Why a task was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// No such agent is registered.
    #[error("agent {0} is not registered")]
    UnknownAgent(AgentId),
    /// The identifier belongs to a task that was asked for differently.
    #[error("task {0} already exists and was asked for differently")]
    Conflict(TaskId),
    /// The ledger will never take it as it is.
    #[error("the task cannot be stored: {0}")]
    Unacceptable(String),
    /// Nothing durable can take it now.
    #[error("no durable store can take the task now")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
}

impl AcceptError {
    /// Nothing durable can take it now; trying again after [`RETRY_AFTER`] may help.
    #[must_use]
    pub const fn unavailable() -> Self {
        Self::Unavailable {
            retry_after: RETRY_AFTER,
        }
    }
}

impl Accepted {
    /// What the caller is told who brought the task of `ingestion` for `agent_id`.
    ///
    /// # Errors
    /// When the ledger did not take the task.
    pub fn from_ingestion(ingestion: &Ingestion, agent_id: &AgentId) -> Result<Self, AcceptError> {
        let task_id = ingestion.task_id;
        let accepted = |status, queue_position, repeated| Self {
            task_id,
            status,
            queue_position,
            repeated,
        };
        match ingestion.outcome {
            // A caller learns that its task waits or is scheduled; how soon it started shows when it looks.
            Ingested::New {
                status: TaskStatus::Scheduled,
                ..
            } => Ok(accepted(TaskStatus::Scheduled, None, false)),
            Ingested::New {
                status: TaskStatus::Running,
                ..
            } => Ok(accepted(TaskStatus::Queued, Some(0), false)),
            Ingested::New { waiting, .. } => Ok(accepted(TaskStatus::Queued, Some(waiting), false)),
            Ingested::Repeated { status } => Ok(accepted(status, None, true)),
            Ingested::Conflict => Err(AcceptError::Conflict(task_id)),
            Ingested::UnknownAgent => Err(AcceptError::UnknownAgent(agent_id.clone())),
        }
    }
}

/// What was changed about a task in the ledger, for whoever has to act on it or wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskChange {
    /// It was cancelled before it ran.
    Ended(TaskId),
    /// It runs, and is to be dropped.
    ToDrop {
        /// The task.
        task_id: TaskId,
        /// Who runs it.
        worker_id: WorkerId,
    },
    /// It waits with another priority than before.
    Reprioritised(TaskId),
    /// It waits again after it had ended.
    Retried {
        /// The task.
        task_id: TaskId,
        /// Its agent.
        agent_id: AgentId,
    },
}

/// Why a dead letter was not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// No queue takes messages of its kind.
    #[error("no queue takes the message")]
    Unroutable,
    /// There is no broker, or it takes nothing now.
    #[error("the broker does not take the message now")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
}

/// Takes commands into durable hands.
pub trait CommandSink: Send + Sync + fmt::Debug {
    /// Accepts a task: when this returns `Ok`, the task survives a crash of every process of ours.
    fn execute(&self, task: NewTask) -> BoxFuture<'_, Result<Accepted, AcceptError>>;

    /// Tells the workers that what is wanted of an agent has changed; losing this only delays them.
    fn agent_changed(&self, agent_id: &AgentId);

    /// Tells workers and readers what was changed about a task; losing this only delays them.
    fn task_changed(&self, change: TaskChange) -> BoxFuture<'_, ()>;

    /// Tells the workers that a workflow has something to do; losing this only delays it.
    fn workflows_changed(&self);

    /// Sends a dead letter again for `_by`; it is with the broker when this returns `Ok`. By default there is no broker.
    fn replay<'a>(
        &'a self,
        _letter: &'a DeadLetter,
        _by: &'a Origin,
    ) -> BoxFuture<'a, Result<(), ReplayError>> {
        let retry_after = RETRY_AFTER;
        Box::pin(std::future::ready(Err(ReplayError::Unavailable {
            retry_after,
        })))
    }

    /// Takes a change that `_by` asks for and the ledger cannot take now: when this returns `Ok`, workers carry it out as soon as the ledger
    /// can. By default there is no such way beside the ledger.
    fn hand_on(&self, _change: Command, _by: Origin) -> BoxFuture<'_, Result<(), AcceptError>> {
        Box::pin(std::future::ready(Err(AcceptError::unavailable())))
    }
}
