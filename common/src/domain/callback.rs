//! A callback: whoever named a `callback_url` is told the outcome of the task, tried again for up to a day.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{RetryPolicy, TaskId, Timestamp};

/// How far the callback of a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackStatus {
    /// Not delivered yet.
    Pending,
    /// The receiver said that it has it.
    Delivered,
    /// The receiver said that it wants it no longer.
    Gone,
    /// No attempt of a day succeeded.
    Abandoned,
}

impl CallbackStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Delivered, Self::Gone, Self::Abandoned];

    /// The name on the wire and in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Gone => "gone",
            Self::Abandoned => "abandoned",
        }
    }
}

impl fmt::Display for CallbackStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CallbackStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(())
    }
}

/// The callback of a task, as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackRecord {
    /// How far it is.
    pub status: CallbackStatus,
    /// Attempts begun so far.
    pub attempts: u32,
    /// When the next attempt is due; while one is under way, when it is taken for lost.
    pub next_attempt_at: Option<Timestamp>,
    /// Why the latest attempt that failed did.
    pub last_error: Option<String>,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
}

/// The right to make one attempt at a callback, until the lease runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackClaim {
    /// The task that ended.
    pub task_id: TaskId,
    /// When its outcome was recorded.
    pub outcome_at: Timestamp,
    /// The attempt, counted from 1.
    pub attempt: u32,
}

/// What an attempt at a callback came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackOutcome {
    /// The receiver has it.
    Delivered,
    /// The receiver wants it no longer.
    Gone(String),
    /// It failed for this reason, and is tried again at this time.
    Again(String, Timestamp),
    /// It failed for this reason, and so did all before it.
    Abandoned(String),
    /// It was not made, or dropped; another worker may make it at once.
    HandedBack,
}

impl CallbackOutcome {
    /// For how long after the outcome of its task an attempt may follow.
    pub const PATIENCE: Duration = Duration::from_secs(86_400);
    /// Delays between attempts.
    const RETRY: RetryPolicy = RetryPolicy {
        base: Duration::from_secs(2),
        cap: Duration::from_secs(3_600),
    };

    /// What follows from an attempt that failed at `now`; `retry_after` is the receiver's wish and `jitter` a random
    /// number in `0.0..=1.0`.
    #[must_use]
    pub fn failed(
        claim: &CallbackClaim,
        reason: String,
        retry_after: Option<Duration>,
        now: Timestamp,
        jitter: f64,
    ) -> Self {
        let next = now.plus(Self::RETRY.delay(claim.attempt, retry_after, jitter));
        if next > claim.outcome_at.plus(Self::PATIENCE) {
            Self::Abandoned(reason)
        } else {
            Self::Again(reason, next)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600;

    fn claim(outcome_at: Timestamp, attempt: u32) -> CallbackClaim {
        CallbackClaim {
            task_id: TaskId::generate(),
            outcome_at,
            attempt,
        }
    }

    #[test]
    fn a_callback_that_never_succeeds_is_abandoned_within_a_day_and_not_before_the_last_hour() {
        for jitter in [0.0, 0.5, 1.0] {
            let outcome_at = Timestamp::now();
            let (mut now, mut attempt) = (outcome_at, 1);
            loop {
                let claim = claim(outcome_at, attempt);
                match CallbackOutcome::failed(&claim, "no".into(), None, now, jitter) {
                    CallbackOutcome::Again(_, at) => {
                        assert!(at > now);
                        (now, attempt) = (at, attempt + 1);
                    }
                    outcome => {
                        assert_eq!(outcome, CallbackOutcome::Abandoned("no".into()));
                        break;
                    }
                }
            }
            let lasted = now.since(outcome_at);
            assert!(lasted <= CallbackOutcome::PATIENCE, "{lasted:?}");
            assert!(
                lasted >= Duration::from_secs(23 * HOUR),
                "{lasted:?} after {attempt} attempts"
            );
            assert!((20..=60).contains(&attempt), "{attempt} attempts");
        }
    }

    proptest! {
        #[test]
        fn a_receivers_wish_to_wait_is_honoured_up_to_an_hour(
            attempt in 1u32..40, wish in 0u64..100_000, jitter in 0.0f64..=1.0
        ) {
            let now = Timestamp::now();
            let wish = Duration::from_secs(wish);
            match CallbackOutcome::failed(&claim(now, attempt), "no".into(), Some(wish), now, jitter) {
                CallbackOutcome::Again(_, at) => {
                    prop_assert!(at >= now.plus(wish.min(Duration::from_secs(HOUR))));
                    prop_assert!(at <= now.plus(Duration::from_secs(HOUR)));
                }
                outcome => prop_assert!(false, "{outcome:?}"),
            }
        }
    }
}
