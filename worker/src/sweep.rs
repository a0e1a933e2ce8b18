//! The slow round that finds what nobody announced: lost doorbells and cancellations, expired tasks, agents to look at.

use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::domain::Timestamp;
use orchestrator_common::ledger::LedgerError;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::health::Pulse;
use crate::intake::Intake;
use crate::presence;
use crate::schedule::Schedule;
use crate::worker::WorkerContext;

/// Time between two rounds.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a round may take; the next one looks at everything anew.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most agents that one round rings for.
const MAX_AGENTS: u32 = 500;

/// Makes rounds until `stop`.
pub(crate) async fn run(
    context: Arc<WorkerContext>,
    intake: Intake,
    schedule: Schedule,
    pulse: Pulse,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pulse.beat();
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match tokio::time::timeout(PATIENCE, round(&context, &intake, &schedule)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a sweep was cut short"),
            Err(_elapsed) => tracing::warn!("a sweep was given up: the ledger does not answer"),
        }
    }
}

async fn round(
    context: &WorkerContext,
    intake: &Intake,
    schedule: &Schedule,
) -> Result<(), LedgerError> {
    let now = Timestamp::now();
    for agent_id in context.ledger.agents_to_reconcile(now, MAX_AGENTS).await? {
        intake.reconcile(agent_id);
    }
    let expired = context.ledger.expire(now).await?;
    if !expired.is_empty() {
        tracing::info!(
            tasks = expired.len(),
            "tasks expired before they were started"
        );
        context.outward.ended_elsewhere(expired);
    }
    // Whose signal was lost. Telling the dispatcher again is harmless.
    for task_id in context.ledger.to_cancel(context.worker_id).await? {
        intake.cancel(task_id);
    }
    for agent_id in context.ledger.runnable_agents(MAX_AGENTS).await? {
        intake.ring(agent_id);
    }
    schedule.wake_at(context.ledger.next_due().await?);
    report(context).await
}

/// Puts back the tasks of every other worker that is in the ledger.
pub(crate) async fn recover_all(
    context: &WorkerContext,
    intake: &Intake,
) -> Result<(), LedgerError> {
    for other in context.ledger.other_workers(context.worker_id).await? {
        presence::recover(context, intake, other.worker_id).await?;
    }
    Ok(())
}

async fn report(context: &WorkerContext) -> Result<(), LedgerError> {
    let load = context.ledger.load().await?;
    context.metrics.set_active_agents(load.active_agents);
    context.metrics.set_runnable_tasks(load.runnable);
    context.metrics.set_running_tasks(load.running);
    let ended = load.completed + load.failed;
    if ended > 0 {
        // Counts far below 2^52 are exact in a float.
        #[allow(
            clippy::cast_precision_loss,
            reason = "a rate needs no more than 52 bits"
        )]
        context
            .metrics
            .set_task_success_rate(load.completed as f64 / ended as f64);
    }
    Ok(())
}
