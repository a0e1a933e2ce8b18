//! The one way to the database: an operation gets the connections for a bounded time.
//!
//! Nobody else has them, so that no operation can forget its bound: a network that swallows everything must not hold
//! the loop that waits for it.

use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr, QueryResult,
    RuntimeErr, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, Value,
};
use sqlx::postgres::PgConnectOptions;

use super::LedgerError;

/// Longer than the server gives one statement, so that a server that answers gets to say why it gave up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Gives out the connections. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Access {
    connections: Connections,
    patience: Duration,
}

/// What an operation works with.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    /// For everything that writes; a single connection with SQLite.
    pub(super) write: DatabaseConnection,
    /// For what only reads.
    pub(super) read: DatabaseConnection,
}

impl Access {
    pub(super) fn new(write: DatabaseConnection, read: DatabaseConnection) -> Self {
        Self {
            connections: Connections { write, read },
            patience: PATIENCE,
        }
    }

    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Gives `operation` up when it takes too long. What it did is then unknown, as when a connection breaks.
    ///
    /// A transaction that is dropped in the middle goes back to the pool, which first has it answer for itself and
    /// closes it when it cannot (see `connect`): nobody is handed a connection with another's answers in it.
    pub(super) async fn within<'a, T, F: Future<Output = Result<T, LedgerError>>>(
        &'a self,
        operation: impl FnOnce(&'a Connections) -> F,
    ) -> Result<T, LedgerError> {
        let operation = Box::pin(operation(&self.connections));
        tokio::time::timeout(self.patience, operation)
            .await
            .unwrap_or_else(|_elapsed| {
                let error = RuntimeErr::Internal(format!("no answer within {:?}", self.patience));
                Err(LedgerError::Unavailable(DbErr::Conn(error)))
            })
    }

    pub(super) fn backend(&self) -> DatabaseBackend {
        self.connections.write.get_database_backend()
    }

    /// For migrations, which take as long as they take.
    pub(super) fn unbounded(&self) -> &DatabaseConnection {
        &self.connections.write
    }

    /// How a session of its own is made. PostgreSQL only.
    pub(super) fn session_options(&self) -> PgConnectOptions {
        let pool = self.connections.write.get_postgres_connection_pool();
        PgConnectOptions::clone(&pool.connect_options())
    }

    /// Closes every connection.
    pub(super) async fn close(&self) {
        let Connections { write, read } = &self.connections;
        for connection in [read, write] {
            let closing = connection.clone().close();
            match tokio::time::timeout(self.patience, closing).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a connection to the ledger did not close in order");
                }
                Err(_elapsed) => tracing::warn!("connections to the ledger did not close in time"),
            }
        }
    }
}

impl Connections {
    /// Begins a transaction that will write.
    pub(super) async fn begin(&self) -> Result<DatabaseTransaction, LedgerError> {
        // A deferred SQLite transaction that reads first could not be upgraded when another process wrote meanwhile.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        Ok(match self.write.get_database_backend() {
            DatabaseBackend::Sqlite => self.write.begin_with_options(options).await?,
            _ => self.write.begin().await?,
        })
    }

    /// Runs one statement that writes; returns how many rows it changed.
    pub(super) async fn execute(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<u64, LedgerError> {
        let statement =
            Statement::from_sql_and_values(self.write.get_database_backend(), sql, values);
        Ok(self.write.execute_raw(statement).await?.rows_affected())
    }

    /// Runs one statement that only reads.
    pub(super) async fn query(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<QueryResult>, LedgerError> {
        let statement =
            Statement::from_sql_and_values(self.read.get_database_backend(), sql, values);
        Ok(self.read.query_all_raw(statement).await?)
    }
}
