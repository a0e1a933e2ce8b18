//! How long an operation may take: a network that swallows everything must not hold the loop that waits for it.

use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr};

use super::LedgerError;

/// Longer than the server gives one statement, so that a server that answers gets to say why it gave up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Gives `work` up when it takes too long. What it did is then unknown, as when a connection breaks.
///
/// A transaction that is dropped in the middle goes back to the pool, which first has it answer for itself and closes
/// it when it cannot (see `connect`): nobody is handed a connection with another's answers in it.
pub(super) async fn bounded<T>(
    work: impl Future<Output = Result<T, LedgerError>>,
) -> Result<T, LedgerError> {
    let work = Box::pin(work);
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_elapsed| {
            let error = RuntimeErr::Internal(format!("no answer within {PATIENCE:?}"));
            Err(LedgerError::Unavailable(DbErr::Conn(error)))
        })
}
