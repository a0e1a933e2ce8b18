//! The latest proof that a loop turns.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A sign of life of one loop. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    name: &'static str,
    limit: Duration,
    latest: Arc<Mutex<Option<Instant>>>,
}

impl Pulse {
    /// Of a loop that has not begun: it cannot hang yet. Once begun, it hangs when `limit` passes without a beat.
    pub(crate) fn new(name: &'static str, limit: Duration) -> Self {
        Self {
            name,
            limit,
            latest: Arc::default(),
        }
    }

    /// The loop turns.
    pub(crate) fn beat(&self) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Time since the latest beat; `None` before the first.
    pub(super) fn age(&self) -> Option<Duration> {
        let latest = *self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.map(|beat| beat.elapsed())
    }

    /// Whether the loop has begun and no longer turns.
    pub(super) fn hangs(&self) -> bool {
        self.age().is_some_and(|age| age > self.limit)
    }
}
