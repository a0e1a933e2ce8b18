//! A task: what a caller wants of an agent, and where it stands.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use super::workflow::RunId;
use super::{
    AgentId, InstanceId, Origin, SessionId, TaskError, TaskId, Timestamp, Usage, WorkerId,
};

/// JSON that is stored and passed on as it is, without being read again.
pub type Json = Arc<RawValue>;

/// How urgent a task is: 1 (the default) to 10 (runs first).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// The least and the greatest priority.
    pub const RANGE: std::ops::RangeInclusive<u32> = 1..=10;
    /// What a task gets that asks for none.
    pub const DEFAULT: Self = Self(1);

    /// `None` outside [`Self::RANGE`].
    #[must_use]
    pub fn new(value: u32) -> Option<Self> {
        u8::try_from(value)
            .ok()
            .filter(|v| Self::RANGE.contains(&u32::from(*v)))
            .map(Self)
    }

    /// The number, 1 to 10.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Priority {
    type Error = &'static str;

    fn try_from(value: u8) -> Result<Self, Self::Error> {
        Self::new(u32::from(value)).ok_or("must be a whole number from 1 to 10")
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

/// Where a task stands. The last four are outcomes; only a retry by hand takes a task out of the last three again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Ready to run as soon as its agent has a free slot.
    Queued,
    /// Waits for its `run_at`.
    Scheduled,
    /// A worker runs it.
    Running,
    /// An attempt failed; the next one waits for its `run_at`.
    Retrying,
    /// The agent answered with a result.
    Completed,
    /// No attempt succeeded and none will follow.
    Failed,
    /// The agent did not answer within the task's time-out.
    TimedOut,
    /// Cancelled before it had another outcome.
    Cancelled,
}

impl TaskStatus {
    /// Every status, in the order of a task's life.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Scheduled,
        Self::Running,
        Self::Retrying,
        Self::Completed,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
    ];

    /// The name on the wire and in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether this is an outcome.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Queued | Self::Scheduled | Self::Running | Self::Retrying => false,
            Self::Completed | Self::Failed | Self::TimedOut | Self::Cancelled => true,
        }
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TaskStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(())
    }
}

/// A validated task on its way into the ledger.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// Chosen by the API, or by the caller through `message_id` or an idempotency key.
    pub task_id: TaskId,
    /// The agent that is to do it.
    pub agent_id: AgentId,
    /// What kind of work it is, 1–100 characters.
    pub task_type: String,
    /// The input, a JSON object.
    pub task_data: Json,
    /// 10 runs first.
    pub priority: Priority,
    /// How long one attempt may take, in seconds.
    pub timeout_seconds: u32,
    /// Who is told the outcome.
    pub callback_url: Option<Url>,
    /// How many attempts may fail before the task fails.
    pub max_attempts: u32,
    /// Not to be started before this time.
    pub run_at: Option<Timestamp>,
    /// Given up when not started by this time.
    pub expires_at: Option<Timestamp>,
    /// The task that created this one.
    pub parent_task_id: Option<TaskId>,
    /// The conversation that it belongs to.
    pub session_id: Option<SessionId>,
    /// The caller's own notes, a JSON object.
    pub metadata: Option<Json>,
    /// When it was accepted.
    pub submitted_at: Timestamp,
    /// The caller's correlation id, kept and returned.
    pub correlation_id: Option<String>,
    /// The queue that gets the outcome.
    pub reply_to: Option<String>,
    /// W3C trace context of the request that submitted it.
    pub traceparent: Option<String>,
    /// SHA-256 of what was asked for, to tell a repeated request from a different one with the same key.
    pub fingerprint: Option<[u8; 32]>,
    /// Who submitted it, with which request; nobody is known of a task that came before this was stored.
    pub origin: Option<Arc<Origin>>,
    /// The workflow that it is part of; nobody but the workflow's engine sets it.
    pub workflow_run_id: Option<RunId>,
}

impl NewTask {
    /// How long the task waited for a slot when it was started `at`: since it was submitted, or was to run.
    #[must_use]
    pub fn waited_until(&self, at: Timestamp) -> Duration {
        let since = self
            .run_at
            .map_or(self.submitted_at, |run_at| run_at.max(self.submitted_at));
        at.since(since)
    }

    /// The record of this task when nothing has happened to it yet but its acceptance.
    #[must_use]
    pub fn into_record(self, status: TaskStatus) -> TaskRecord {
        TaskRecord {
            task: self,
            status,
            attempt: 0,
            started_at: None,
            completed_at: None,
            worker_id: None,
            instance_id: None,
            cancel_requested: false,
            result: None,
            error: None,
            usage: Usage::default(),
        }
    }
}

/// A task as the ledger knows it.
#[derive(Clone, Debug)]
pub struct TaskRecord {
    /// What was asked for.
    pub task: NewTask,
    /// Where it stands.
    pub status: TaskStatus,
    /// Attempts started so far; 0 before the first.
    pub attempt: u32,
    /// When the latest attempt started.
    pub started_at: Option<Timestamp>,
    /// When the outcome was recorded.
    pub completed_at: Option<Timestamp>,
    /// Who runs it, or ran it last.
    pub worker_id: Option<WorkerId>,
    /// Where it runs, or ran last.
    pub instance_id: Option<InstanceId>,
    /// A running task that is to be cancelled.
    pub cancel_requested: bool,
    /// What the agent answered.
    pub result: Option<Json>,
    /// Why the latest attempt failed.
    pub error: Option<TaskError>,
    /// What all attempts used together.
    pub usage: Usage,
}
