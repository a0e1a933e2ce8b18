//! The lifecycle queue: writes what is wanted of agents, and has it looked at.
//!
//! Commands are carried out one after the other, in the order in which they come. One that the API has carried out
//! itself, or that is delivered twice, finds the agent as it is wanted and only wakes the reconciler.

use std::sync::Arc;

use orchestrator_common::domain::{AgentId, Faults, Scaling, Timestamp, Wish};
use orchestrator_common::ledger::{Ledger, LedgerError, Scaled, Wished};
use orchestrator_common::messaging::{
    Command, Consumer, Control, Message, Outgoing, Reason, Received, Refusal, Share, ack_all,
};

use super::reception::Reception;
use super::workflows;

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
    /// What is wanted of a workflow is in the ledger.
    WorkflowChanged,
    /// It cannot be.
    Refused(Refusal),
}

async fn handle(reception: &Reception, message: Message) {
    let mut received = match reception.read(&message) {
        Ok(received) => received,
        Err(refusal) => return reception.refuse(Share::whole(message), &refusal).await,
    };
    let admitted = tokio::select! {
        admitted = reception.admission.check(&received) => admitted,
        () = reception.shutdown.cancelled() => return,
    };
    match admitted {
        Ok(Some(subject)) => received.sent_by(&subject),
        Ok(None) => {}
        Err(refusal) => return reception.refuse(Share::whole(message), &refusal).await,
    }
    let Received {
        command, origin, ..
    } = received;
    let ledger = reception.ledger.by(origin);
    let done = reception
        .insist(&message, || carry_out(reception, &ledger, &command))
        .await;
    let refusal = match done {
        None => return,
        Some(Ok(Done::Written(agent_id))) => {
            wake(reception, agent_id).await;
            ack_all(vec![message]).await;
            return;
        }
        Some(Ok(Done::WorkflowChanged)) => {
            reception.intake.workflows_due();
            ack_all(vec![message]).await;
            return;
        }
        Some(Ok(Done::Refused(refusal))) => refusal,
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

fn done(changed: Result<(), Refusal>) -> Done {
    match changed {
        Ok(()) => Done::WorkflowChanged,
        Err(refusal) => Done::Refused(refusal),
    }
}

async fn carry_out(
    reception: &Reception,
    ledger: &Ledger,
    command: &Command,
) -> Result<Done, LedgerError> {
    match command {
        Command::Register(registration) => {
            let agent = ledger.register(registration, Timestamp::now()).await?;
            Ok(Done::Written(agent.agent_id))
        }
        Command::Unregister { agent_id } => {
            wish(ledger, agent_id, Wish::Remove).await?;
            // One that is gone is what was asked for.
            Ok(Done::Written(agent_id.clone()))
        }
        Command::Start { agent_id } => wish(ledger, agent_id, Wish::Start).await,
        Command::Stop { agent_id, drain } => {
            let done = wish(ledger, agent_id, Wish::Stop).await?;
            if !drain {
                cancel_running(reception, ledger, agent_id).await?;
            }
            Ok(done)
        }
        Command::Pause { agent_id } => wish(ledger, agent_id, Wish::Pause).await,
        Command::Resume { agent_id } => wish(ledger, agent_id, Wish::Resume).await,
        Command::Scale { agent_id, scaling } => scale(ledger, agent_id, *scaling).await,
        Command::StartWorkflow(start) => workflows::start(ledger, start).await.map(done),
        Command::CancelWorkflow { run_id } => workflows::cancel(ledger, *run_id).await.map(done),
        Command::ApproveStep {
            run_id,
            step_id,
            decision,
        } => {
            let decided = workflows::decide(ledger, *run_id, step_id, decision);
            decided.await.map(done)
        }
        Command::Execute(_)
        | Command::ExecuteBatch(_)
        | Command::CancelTask { .. }
        | Command::Reprioritise { .. } => Ok(Done::Invalid(Faults::one(
            "kind",
            "commands on tasks do not belong into the lifecycle queue",
        ))),
    }
}

/// An agent that cannot be what is wished stays what it is: one that is stopped is not paused, and only a pause is ended.
async fn wish(ledger: &Ledger, agent_id: &AgentId, wish: Wish) -> Result<Done, LedgerError> {
    let wished = ledger.wish(agent_id, wish, Timestamp::now());
    Ok(match wished.await? {
        Wished::Now(_) | Wished::Not(_) => Done::Written(agent_id.clone()),
        Wished::Unknown => Done::Unknown(agent_id.clone()),
    })
}

async fn scale(ledger: &Ledger, agent_id: &AgentId, scaling: Scaling) -> Result<Done, LedgerError> {
    let scaled = ledger.scale(agent_id, scaling, Timestamp::now());
    Ok(match scaled.await? {
        Scaled::Now(_) => Done::Written(agent_id.clone()),
        Scaled::Registered => Done::Invalid(Faults::one(
            "instances",
            "cannot be changed: the agent's instances were registered with their addresses",
        )),
        Scaled::Unknown => Done::Unknown(agent_id.clone()),
    })
}

/// Has everything dropped that runs on an agent.
async fn cancel_running(
    reception: &Reception,
    ledger: &Ledger,
    agent_id: &AgentId,
) -> Result<(), LedgerError> {
    let running = ledger.cancel_running(agent_id, Timestamp::now());
    for (task_id, worker_id) in running.await? {
        reception.drop_running(task_id, worker_id).await;
    }
    Ok(())
}
