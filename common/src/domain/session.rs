//! Sessions: what one attempt of a task was, is, and came to.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::agent::named_states;
use super::{
    AgentId, ErrorCode, InstanceId, SessionId, TaskId, TaskStatus, Timestamp, Usage, WorkerId,
};

named_states! {
    /// What a session came to.
    SessionOutcome {
        /// It has not ended.
        Running = "running",
        /// The agent answered with a result.
        Completed = "completed",
        /// The task failed with it.
        Failed = "failed",
        /// The agent did not answer in time.
        TimedOut = "timed_out",
        /// Somebody cancelled the task.
        Cancelled = "cancelled",
        /// It failed, and the task was to be tried again.
        Retried = "retried",
    }
}

impl SessionOutcome {
    /// What a session came to whose task then was `status`.
    #[must_use]
    pub const fn of(status: TaskStatus) -> Self {
        match status {
            TaskStatus::Completed => Self::Completed,
            TaskStatus::Failed => Self::Failed,
            TaskStatus::TimedOut => Self::TimedOut,
            TaskStatus::Cancelled => Self::Cancelled,
            TaskStatus::Queued
            | TaskStatus::Scheduled
            | TaskStatus::Running
            | TaskStatus::Retrying => Self::Retried,
        }
    }
}

/// One attempt of a task.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    /// The task.
    pub task_id: TaskId,
    /// How often the task had been claimed by then; with `task_id` its identity.
    pub claim: u32,
    /// The attempt as callers count it, from 1.
    pub attempt: u32,
    /// The agent.
    pub agent_id: AgentId,
    /// The conversation of the task.
    pub session_id: Option<SessionId>,
    /// Where it ran.
    pub instance_id: Option<InstanceId>,
    /// Which worker ran it.
    pub worker_id: Option<WorkerId>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; `None` while it runs.
    pub ended_at: Option<Timestamp>,
    /// What it came to.
    pub outcome: SessionOutcome,
    /// Why it failed.
    pub error: Option<ErrorCode>,
    /// How long its task waited for a slot of the agent; only of a task's first session.
    pub waited: Option<Duration>,
    /// What it used.
    pub usage: Usage,
}
