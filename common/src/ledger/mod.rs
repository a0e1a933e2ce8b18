//! The ledger: tasks, their order, who may run what, and every result. All SQL of the project lives here.
//!
//! Every operation that changes a task first locks the row of its agent (`slots`), so that what happens to the tasks
//! of one agent happens one after another, in any number of processes; rows of several agents are locked in the order
//! of their identifiers. SQLite has one writer anyway.

mod cancel;
mod claim;
mod complete;
mod connect;
mod convert;
mod dispatch;
mod due;
mod entity;
mod error;
mod ingest;
mod lifecycle;
mod orphans;
mod patience;
mod presence;
mod query;
mod registration;
mod reprioritise;
mod rows;
mod slots;
mod workers;

use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction,
    SqliteTransactionMode, TransactionOptions, TransactionTrait,
};

use crate::domain::SettlementRules;

pub use cancel::Cancelled;
pub use dispatch::{Dispatch, Dispatched, Recorded, Started};
pub use due::Promoted;
pub use error::LedgerError;
pub use ingest::{Ingested, Ingestion};
pub use lifecycle::LeasedAgent;
pub use presence::{Presence, Sighting, Welcome};
pub use query::{AgentQuery, Load};
pub use reprioritise::Reprioritised;
pub use workers::WorkerRecord;

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
    /// For everything that writes; a single connection with SQLite.
    write: DatabaseConnection,
    /// For what only reads.
    read: DatabaseConnection,
    options: LedgerOptions,
}

impl Ledger {
    /// Whether the ledger answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        self.read.execute_unprepared("SELECT 1").await?;
        Ok(())
    }

    /// The connection that migrations run on.
    #[must_use]
    pub fn connection(&self) -> &DatabaseConnection {
        &self.write
    }

    /// Closes every connection; a SQLite ledger is then one file again.
    pub async fn close(&self) {
        for connection in [&self.read, &self.write] {
            if let Err(error) = connection.clone().close().await {
                tracing::warn!(%error, "a connection to the ledger did not close in order");
            }
        }
    }

    fn backend(&self) -> DatabaseBackend {
        self.write.get_database_backend()
    }

    /// Begins a transaction that will write.
    async fn begin(&self) -> Result<DatabaseTransaction, LedgerError> {
        // A deferred SQLite transaction that reads first could not be upgraded when another process wrote meanwhile.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        patience::bounded(async {
            Ok(match self.backend() {
                DatabaseBackend::Sqlite => self.write.begin_with_options(options).await?,
                _ => self.write.begin().await?,
            })
        })
        .await
    }
}
