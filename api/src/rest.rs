//! Leaves alone for a moment what has just failed, so that not every request waits for it in vain.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long it is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether something that failed is being left alone.
#[derive(Debug, Default)]
pub(crate) struct Rest(Mutex<Option<Instant>>);

impl Rest {
    /// Begins a rest of one second.
    pub(crate) fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + PAUSE);
    }

    /// Whether a rest has begun and not ended.
    pub(crate) fn is_on(&self) -> bool {
        let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        end.is_some_and(|end| Instant::now() < end)
    }
}
