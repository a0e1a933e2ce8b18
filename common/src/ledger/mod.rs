//! The ledger: tasks, their order, who may run what, and every result. All SQL of the project lives here.
//!
//! Every operation that changes a task first locks the row of its agent (`slots`), so that what happens to the tasks
//! of one agent happens one after another, in any number of processes; rows of several agents are locked in the order
//! of their identifiers. SQLite has one writer anyway.

mod access;
mod affinity;
mod audit;
mod audit_forwarding;
mod audit_pages;
mod callbacks;
mod cancel;
mod claim;
mod complete;
mod conditions;
mod connect;
mod conversations;
mod convert;
mod dead_letters;
mod deployments;
mod dispatch;
mod due;
mod entity;
mod error;
mod ingest;
mod insert;
mod instances;
mod leases;
mod lifecycle;
mod list;
mod orphans;
mod performance;
mod presence;
mod probes;
mod query;
mod registration;
mod reprioritise;
mod retention;
mod retry;
mod rows;
mod sessions;
mod slots;
mod tally;
mod workers;
mod workflows;

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{DatabaseBackend, DatabaseConnection};

use crate::domain::{Origin, SettlementRules};
use access::{Access, Connections};

pub use audit_pages::{AuditPage, AuditQuery};
pub use callbacks::WaitingTarget;
pub use cancel::Cancelled;
pub use dead_letters::{LetterPlace, LetterQuery};
pub use dispatch::{CircuitChange, Dispatch, Dispatched, Recorded, Started};
pub use due::Promoted;
pub use error::LedgerError;
pub use ingest::{Ingested, Ingestion};
pub use lifecycle::LeasedAgent;
pub use list::{TaskPage, TaskPlace, TaskQuery};
pub use performance::{AgentPerformance, RolledUp, WindowPerformance};
pub use presence::{Presence, Sighting, Welcome};
pub use probes::{Found, Probe, ProbeChange};
pub use query::{AgentQuery, Load};
pub use registration::{Scaled, Wished};
pub use reprioritise::Reprioritised;
pub use retention::{Deleted, Ended, Walked};
pub use retry::Retried;
pub use sessions::{SessionPage, SessionPlace, SessionQuery};
pub use tally::TaskTally;
pub use workers::{Cluster, WorkerRecord, WorkerSeen};
pub use workflows::{
    Advanced, DefinitionPage, DefinitionSummary, Resumed, RunChange, RunDecided, RunPage, RunPlace,
    RunQuery, RunStarted, Stopped, StoredDefinition,
};

/// What the ledger decides by.
#[derive(Clone, Copy, Debug)]
pub struct LedgerOptions {
    /// Concurrent sessions of an agent that has no limit of its own.
    pub max_concurrent_sessions: u32,
    /// Whether a task starts an agent that was never started.
    pub auto_start: bool,
    /// Retries and crashes.
    pub rules: SettlementRules,
}

/// The ledger of a cluster: PostgreSQL, or a SQLite file for the embedded default. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    access: Access,
    options: LedgerOptions,
    /// Who asks, when that is known; see [`Self::by`].
    origin: Option<Arc<Origin>>,
}

impl Ledger {
    /// Whether the ledger answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        self.within(|db| db.query("SELECT 1", [])).await?;
        Ok(())
    }

    /// The same ledger, every operation of which ends within `patience` (20 s unless said otherwise), with an error if
    /// need be. Recovering a lost worker ends within that time after each batch of its tasks.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self {
            access: self.access.with_patience(patience),
            ..self
        }
    }

    /// The connection that migrations run on; what is done with it is not bounded in time.
    #[must_use]
    pub fn connection(&self) -> &DatabaseConnection {
        self.access.unbounded()
    }

    /// Closes every connection; a SQLite ledger is then one file again.
    pub async fn close(&self) {
        self.access.close().await;
    }

    fn backend(&self) -> DatabaseBackend {
        self.access.backend()
    }

    /// Runs an operation with the connections; see [`Access::within`].
    async fn within<'a, T, F: Future<Output = Result<T, LedgerError>>>(
        &'a self,
        operation: impl FnOnce(&'a Connections) -> F,
    ) -> Result<T, LedgerError> {
        self.access.within(operation).await
    }
}
