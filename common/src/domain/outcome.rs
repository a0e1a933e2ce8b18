//! What an attempt came to, and who may say so.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AgentId, InstanceId, Json, TaskId, Timestamp, WorkerId};

/// A worker's right to run a task once, and the fence that every outcome must carry.
///
/// `number` grows with every claim of the task, also with those that cost no attempt, so no two claims are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The task.
    pub task_id: TaskId,
    /// Its agent.
    pub agent_id: AgentId,
    /// The worker that claimed it.
    pub worker_id: WorkerId,
    /// Where it is to run.
    pub instance_id: InstanceId,
    /// How often the task has been claimed, this time included.
    pub number: u32,
    /// The attempt as callers count it, from 1.
    pub attempt: u32,
    /// How many attempts may fail before the task fails.
    pub max_attempts: u32,
    /// How many workers died running it.
    pub crashes: u32,
    /// When it was claimed.
    pub started_at: Timestamp,
    /// How long the task had waited for a slot; only of its first claim.
    pub waited: Option<Duration>,
}

/// What an agent reported to have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the language model.
    pub tokens_used: Option<u64>,
    /// Cost in US dollars.
    pub cost_estimate: Option<f64>,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why an attempt or a task failed, by a name that does not change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode { $($(#[$doc])* $variant,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name on the wire and in the ledger.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

error_codes! {
    /// The agent could not be reached.
    AgentUnreachable = "agent_unreachable",
    /// The agent answered with a server error or asked to come back later.
    AgentUnavailable = "agent_unavailable",
    /// The agent did not answer in time.
    TimedOut = "timed_out",
    /// The agent refused the task's form.
    AgentRejected = "agent_rejected",
    /// The agent tried and failed.
    AgentFailed = "agent_failed",
    /// The agent answered something that is not of its contract.
    InvalidAnswer = "invalid_answer",
    /// The worker that ran it died.
    WorkerLost = "worker_lost",
    /// The orchestrator itself failed while running it.
    InternalError = "internal_error",
    /// It was not started before it expired.
    Expired = "expired",
    /// Somebody cancelled it.
    Cancelled = "cancelled",
    /// Its agent was unregistered.
    AgentUnregistered = "agent_unregistered",
    /// Its agent is not registered.
    UnknownAgent = "unknown_agent",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ErrorCode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == text)
            .ok_or(())
    }
}

/// Why an attempt or a task failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskError {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

impl TaskError {
    /// An error with its message.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// Why a task could not be tried now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snooze {
    /// The instance runs as many tasks as it can.
    Busy,
    /// The instance has to be made again.
    NoBrain,
    /// The instance may still run an earlier attempt at the task.
    StillRunning,
}

/// What an attempt says of the instance that it was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It did what it was asked to.
    Succeeded,
    /// It answered, with a failure of its own.
    Answered,
    /// It takes no more tasks than it has.
    Refused,
    /// It was not reached, failed as a server does, or did not answer in time.
    Failed,
    /// Nothing.
    None,
}

impl Outcome {
    /// What it says of the instance.
    #[must_use]
    pub const fn evidence(&self) -> Evidence {
        match self {
            Self::Completed { .. } => Evidence::Succeeded,
            Self::Failed { error } => match error.code {
                ErrorCode::AgentRejected | ErrorCode::AgentFailed => Evidence::Answered,
                ErrorCode::AgentUnreachable
                | ErrorCode::AgentUnavailable
                | ErrorCode::InvalidAnswer
                | ErrorCode::TimedOut => Evidence::Failed,
                ErrorCode::WorkerLost
                | ErrorCode::InternalError
                | ErrorCode::Expired
                | ErrorCode::Cancelled
                | ErrorCode::AgentUnregistered
                | ErrorCode::UnknownAgent => Evidence::None,
            },
            Self::Retryable { .. } | Self::TimedOut { .. } => Evidence::Failed,
            Self::Snoozed { why, .. } => match why {
                Snooze::Busy => Evidence::Refused,
                Snooze::NoBrain | Snooze::StillRunning => Evidence::None,
            },
            Self::HandedBack | Self::WorkerLost | Self::Cancelled => Evidence::None,
        }
    }

    /// Whether the instance may still run the task although the attempt has ended for us: it does not notice that nobody
    /// waits for its answer.
    #[must_use]
    pub const fn may_still_run(&self) -> bool {
        match self {
            Self::Completed { .. } | Self::Failed { .. } => false,
            Self::Snoozed { why, .. } => match why {
                Snooze::StillRunning => true,
                Snooze::Busy | Snooze::NoBrain => false,
            },
            Self::Retryable { error, .. } => match error.code {
                ErrorCode::InvalidAnswer => false,
                ErrorCode::AgentUnreachable
                | ErrorCode::AgentUnavailable
                | ErrorCode::TimedOut
                | ErrorCode::AgentRejected
                | ErrorCode::AgentFailed
                | ErrorCode::WorkerLost
                | ErrorCode::InternalError
                | ErrorCode::Expired
                | ErrorCode::Cancelled
                | ErrorCode::AgentUnregistered
                | ErrorCode::UnknownAgent => true,
            },
            Self::TimedOut { .. } | Self::HandedBack | Self::WorkerLost | Self::Cancelled => true,
        }
    }
}

/// What an attempt came to. A handler decides it; the ledger settles it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The agent's result.
    Completed {
        /// What it answered.
        result: Json,
    },
    /// The attempt failed and another may succeed.
    Retryable {
        /// Why.
        error: TaskError,
        /// The agent's own wish for the delay before the next attempt.
        retry_after: Option<Duration>,
    },
    /// The attempt failed and no other would succeed.
    Failed {
        /// Why.
        error: TaskError,
    },
    /// The agent did not answer in time.
    TimedOut {
        /// How long was waited.
        error: TaskError,
    },
    /// It could not be tried now: try again, without counting an attempt.
    Snoozed {
        /// Why.
        why: Snooze,
        /// How long to wait before the next try.
        delay: Duration,
    },
    /// The worker hands the task back, to be run elsewhere at once, without counting an attempt.
    HandedBack,
    /// The worker died; found out by another one.
    WorkerLost,
    /// Dropped because somebody cancelled it.
    Cancelled,
}

/// A claim together with what it came to.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The claim that ended.
    pub claim: Claim,
    /// What it came to.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
}
