//! What the API can do for as long as a service answers.

use std::sync::Arc;

use orchestrator_common::auth::KeySet;
use orchestrator_common::cache::Cache;
use orchestrator_common::health::{CacheCheck, DependencyCheck, LedgerCheck, PublishingCheck};
use orchestrator_common::ledger::Ledger;
use orchestrator_common::messaging::Publisher;

/// What works as long as a dependency answers, even when no other one does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carries {
    /// Accepting tasks into durable hands.
    pub accepting: bool,
    /// Reading the state of agents and tasks.
    pub reading: bool,
}

/// A service that the API leans on.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// How to find out whether it answers.
    pub check: Arc<dyn DependencyCheck>,
    /// What works as long as it does.
    pub carries: Carries,
}

impl Dependency {
    /// The ledger: alone it accepts tasks and knows everything.
    #[must_use]
    pub fn ledger(ledger: Ledger) -> Self {
        Self {
            check: Arc::new(LedgerCheck(ledger)),
            carries: Carries {
                accepting: true,
                reading: true,
            },
        }
    }

    /// The broker: alone it accepts tasks.
    #[must_use]
    pub fn broker(publisher: Publisher) -> Self {
        Self {
            check: Arc::new(PublishingCheck(publisher)),
            carries: Carries {
                accepting: true,
                reading: false,
            },
        }
    }

    /// The cache: alone it carries nothing, as it accepts no task and knows only the latest ones.
    #[must_use]
    pub fn cache(cache: Cache) -> Self {
        Self {
            check: Arc::new(CacheCheck(cache)),
            carries: Carries::default(),
        }
    }

    /// The keys that callers' tokens are checked with: while they cannot be fetched, those that are known go on working.
    pub(crate) fn token_keys(keys: KeySet) -> Self {
        Self {
            check: Arc::new(keys),
            carries: Carries::default(),
        }
    }
}
