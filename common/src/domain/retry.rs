//! When a failed attempt is tried again: a pure function of the attempt and a random number.

use std::time::Duration;

/// Capped exponential back-off with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Delay before the second attempt, before jitter.
    pub base: Duration,
    /// No delay is longer than this.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(300),
        }
    }
}

impl RetryPolicy {
    /// The delay after `failed_attempt` (counted from 1) failed.
    ///
    /// `jitter` in `0.0..=1.0` moves the delay between half and the whole of the exponential one, so that tasks
    /// that failed together do not come back together. An agent's own `retry_after` is a lower bound, within the cap.
    #[must_use]
    pub fn delay(
        &self,
        failed_attempt: u32,
        retry_after: Option<Duration>,
        jitter: f64,
    ) -> Duration {
        let doublings = failed_attempt.saturating_sub(1).min(31);
        let exponential = self.base.saturating_mul(1 << doublings).min(self.cap);
        let jittered = exponential.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        jittered.max(retry_after.unwrap_or_default()).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_delay_stays_between_half_the_exponential_one_and_the_cap(
            attempt in 1u32..10_000, jitter in 0.0f64..=1.0, wish in proptest::option::of(0u64..1_000)
        ) {
            let policy = RetryPolicy::default();
            let delay = policy.delay(attempt, wish.map(Duration::from_secs), jitter);
            let exponential = policy.base.saturating_mul(1 << (attempt - 1).min(31)).min(policy.cap);
            prop_assert!(delay <= policy.cap);
            prop_assert!(delay >= exponential / 2);
            prop_assert!(delay >= Duration::from_secs(wish.unwrap_or(0)).min(policy.cap));
        }

        #[test]
        fn later_attempts_never_wait_less(attempt in 1u32..100, jitter in 0.0f64..=1.0) {
            let policy = RetryPolicy::default();
            prop_assert!(policy.delay(attempt + 1, None, jitter) >= policy.delay(attempt, None, jitter));
        }
    }
}
