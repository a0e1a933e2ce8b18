//! Whether the services that a process leans on answer, and since when they do not.

mod board;
mod checks;
pub mod probe;

use std::fmt;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

pub use board::Board;
pub use checks::{CacheCheck, ConsumingCheck, LedgerCheck, PublishingCheck};

/// A service that a process leans on, and how to find out whether it answers.
pub trait DependencyCheck: Send + Sync + fmt::Debug {
    /// Its name in health reports.
    fn name(&self) -> &'static str;

    /// Asks it; the error is logged and never shown to callers. Given up after 2 s.
    fn check(&self) -> BoxFuture<'_, Result<(), String>>;
}

/// What came of asking a dependency.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    /// The dependency's name.
    pub name: &'static str,
    /// Whether it answered.
    pub up: bool,
    /// How long its answer took, or was waited for.
    pub latency: Duration,
    /// When it answered last; `None` when it has not yet.
    pub proven_at: Option<Instant>,
}
