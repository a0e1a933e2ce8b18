//! How calls to the Brain Factory and to agents fail, by what it means for the caller.

use std::time::Duration;

use thiserror::Error;

use super::transport::{Answer, Broken, MAX_ANSWER_BYTES, StatusClass};
use crate::domain::Usage;

/// The HTTP client could not be set up.
#[derive(Debug, Error)]
#[error("the HTTP client cannot be set up: {0}")]
pub struct ClientError(pub(super) String);

/// Why an agent has no result for a task.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ExecuteError {
    /// It takes no task now. Costs no attempt.
    #[error("the agent takes no task now, its state is {state}")]
    Busy {
        /// One of [`super::contract::STATES`], when the agent keeps to its contract.
        state: String,
    },
    /// Its brain forgot it: re-create it and try again. Costs no attempt.
    #[error("the agent's brain does not know it")]
    UnknownAgent,
    /// No connection, or one that broke.
    #[error("the agent cannot be reached: {message}")]
    Unreachable {
        /// What happened to the connection.
        message: String,
        /// Whether the task may have been sent before.
        may_be_running: bool,
    },
    /// A server error, or the wish to be asked later.
    #[error("the agent is unavailable (status {status}): {message}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// When it wants to be asked again, at most [`super::MAX_RETRY_AFTER`].
        retry_after: Option<Duration>,
        /// What it said.
        message: String,
    },
    /// No result within the task's time-out.
    #[error("{message}")]
    TimedOut {
        /// Who gave up, and after how long.
        message: String,
        /// Whether the agent may still be at it: it does not notice that the orchestrator gave up.
        may_be_running: bool,
    },
    /// It does not accept the task's form.
    #[error("the agent refused the task: {0}")]
    Rejected(String),
    /// It tried and failed.
    #[error("{message}")]
    Failed {
        /// The agent's own words.
        message: String,
        /// What the failed try used.
        usage: Usage,
    },
    /// It answered something that is not of its contract.
    #[error("the agent's answer makes no sense: {0}")]
    InvalidAnswer(String),
}

impl ExecuteError {
    /// Whether the instance may still run the task: sending it there again now would destroy the first run.
    #[must_use]
    pub const fn may_still_run(&self) -> bool {
        match self {
            Self::Unreachable { may_be_running, .. } | Self::TimedOut { may_be_running, .. } => {
                *may_be_running
            }
            // A proxy that gave up waiting says nothing about the agent behind it.
            Self::Unavailable { status, .. } => matches!(*status, 408 | 502 | 504),
            Self::Busy { .. }
            | Self::UnknownAgent
            | Self::Rejected(_)
            | Self::Failed { .. }
            | Self::InvalidAnswer(_) => false,
        }
    }

    /// Whether the agent takes no task until it is re-created: it is unknown, or in a state that it does not leave.
    #[must_use]
    pub fn needs_new_brain(&self) -> bool {
        match self {
            Self::UnknownAgent => true,
            Self::Busy { state } => matches!(state.as_str(), "error" | "terminated"),
            Self::Unreachable { .. }
            | Self::Unavailable { .. }
            | Self::TimedOut { .. }
            | Self::Rejected(_)
            | Self::Failed { .. }
            | Self::InvalidAnswer(_) => false,
        }
    }

    /// What an answer whose status is not a success means.
    pub(super) fn of_status(class: StatusClass, answer: &Answer) -> Self {
        match class {
            StatusClass::NotFound => Self::UnknownAgent,
            StatusClass::ComeBackLater => Self::Unavailable {
                status: answer.status,
                retry_after: answer.retry_after,
                message: answer.said(),
            },
            StatusClass::Refused => Self::Rejected(answer.status_and_said()),
            StatusClass::Success | StatusClass::OutOfContract => {
                Self::InvalidAnswer(answer.status_and_said())
            }
        }
    }
}

impl From<Broken> for ExecuteError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::NotSent(message) => Self::Unreachable {
                message,
                may_be_running: false,
            },
            Broken::Lost(message) => Self::Unreachable {
                message,
                may_be_running: true,
            },
            Broken::TimedOut(waited) => Self::TimedOut {
                message: format!(
                    "the agent did not answer within {} seconds",
                    waited.as_secs()
                ),
                may_be_running: true,
            },
            Broken::TooLarge => Self::InvalidAnswer(too_large()),
        }
    }
}

/// Why there is no agent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GenerateError {
    /// The factory does not make such an agent: its words, and every check that failed.
    #[error("the Brain Factory refused the agent: {0}")]
    Refused(String),
    /// No connection, or one that broke.
    #[error("the Brain Factory cannot be reached: {0}")]
    Unreachable(String),
    /// A server error, or the wish to be asked later.
    #[error("the Brain Factory is unavailable (status {status}): {message}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// When it wants to be asked again, at most [`super::MAX_RETRY_AFTER`].
        retry_after: Option<Duration>,
        /// What it said.
        message: String,
    },
    /// No answer in time; the agent may come to be nevertheless.
    #[error("the Brain Factory did not answer within {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// It answered something that is not of its contract.
    #[error("the Brain Factory's answer makes no sense: {0}")]
    InvalidAnswer(String),
}

impl GenerateError {
    /// What an answer whose status is not a success means.
    pub(super) fn of_status(class: StatusClass, answer: &Answer) -> Self {
        match class {
            StatusClass::ComeBackLater => Self::Unavailable {
                status: answer.status,
                retry_after: answer.retry_after,
                message: answer.said(),
            },
            StatusClass::Refused => Self::Refused(answer.status_and_said()),
            StatusClass::NotFound | StatusClass::Success | StatusClass::OutOfContract => {
                Self::InvalidAnswer(answer.status_and_said())
            }
        }
    }
}

impl From<Broken> for GenerateError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::NotSent(message) | Broken::Lost(message) => Self::Unreachable(message),
            Broken::TimedOut(waited) => Self::TimedOut(waited),
            Broken::TooLarge => Self::InvalidAnswer(too_large()),
        }
    }
}

/// Why a short question (status, health, removal) has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProbeError {
    /// Nothing is there; asked of an agent: its brain does not know it.
    #[error("is not known there")]
    NotFound,
    /// No connection, or one that broke.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// A server error, or the wish to be asked later.
    #[error("is unavailable (status {status}): {message}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// No answer in time.
    #[error("did not answer within {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// It answered something that is not of its contract.
    #[error("gave an answer that makes no sense: {0}")]
    InvalidAnswer(String),
}

impl ProbeError {
    /// What an answer whose status is not a success means.
    pub(super) fn of_status(class: StatusClass, answer: &Answer) -> Self {
        match class {
            StatusClass::NotFound => Self::NotFound,
            StatusClass::ComeBackLater => Self::Unavailable {
                status: answer.status,
                message: answer.said(),
            },
            StatusClass::Refused | StatusClass::Success | StatusClass::OutOfContract => {
                Self::InvalidAnswer(answer.status_and_said())
            }
        }
    }
}

impl From<Broken> for ProbeError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::NotSent(message) | Broken::Lost(message) => Self::Unreachable(message),
            Broken::TimedOut(waited) => Self::TimedOut(waited),
            Broken::TooLarge => Self::InvalidAnswer(too_large()),
        }
    }
}

fn too_large() -> String {
    format!("it is larger than {MAX_ANSWER_BYTES} bytes")
}
