//! The lifecycle queue: writes what is wanted of agents, and has it looked at.
//!
//! Commands are carried out one after the other, in the order in which they come. One that the API has carried out
//! itself, or that is delivered twice, finds the agent as it is wanted and only wakes the reconciler.

use std::sync::Arc;

use orchestrator_common::domain::{AgentId, DesiredState, Faults, Registration, Timestamp};
use orchestrator_common::ledger::{Cancelled, LedgerError};
use orchestrator_common::messaging::{
    Command, Consumer, Control, Message, Outgoing, Reason, Refusal, Share, ack_all,
};
use serde_json::Map;

use super::reception::Reception;

/// The most messages that are taken at a time.
const BATCH: usize = 32;

/// Consumes until the shutdown.
pub(super) async fn run(reception: Arc<Reception>, mut consumer: Consumer) {
    loop {
        let batch = consumer.recv_batch(BATCH).await;
        if batch.is_empty() {
            return;
        }
        for message in batch {
            if reception.shutdown.is_cancelled() {
                return;
            }
            handle(&reception, message).await;
        }
    }
}

/// What became of a command.
enum Done {
    /// What is wanted of the agent is in the ledger.
    Written(AgentId),
    /// No such agent is registered.
    Unknown(AgentId),
    /// It asks for what there is not.
    Invalid(Faults),
}

async fn handle(reception: &Reception, message: Message) {
    let received = match reception.read(&message) {
        Ok(received) => received,
        Err(refusal) => return reception.refuse(Share::whole(message), &refusal).await,
    };
    let admitted = tokio::select! {
        admitted = reception.admission.check(&received) => admitted,
        () = reception.shutdown.cancelled() => return,
    };
    if let Err(refusal) = admitted {
        return reception.refuse(Share::whole(message), &refusal).await;
    }
    let command = received.command;
    let done = reception
        .insist(&message, || carry_out(reception, &command))
        .await;
    let refusal = match done {
        None => return,
        Some(Ok(Done::Written(agent_id))) => {
            wake(reception, agent_id).await;
            ack_all(vec![message]).await;
            return;
        }
        Some(Ok(Done::Unknown(agent_id))) => Refusal::new(
            Reason::UnknownAgent,
            format!("agent {agent_id} is not registered"),
        ),
        Some(Ok(Done::Invalid(faults))) => Refusal::of(Reason::Invalid, faults),
        Some(Err(refusal)) => refusal,
    };
    reception.refuse(Share::whole(message), &refusal).await;
}

/// Has the agent looked at here, and its slots by every worker.
async fn wake(reception: &Reception, agent_id: AgentId) {
    // Readers see the change when the entry runs out, if Redis does not answer now.
    let _ = reception.cache.forget_agent(&agent_id).await;
    reception.intake.reconcile(agent_id.clone());
    if let Ok(signal) = Outgoing::control(&reception.topology, &Control::AgentChanged { agent_id })
    {
        // A lost signal only delays.
        let _ = reception.publisher.publish(signal).await;
    }
}

async fn carry_out(reception: &Reception, command: &Command) -> Result<Done, LedgerError> {
    match command {
        Command::Register(registration) => {
            let agent = reception
                .ledger
                .register(registration, Timestamp::now())
                .await?;
            Ok(Done::Written(agent.agent_id))
        }
        Command::Unregister { agent_id } => {
            want(reception, agent_id, DesiredState::Removed).await?;
            // One that is gone is what was asked for.
            Ok(Done::Written(agent_id.clone()))
        }
        Command::Start { agent_id } => want(reception, agent_id, DesiredState::Running).await,
        Command::Stop { agent_id, drain } => {
            let done = want(reception, agent_id, DesiredState::Stopped).await?;
            if !drain {
                cancel_running(reception, agent_id).await?;
            }
            Ok(done)
        }
        Command::Pause { agent_id } => want(reception, agent_id, DesiredState::Paused).await,
        Command::Resume { agent_id } => resume(reception, agent_id).await,
        Command::Scale {
            agent_id,
            instances,
            max_concurrent_sessions,
        } => scale(reception, agent_id, *instances, *max_concurrent_sessions).await,
        Command::Execute(_)
        | Command::ExecuteBatch(_)
        | Command::CancelTask { .. }
        | Command::Reprioritise { .. } => Ok(Done::Invalid(Faults::one(
            "kind",
            "commands on tasks do not belong into the lifecycle queue",
        ))),
    }
}

async fn want(
    reception: &Reception,
    agent_id: &AgentId,
    desired: DesiredState,
) -> Result<Done, LedgerError> {
    let Some(agent) = reception.ledger.agent(agent_id).await? else {
        return Ok(Done::Unknown(agent_id.clone()));
    };
    if agent.desired != desired {
        reception
            .ledger
            .set_desired(agent_id, desired, Timestamp::now())
            .await?;
    }
    Ok(Done::Written(agent_id.clone()))
}

/// Ends a pause; an agent that is not paused stays what it is, also one that was stopped meanwhile.
async fn resume(reception: &Reception, agent_id: &AgentId) -> Result<Done, LedgerError> {
    match reception.ledger.agent(agent_id).await? {
        None => Ok(Done::Unknown(agent_id.clone())),
        Some(agent) if agent.desired == DesiredState::Paused => {
            want(reception, agent_id, DesiredState::Running).await
        }
        Some(_) => Ok(Done::Written(agent_id.clone())),
    }
}

async fn scale(
    reception: &Reception,
    agent_id: &AgentId,
    instances: Option<u32>,
    max_concurrent_sessions: Option<u32>,
) -> Result<Done, LedgerError> {
    if instances.is_some_and(|instances| instances != 1) {
        let faults = Faults::one("instances", "must be 1: an agent has one instance");
        return Ok(Done::Invalid(faults));
    }
    if reception.ledger.agent(agent_id).await?.is_none() {
        return Ok(Done::Unknown(agent_id.clone()));
    }
    if max_concurrent_sessions.is_some() {
        let registration = Registration {
            agent_id: agent_id.clone(),
            agent_name: None,
            domain: None,
            brain_config: None,
            deployment_id: None,
            max_concurrent_sessions,
            endpoint: None,
            extra: Map::new(),
        };
        reception
            .ledger
            .register(&registration, Timestamp::now())
            .await?;
    }
    Ok(Done::Written(agent_id.clone()))
}

/// Has everything dropped that runs on an agent.
async fn cancel_running(reception: &Reception, agent_id: &AgentId) -> Result<(), LedgerError> {
    for task_id in reception.ledger.running_tasks(agent_id).await? {
        match reception.ledger.cancel(task_id, Timestamp::now()).await? {
            Cancelled::Requested(worker_id) => reception.drop_running(task_id, worker_id).await,
            Cancelled::Now => reception.outward.ended_elsewhere(vec![task_id]),
            Cancelled::AlreadyEnded(_) | Cancelled::Unknown => {}
        }
    }
    Ok(())
}
