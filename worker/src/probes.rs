//! Asking instances how they are, each about once in `DEPLOYMENT_HEALTH_CHECK_INTERVAL` by whichever worker takes it first.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use orchestrator_common::brain_factory::{AgentHealth, ProbeError};
use orchestrator_common::domain::{InstanceState, Timestamp};
use orchestrator_common::ledger::{Found, LedgerError, Probe, ProbeChange};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::intake::Intake;
use crate::worker::WorkerContext;

/// Time between two looks for instances that are due.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most instances that one look takes, so that several workers share them.
const MAX_CLAIMED: u32 = 128;
/// Instances that are asked at the same time.
const MAX_CONCURRENT: usize = 32;
/// How long an instance may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Answers that are written in one transaction at most.
const MAX_WRITTEN: usize = 32;

/// Probes until `stop`.
pub(crate) async fn run(context: Arc<WorkerContext>, intake: Intake, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let round = async {
            while probe_due(&context, &intake).await? >= MAX_CLAIMED as usize {}
            report(&context).await
        };
        tokio::select! {
            // Those that were taken are due again after the interval.
            () = stop.cancelled() => return,
            result = round => if let Err(error) = result {
                tracing::warn!(%error, "instances could not be probed: the ledger does not answer");
            },
        }
    }
}

/// Probes what is due; how many that were.
async fn probe_due(context: &WorkerContext, intake: &Intake) -> Result<usize, LedgerError> {
    let (every, now) = (context.probe_interval, Timestamp::now());
    let due = context.ledger.claim_probes(every, MAX_CLAIMED, now).await?;
    let number = due.len();
    let asked = futures::stream::iter(due)
        .map(async |probe| {
            let found = ask(context, &probe).await;
            context.metrics.probed(&found);
            (probe, found)
        })
        .buffer_unordered(MAX_CONCURRENT)
        .ready_chunks(MAX_WRITTEN);
    futures::pin_mut!(asked);
    while let Some(found) = asked.next().await {
        let changes = context.ledger.record_probes(&found, Timestamp::now());
        for change in changes.await? {
            tell(context, intake, change);
        }
    }
    Ok(number)
}

async fn ask(context: &WorkerContext, probe: &Probe) -> Found {
    let asked = context.brain.status(&probe.endpoint);
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(health)) => found(&health),
        Ok(Err(ProbeError::NotFound)) => Found::Lost,
        Ok(Err(
            error @ (ProbeError::Unreachable(_)
            | ProbeError::Unavailable { .. }
            | ProbeError::TimedOut(_)
            | ProbeError::InvalidAnswer(_)),
        )) => {
            tracing::debug!(agent_id = %probe.agent_id, instance_id = %probe.instance_id, %error, "a probe failed");
            Found::Failed
        }
        Err(_elapsed) => Found::Failed,
    }
}

fn found(health: &AgentHealth) -> Found {
    match health.state.as_str() {
        // States that an agent does not leave.
        "error" | "terminated" => Found::Lost,
        "initializing" | "paused" => Found::Failed,
        _ => Found::Well(health.memory_usage_mb),
    }
}

fn tell(context: &WorkerContext, intake: &Intake, change: ProbeChange) {
    match change {
        ProbeChange::State(agent_id, instance_id, state) => {
            tracing::info!(%agent_id, %instance_id, %state, "a probe found an instance changed");
            match state {
                InstanceState::Lost => intake.reconcile(agent_id),
                InstanceState::Healthy => intake.ring(agent_id),
                InstanceState::Unhealthy | InstanceState::Making => {}
            }
        }
        ProbeChange::Circuit(change) => {
            context.circuit_changed(&change);
            intake.ring(change.agent_id);
        }
    }
}

async fn report(context: &WorkerContext) -> Result<(), LedgerError> {
    let (states, open) = context.ledger.instance_counts().await?;
    for state in InstanceState::ALL {
        let number = states.get(state).copied().unwrap_or(0);
        context.metrics.set_instances(*state, number);
    }
    context.metrics.set_open_circuits(open);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_works_is_well_and_one_that_will_never_work_again_is_lost() {
        let of = |state: &str| {
            found(&AgentHealth {
                state: state.to_owned(),
                active_tasks: Vec::new(),
                memory_usage_mb: Some(12.5),
                honours_idempotency_key: false,
            })
        };
        assert_eq!(of("ready"), Found::Well(Some(12.5)));
        assert_eq!(of("executing"), Found::Well(Some(12.5)));
        assert_eq!(of("paused"), Found::Failed);
        assert_eq!(of("terminated"), Found::Lost);
    }
}
