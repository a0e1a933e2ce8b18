//! Deletes what has ended long ago: one worker at a time for all, a small batch at a time, most of the time pausing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use orchestrator_common::config::RetentionSettings;
use orchestrator_common::domain::{Expiring, Timestamp};
use orchestrator_common::ledger::{Ended, LedgerError};
use tokio_util::sync::CancellationToken;

use crate::worker::WorkerContext;

/// Names the lease on this work.
const LEASE: &str = "retention";
/// How long a worker that crashes at it keeps others away.
const LEASE_TIME: Duration = Duration::from_secs(60);
/// Time between two rounds.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long after its start a worker makes its first round, at most: not all at once.
const FIRST: Duration = Duration::from_secs(1);
/// The most rows of one batch: what a transaction of a few milliseconds deletes.
const BATCH: u32 = 256;
/// A batch is followed by a pause of this many times what it took: the database has most of the time for others.
const PAUSE_FACTOR: u32 = 4;
/// The shortest pause.
const MIN_PAUSE: Duration = Duration::from_millis(20);

/// Makes rounds until `stop`.
pub(crate) async fn run(context: Arc<WorkerContext>, stop: CancellationToken) {
    let settings = context.retention;
    if Expiring::ALL
        .iter()
        .all(|what| settings.of(*what).is_none())
    {
        return;
    }
    let mut pause = FIRST.mul_f64(fastrand::f64());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = INTERVAL;
        tokio::select! {
            () = stop.cancelled() => break,
            round = round(&context, settings) => if let Err(error) = round {
                tracing::warn!(%error, "what has ended long ago could not be deleted; it is tried again");
            },
        }
    }
    // Another worker need not wait for the lease to run out.
    let _ = context.ledger.release(LEASE, context.worker_id).await;
}

/// Deletes all there is to delete; nothing when another worker is at it.
async fn round(context: &WorkerContext, settings: RetentionSettings) -> Result<(), LedgerError> {
    for what in Expiring::ALL {
        let Some(kept) = settings.of(what) else {
            continue;
        };
        let mut walked = None;
        let mut deleted = 0;
        loop {
            if !lease(context).await? {
                return Ok(());
            }
            let begun = Instant::now();
            let before = Timestamp::now().minus(kept);
            let ended = Ended {
                what,
                before,
                keep_unforwarded: context.audit_service.is_some(),
            };
            let batch = context.ledger.delete_ended(ended, walked, BATCH).await?;
            context.metrics.deleted(what, batch.number);
            deleted += batch.number;
            walked = batch.next;
            if walked.is_none() {
                break;
            }
            tokio::time::sleep((begun.elapsed() * PAUSE_FACTOR).max(MIN_PAUSE)).await;
        }
        if deleted > 0 {
            tracing::info!(
                deleted,
                what = what.as_str(),
                "what ended long ago was deleted"
            );
        }
    }
    Ok(())
}

async fn lease(context: &WorkerContext) -> Result<bool, LedgerError> {
    let ledger = &context.ledger;
    let now = Timestamp::now();
    ledger
        .lease(LEASE, context.worker_id, LEASE_TIME, now)
        .await
}
