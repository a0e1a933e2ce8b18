//! Waiting for a ledger with a schema that this program can work on.

use std::time::Duration;

use orchestrator_common::ledger::Ledger;
use tokio_util::sync::CancellationToken;

use crate::schema::{self, Standing, TooNew};

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(2);
/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `ledger` answers and has a schema that this program can work on, and says meanwhile in the log what is missing;
/// `false` when `stop` comes before.
///
/// # Errors
/// When a later version made the schema one that this program can never work on.
pub async fn workable(ledger: &Ledger, stop: &CancellationToken) -> Result<bool, TooNew> {
    loop {
        match tokio::time::timeout(PATIENCE, schema::standing(ledger)).await {
            Ok(Ok(Standing::Workable { later })) => {
                if !later.is_empty() {
                    tracing::info!(
                        ?later,
                        "the ledger's schema is a later version's, which this one can work on"
                    );
                }
                return Ok(true);
            }
            Ok(Ok(Standing::Unworkable(too_new))) => return Err(too_new),
            Ok(Ok(Standing::Behind { missing })) => {
                tracing::warn!(
                    ?missing,
                    "the ledger lacks migrations: run orchestrator-migrate up; waiting"
                );
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "PostgreSQL (DATABASE_URL or POSTGRES_*) does not answer; waiting");
            }
            Err(_elapsed) => {
                tracing::warn!("PostgreSQL (DATABASE_URL or POSTGRES_*) is silent; waiting");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(false),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}
