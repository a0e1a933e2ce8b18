//! Spares callers the wait for something that has just failed: one of them tries again each second, the others do not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long nobody tries after a failure.
const REST: Duration = Duration::from_secs(1);
/// The value of `resting_until` while all is well.
const WELL: u64 = 0;

#[derive(Debug)]
pub(super) struct Circuit {
    began: Instant,
    /// Milliseconds since `began` before which nobody tries, or `WELL`.
    resting_until: AtomicU64,
}

impl Circuit {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            resting_until: AtomicU64::new(WELL),
        }
    }

    /// Whether the caller may try. After a rest only the first caller may, until it has succeeded.
    pub(super) fn allows(&self) -> bool {
        let until = self.resting_until.load(Ordering::Acquire);
        if until == WELL {
            return true;
        }
        let (now, next) = self.now_and_next();
        now >= until
            && self
                .resting_until
                .compare_exchange(until, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    pub(super) fn succeeded(&self) {
        self.resting_until.store(WELL, Ordering::Release);
    }

    /// Begins a rest; returns whether all had been well before.
    pub(super) fn failed(&self) -> bool {
        let (_, next) = self.now_and_next();
        self.resting_until.swap(next, Ordering::AcqRel) == WELL
    }

    fn now_and_next(&self) -> (u64, u64) {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let now = self.began.elapsed();
        (millis(now), millis(now + REST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_nobody_tries_until_the_rest_is_over_and_then_one_does() {
        let circuit = Circuit::new();
        assert!(circuit.allows());
        assert!(circuit.failed());
        assert!(!circuit.failed());
        assert!(!circuit.allows());
        circuit.resting_until.store(1, Ordering::Release);
        while circuit.began.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        assert!(circuit.allows());
        assert!(!circuit.allows());
        circuit.succeeded();
        assert!(circuit.allows() && circuit.allows());
    }
}
