//! From what an agent answered to what the attempt came to: the one place that decides what is tried again.

use std::time::Duration;

use super::error::ExecuteError;
use super::execution::Execution;
use crate::domain::{ErrorCode, Outcome, Snooze, TaskError, Usage};

/// How long a task waits that met a busy instance.
pub const BUSY_DELAY: Duration = Duration::from_millis(250);

/// How long a task waits whose instance has to be re-created.
pub const RECREATE_DELAY: Duration = Duration::from_secs(1);

/// The outcome of an attempt, and what it used.
///
/// An instance that [needs a new brain](ExecuteError::needs_new_brain) only snoozes the task here: who runs the task
/// asks for the brain before.
#[must_use]
pub fn outcome_of(result: Result<Execution, ExecuteError>) -> (Outcome, Usage) {
    let error = match result {
        Ok(Execution { result, usage, .. }) => return (Outcome::Completed { result }, usage),
        Err(error) => error,
    };
    let told = |code: ErrorCode| TaskError::new(code, error.to_string());
    let retryable = |code: ErrorCode, retry_after| Outcome::Retryable {
        error: told(code),
        retry_after,
    };
    let outcome = match &error {
        ExecuteError::Busy { .. } if !error.needs_new_brain() => Outcome::Snoozed {
            why: Snooze::Busy,
            delay: BUSY_DELAY,
        },
        ExecuteError::Busy { .. } | ExecuteError::UnknownAgent => Outcome::Snoozed {
            why: Snooze::NoBrain,
            delay: RECREATE_DELAY,
        },
        ExecuteError::Unreachable { .. } => retryable(ErrorCode::AgentUnreachable, None),
        ExecuteError::Unavailable { retry_after, .. } => {
            retryable(ErrorCode::AgentUnavailable, *retry_after)
        }
        ExecuteError::InvalidAnswer(_) => retryable(ErrorCode::InvalidAnswer, None),
        ExecuteError::TimedOut { .. } => Outcome::TimedOut {
            error: told(ErrorCode::TimedOut),
        },
        ExecuteError::Rejected(_) => Outcome::Failed {
            error: told(ErrorCode::AgentRejected),
        },
        ExecuteError::Failed { usage, .. } => {
            let error = told(ErrorCode::AgentFailed);
            return (Outcome::Failed { error }, *usage);
        }
    };
    (outcome, Usage::default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::value::RawValue;

    use super::*;

    fn outcome(error: ExecuteError) -> Outcome {
        outcome_of(Err(error)).0
    }

    #[test]
    fn a_result_completes_the_task() {
        let usage = Usage {
            tokens_used: Some(7),
            cost_estimate: None,
        };
        let execution = Execution {
            result: Arc::from(RawValue::TRUE.to_owned()),
            usage,
            confidence: None,
        };
        let (outcome, used) = outcome_of(Ok(execution));
        assert!(matches!(outcome, Outcome::Completed { result } if result.get() == "true"));
        assert_eq!(used, usage);
    }

    #[test]
    fn a_busy_agent_costs_no_attempt() {
        let busy = |state: &str| {
            outcome(ExecuteError::Busy {
                state: state.to_owned(),
            })
        };
        assert!(
            matches!(busy("executing"), Outcome::Snoozed { why: Snooze::Busy, delay } if delay == BUSY_DELAY)
        );
        assert!(
            matches!(busy("terminated"), Outcome::Snoozed { why: Snooze::NoBrain, delay } if delay == RECREATE_DELAY)
        );
    }

    #[test]
    fn an_agent_that_its_brain_forgot_costs_no_attempt() {
        let forgotten = outcome(ExecuteError::UnknownAgent);
        assert!(
            matches!(forgotten, Outcome::Snoozed { why: Snooze::NoBrain, delay } if delay == RECREATE_DELAY)
        );
    }

    #[test]
    fn trouble_on_the_way_is_tried_again_when_the_agent_wishes() {
        let wish = Some(Duration::from_secs(9));
        let unavailable = outcome(ExecuteError::Unavailable {
            status: 503,
            retry_after: wish,
            message: "overload".to_owned(),
        });
        assert!(matches!(
            unavailable,
            Outcome::Retryable { error, retry_after } if retry_after == wish
                && error.code == ErrorCode::AgentUnavailable && error.message.contains("overload")
        ));
        let unreachable = outcome(ExecuteError::Unreachable {
            message: "refused".to_owned(),
            may_be_running: false,
        });
        assert!(matches!(
            unreachable,
            Outcome::Retryable { error, retry_after: None } if error.code == ErrorCode::AgentUnreachable
        ));
        let garbage = outcome(ExecuteError::InvalidAnswer("html".to_owned()));
        assert!(matches!(
            garbage,
            Outcome::Retryable { error, retry_after: None } if error.code == ErrorCode::InvalidAnswer
        ));
    }

    #[test]
    fn a_time_out_is_its_own_outcome() {
        let timed_out = outcome(ExecuteError::TimedOut {
            message: "Task execution timed out after 3 seconds".to_owned(),
            may_be_running: false,
        });
        assert!(matches!(
            timed_out,
            Outcome::TimedOut { error } if error.message == "Task execution timed out after 3 seconds"
        ));
    }

    #[test]
    fn what_the_agent_refused_or_failed_is_final() {
        let rejected = outcome(ExecuteError::Rejected("no input".to_owned()));
        assert!(
            matches!(rejected, Outcome::Failed { error } if error.code == ErrorCode::AgentRejected)
        );
        let usage = Usage {
            tokens_used: Some(3),
            cost_estimate: Some(0.1),
        };
        let (failed, used) = outcome_of(Err(ExecuteError::Failed {
            message: "Reasoning failed: no model".to_owned(),
            usage,
        }));
        assert!(matches!(
            failed,
            Outcome::Failed { error } if error.code == ErrorCode::AgentFailed
                && error.message == "Reasoning failed: no model"
        ));
        assert_eq!(used, usage, "a failed try is paid for as well");
    }
}
