//! Bringing agents to what is wanted of them, one reconciler per agent at a time.

mod instances;

use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::domain::{AgentId, AgentStatus, DesiredState, RetryPolicy, Timestamp};
use orchestrator_common::ledger::{LeasedAgent, LedgerError};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::deployment;
use crate::intake::Intake;
use crate::worker::WorkerContext;
use instances::NotMade;

/// Agents that one worker reconciles at the same time: making one can take minutes.
const MAX_CONCURRENT: usize = 32;
/// Added to the time that making an agent may take: how long a reconciler keeps others away.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
/// How soon a stopping agent is looked at again that still has something to finish.
const RECHECK: Duration = Duration::from_secs(1);
/// Delays between attempts to start an agent.
const START_RETRY: RetryPolicy = RetryPolicy {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(60),
};

/// What a step of a reconciliation left to do.
enum Next {
    /// The agent is what is wanted.
    Nothing,
    /// Look again at this time.
    Again(Timestamp),
    /// It could not be started; look again at this time.
    StartFailed(Timestamp),
}

/// Reconciles the agents that `agents` names, until `stop`; then waits for those under way.
pub(crate) async fn run(
    context: Arc<WorkerContext>,
    intake: Intake,
    mut agents: mpsc::UnboundedReceiver<AgentId>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(MAX_CONCURRENT));
    let under_way = TaskTracker::new();
    loop {
        let agent_id = tokio::select! {
            () = stop.cancelled() => break,
            agent_id = agents.recv() => match agent_id {
                Some(agent_id) => agent_id,
                None => break,
            },
        };
        let (context, intake, places, stop) = (
            Arc::clone(&context),
            intake.clone(),
            Arc::clone(&places),
            stop.clone(),
        );
        under_way.spawn(async move {
            let Ok(_place) = places.acquire().await else { return };
            tokio::select! {
                // The lease runs out by itself when the step is dropped.
                () = stop.cancelled() => {}
                result = reconcile(&context, &intake, &agent_id) => if let Err(error) = result {
                    tracing::warn!(%agent_id, %error, "an agent could not be reconciled; it is tried again");
                },
            }
        });
    }
    under_way.close();
    under_way.wait().await;
}

/// Takes steps until the agent is what is wanted, or has to wait.
async fn reconcile(
    context: &WorkerContext,
    intake: &Intake,
    agent_id: &AgentId,
) -> Result<(), LedgerError> {
    let lease_time = context.generate_timeout + LEASE_MARGIN;
    // What is wanted may change while a step runs; the ledger then offers the lease again.
    while let Some(lease) = context
        .ledger
        .lease_agent(agent_id, context.worker_id, lease_time, Timestamp::now())
        .await?
    {
        let next = match lease.agent.desired {
            DesiredState::Running => start(context, intake, &lease).await?,
            DesiredState::Paused => pause(context, &lease).await?,
            DesiredState::Idle | DesiredState::Stopped => stop(context, &lease).await?,
            DesiredState::Removed => {
                cancel_waiting(context, agent_id).await?;
                stop(context, &lease).await?
            }
        };
        let (failures, again_at) = match next {
            Next::Nothing => (0, None),
            Next::Again(at) => (0, Some(at)),
            Next::StartFailed(at) => (lease.start_failures + 1, Some(at)),
        };
        context.ledger.end_lease(&lease, failures, again_at).await?;
        intake.ring(agent_id.clone());
    }
    Ok(())
}

/// Makes sure that the agent has the instances that it is to have.
async fn start(
    context: &WorkerContext,
    intake: &Intake,
    lease: &LeasedAgent,
) -> Result<Next, LedgerError> {
    let planned = context
        .ledger
        .plan_instances(lease, Timestamp::now())
        .await?;
    let Some(agent) = planned else {
        return Ok(Next::Nothing);
    };
    instances::dismiss(context, &agent).await?;
    let missing = instances::missing(&agent);
    let works = instances::any_works(&agent);
    if missing.is_empty() {
        if agent.status != AgentStatus::Active {
            observe(context, lease, AgentStatus::Active, None).await?;
        }
        return Ok(Next::Nothing);
    }
    match (works, agent.status) {
        (_, AgentStatus::Active) => {}
        (true, _) => observe(context, lease, AgentStatus::Active, None).await?,
        (false, _) => observe(context, lease, AgentStatus::Starting, None).await?,
    }
    let (now, more) = missing.split_at(missing.len().min(instances::AT_ONCE));
    let made = match deployment::obstacle(context, &agent).await? {
        Some(reason) => Err(NotMade::all(reason)),
        None => instances::make(context, intake, lease, &agent, now).await?,
    };
    match made {
        Ok(()) if more.is_empty() => Ok(Next::Nothing),
        Ok(()) => Ok(Next::Again(Timestamp::now())),
        Err(failed) => {
            let delay = START_RETRY.delay(lease.start_failures + 1, None, fastrand::f64());
            let reason = failed.reason;
            tracing::warn!(agent_id = %agent.agent_id, %reason, retry_in = ?delay, "an instance of an agent could not be started");
            if !works && !failed.others_made {
                observe(context, lease, AgentStatus::Failed, Some(&reason)).await?;
            }
            Ok(Next::StartFailed(Timestamp::now().plus(delay)))
        }
    }
}

/// Keeps the agent's brain, and says that no task is started on it.
async fn pause(context: &WorkerContext, lease: &LeasedAgent) -> Result<Next, LedgerError> {
    let agent = &lease.agent;
    if !agent.instances.is_empty() && agent.status != AgentStatus::Paused {
        observe(context, lease, AgentStatus::Paused, None).await?;
    }
    Ok(Next::Nothing)
}

/// Ends the waiting tasks of an agent that is being removed.
async fn cancel_waiting(context: &WorkerContext, agent_id: &AgentId) -> Result<(), LedgerError> {
    loop {
        let cancelled = context
            .ledger
            .cancel_waiting(agent_id, Timestamp::now())
            .await?;
        if cancelled.is_empty() {
            return Ok(());
        }
        context.outward.ended_elsewhere(cancelled);
    }
}

/// Notes what the agent is now, and tells the world when that is new.
async fn observe(
    context: &WorkerContext,
    lease: &LeasedAgent,
    status: AgentStatus,
    reason: Option<&str>,
) -> Result<(), LedgerError> {
    context.ledger.observe(lease, status, reason).await?;
    if lease.agent.status != status {
        context.outward.agent(&lease.agent.agent_id, status, reason);
    }
    Ok(())
}

/// Releases the agent's brain when nothing runs on it any more.
async fn stop(context: &WorkerContext, lease: &LeasedAgent) -> Result<Next, LedgerError> {
    let agent = &lease.agent;
    if agent.running > 0 {
        observe(context, lease, AgentStatus::Stopping, None).await?;
        return Ok(Next::Again(Timestamp::now().plus(RECHECK)));
    }
    instances::release(context, agent.instances.iter()).await;
    let done = context.ledger.deactivate(lease, Timestamp::now()).await?;
    Ok(if done {
        let idle = agent.desired == DesiredState::Idle;
        let status = if idle {
            AgentStatus::Registered
        } else {
            AgentStatus::Stopped
        };
        if agent.status != status {
            context.outward.agent(&agent.agent_id, status, None);
        }
        Next::Nothing
    } else {
        Next::Again(Timestamp::now().plus(RECHECK))
    })
}
