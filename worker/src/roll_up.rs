//! Has the ledger sum up, minute by minute, how agents do. Every worker looks; whoever comes first does it.

use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::domain::Timestamp;
use orchestrator_common::ledger::RolledUp;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::worker::WorkerContext;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(10);

/// Looks until `stop`.
pub(crate) async fn run(context: Arc<WorkerContext>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            // What a step had begun is rolled back.
            () = stop.cancelled() => return,
            () = catch_up(&context) => {}
        }
    }
}

async fn catch_up(context: &WorkerContext) {
    loop {
        match context.ledger.roll_up(Timestamp::now()).await {
            Ok(RolledUp::Some) => {}
            Ok(RolledUp::All) => return,
            Err(error) => {
                tracing::warn!(%error, "sessions could not be summed up; they are later");
                return;
            }
        }
    }
}
