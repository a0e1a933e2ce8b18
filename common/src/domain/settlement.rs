//! What a task becomes when a claim on it ends: the state machine of attempts, as a pure function.

use std::time::Duration;

use super::{Claim, ErrorCode, Json, Outcome, RetryPolicy, TaskError, TaskStatus, Timestamp};

/// The limits that settlements keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettlementRules {
    /// Delays between attempts.
    pub retry: RetryPolicy,
    /// How many workers may die running a task before it is given up as the one that kills them.
    pub max_crashes: u32,
}

impl Default for SettlementRules {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            max_crashes: 5,
        }
    }
}

/// What the ledger writes when a claim ends.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// What the task becomes.
    pub status: TaskStatus,
    /// The agent's answer.
    pub result: Option<Json>,
    /// Why the attempt failed.
    pub error: Option<TaskError>,
    /// When a `retrying` task may run again.
    pub run_at: Option<Timestamp>,
    /// Whether the attempt counts; one that does not is given back.
    pub counts: bool,
    /// Whether the worker died.
    pub crashed: bool,
}

impl Settlement {
    fn to(status: TaskStatus) -> Self {
        Self {
            status,
            result: None,
            error: None,
            run_at: None,
            counts: true,
            crashed: false,
        }
    }

    fn with_error(status: TaskStatus, error: TaskError) -> Self {
        Self {
            error: Some(error),
            ..Self::to(status)
        }
    }

    /// Decides what becomes of the task of `claim`.
    ///
    /// `jitter` is a random number in `0.0..=1.0`. A task that is to be cancelled becomes so wherever it would
    /// otherwise run again; an outcome that is already there stands.
    #[must_use]
    pub fn decide(
        claim: &Claim,
        outcome: Outcome,
        cancel_requested: bool,
        rules: &SettlementRules,
        now: Timestamp,
        jitter: f64,
    ) -> Self {
        let settlement = match outcome {
            Outcome::Completed { result } => Self {
                result: Some(result),
                ..Self::to(TaskStatus::Completed)
            },
            Outcome::Failed { error } => Self::with_error(TaskStatus::Failed, error),
            Outcome::TimedOut { error } => Self::with_error(TaskStatus::TimedOut, error),
            Outcome::Cancelled => Self::cancelled(),
            Outcome::Retryable { error, retry_after } => {
                Self::after_failure(claim, error, retry_after, rules, now, jitter)
            }
            Outcome::Snoozed { delay, .. } => Self {
                run_at: Some(now.plus(delay)),
                counts: false,
                ..Self::to(TaskStatus::Retrying)
            },
            Outcome::HandedBack => Self {
                counts: false,
                ..Self::to(TaskStatus::Queued)
            },
            Outcome::WorkerLost => Self::after_crash(claim, rules),
        };
        if cancel_requested && !settlement.status.is_terminal() {
            Self {
                counts: settlement.counts,
                crashed: settlement.crashed,
                ..Self::cancelled()
            }
        } else {
            settlement
        }
    }

    fn cancelled() -> Self {
        Self::with_error(
            TaskStatus::Cancelled,
            TaskError::new(ErrorCode::Cancelled, "the task was cancelled"),
        )
    }

    fn after_failure(
        claim: &Claim,
        error: TaskError,
        retry_after: Option<Duration>,
        rules: &SettlementRules,
        now: Timestamp,
        jitter: f64,
    ) -> Self {
        // Attempts that ended with their worker's death have a cap of their own.
        let failures = claim.attempt.saturating_sub(claim.crashes).max(1);
        if failures >= claim.max_attempts {
            return Self::with_error(TaskStatus::Failed, error);
        }
        let delay = rules.retry.delay(failures, retry_after, jitter);
        Self {
            run_at: Some(now.plus(delay)),
            ..Self::with_error(TaskStatus::Retrying, error)
        }
    }

    fn after_crash(claim: &Claim, rules: &SettlementRules) -> Self {
        let crashes = claim.crashes + 1;
        let message = format!(
            "the worker that ran attempt {} died ({crashes} of at most {})",
            claim.attempt, rules.max_crashes
        );
        let status = if crashes >= rules.max_crashes {
            TaskStatus::Failed
        } else {
            TaskStatus::Queued
        };
        Self {
            crashed: true,
            ..Self::with_error(status, TaskError::new(ErrorCode::WorkerLost, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AgentId, InstanceId, Snooze, TaskId, WorkerId};

    fn claim(attempt: u32, crashes: u32) -> Claim {
        Claim {
            task_id: TaskId::generate(),
            agent_id: AgentId::parse("a").unwrap(),
            worker_id: WorkerId::generate(),
            instance_id: InstanceId::generate(),
            number: attempt,
            attempt,
            max_attempts: 3,
            crashes,
            started_at: Timestamp::from_micros(0),
            waited: None,
        }
    }

    fn decide(claim: &Claim, outcome: Outcome, cancel: bool) -> Settlement {
        Settlement::decide(
            claim,
            outcome,
            cancel,
            &SettlementRules::default(),
            Timestamp::from_micros(0),
            1.0,
        )
    }

    fn retryable() -> Outcome {
        Outcome::Retryable {
            error: TaskError::new(ErrorCode::AgentUnreachable, "no answer"),
            retry_after: None,
        }
    }

    #[test]
    fn a_failed_attempt_is_retried_until_the_last_one() {
        let first = decide(&claim(1, 0), retryable(), false);
        assert_eq!(
            (first.status, first.run_at),
            (
                TaskStatus::Retrying,
                Some(Timestamp::from_micros(1_000_000))
            )
        );
        assert_eq!(
            decide(&claim(3, 0), retryable(), false).status,
            TaskStatus::Failed
        );
    }

    #[test]
    fn attempts_lost_to_crashes_do_not_count_as_failures() {
        assert_eq!(
            decide(&claim(3, 2), retryable(), false).status,
            TaskStatus::Retrying
        );
    }

    #[test]
    fn a_snoozed_or_handed_back_attempt_costs_nothing() {
        let snoozed = decide(
            &claim(3, 0),
            Outcome::Snoozed {
                why: Snooze::Busy,
                delay: Duration::from_secs(1),
            },
            false,
        );
        assert_eq!(
            (snoozed.status, snoozed.counts),
            (TaskStatus::Retrying, false)
        );
        let handed_back = decide(&claim(3, 0), Outcome::HandedBack, false);
        assert_eq!(
            (handed_back.status, handed_back.counts),
            (TaskStatus::Queued, false)
        );
    }

    #[test]
    fn a_task_that_kills_workers_is_given_up() {
        assert_eq!(
            decide(&claim(4, 3), Outcome::WorkerLost, false).status,
            TaskStatus::Queued
        );
        let given_up = decide(&claim(5, 4), Outcome::WorkerLost, false);
        assert_eq!(given_up.status, TaskStatus::Failed);
        assert_eq!(given_up.error.unwrap().code, ErrorCode::WorkerLost);
    }

    #[test]
    fn a_cancelled_task_never_runs_again_but_an_outcome_stands() {
        for outcome in [
            retryable(),
            Outcome::Snoozed {
                why: Snooze::Busy,
                delay: Duration::ZERO,
            },
            Outcome::HandedBack,
            Outcome::WorkerLost,
        ] {
            assert_eq!(
                decide(&claim(1, 0), outcome, true).status,
                TaskStatus::Cancelled
            );
        }
        let error = TaskError::new(ErrorCode::AgentFailed, "no");
        assert_eq!(
            decide(&claim(1, 0), Outcome::Failed { error }, true).status,
            TaskStatus::Failed
        );
    }
}
