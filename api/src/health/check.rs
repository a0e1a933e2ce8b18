//! A service that the orchestrator leans on, and how to find out whether it answers.

use std::fmt;

use futures::future::BoxFuture;
use orchestrator_common::ledger::Ledger;

/// What works as long as a dependency answers, even when no other one does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carries {
    /// Accepting tasks into durable hands.
    pub accepting: bool,
    /// Reading the state of agents and tasks.
    pub reading: bool,
}

/// A service that the orchestrator leans on.
pub trait DependencyCheck: Send + Sync + fmt::Debug {
    /// Its name in `/health`.
    fn name(&self) -> &'static str;

    /// What works as long as it answers.
    fn carries(&self) -> Carries;

    /// Asks it; the error is logged and never shown to callers. Given up after 2 s.
    fn check(&self) -> BoxFuture<'_, Result<(), String>>;
}

/// Asks the ledger.
#[derive(Debug)]
pub struct LedgerCheck(pub Ledger);

impl DependencyCheck for LedgerCheck {
    fn name(&self) -> &'static str {
        "ledger"
    }

    fn carries(&self) -> Carries {
        Carries {
            accepting: true,
            reading: true,
        }
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { self.0.ping().await.map_err(|error| error.to_string()) })
    }
}
