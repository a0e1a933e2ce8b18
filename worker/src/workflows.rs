//! Advancing workflows: makes the tasks of steps whose turn has come, and ends runs. Woken by tasks of workflows that end
//! here and by whoever changes a run; a slow look finds what was announced elsewhere, and what time brings.

use std::sync::Arc;
use std::time::{Duration, Instant};

use orchestrator_common::domain::Timestamp;
use orchestrator_common::ledger::{Advanced, LedgerError};
use tokio_util::sync::CancellationToken;

use crate::intake::Intake;
use crate::worker::WorkerContext;

/// Time between two looks when nothing wakes this part.
const INTERVAL: Duration = Duration::from_secs(1);
/// The least time between two looks, so that what comes together is advanced together.
const MIN_INTERVAL: Duration = Duration::from_millis(5);
/// The most runs of one transaction.
const MAX_RUNS: u32 = 64;

/// Advances runs until `stop`.
pub(crate) async fn run(context: Arc<WorkerContext>, intake: Intake, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = intake.until_workflows_due() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
        loop {
            match round(&context, &intake).await {
                Ok(advanced) if advanced > 0 && !stop.is_cancelled() => {
                    tokio::time::sleep(MIN_INTERVAL).await;
                }
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "workflows wait: the ledger does not answer");
                    break;
                }
            }
        }
    }
}

/// Advances what is due now, at most a batch of it; returns how many runs that were.
async fn round(context: &WorkerContext, intake: &Intake) -> Result<usize, LedgerError> {
    let begun = Instant::now();
    let now = Timestamp::now();
    let Advanced {
        runs,
        agents,
        to_reconcile,
        cancelled,
        to_drop,
    } = context.ledger.advance_runs(MAX_RUNS, now).await?;
    let advanced = runs.len();
    if advanced == 0 {
        return Ok(0);
    }
    context
        .metrics
        .workflows_advanced(advanced, begun.elapsed());
    agents
        .into_iter()
        .for_each(|agent_id| intake.ring(agent_id));
    to_reconcile
        .into_iter()
        .for_each(|agent_id| intake.reconcile(agent_id));
    // Who runs here is dropped at once; other workers find theirs at their next sweep.
    to_drop
        .into_iter()
        .for_each(|(task_id, _)| intake.cancel(task_id));
    if !cancelled.is_empty() {
        context.outward.ended_elsewhere(cancelled);
    }
    for change in runs {
        context.metrics.workflow_steps_ended(change.steps_ended);
        if change.before != change.status || change.steps_ended > 0 {
            if change.before != change.status {
                context.metrics.workflow_reached(change.status);
            }
            context.outward.run(change);
        }
    }
    Ok(advanced)
}
