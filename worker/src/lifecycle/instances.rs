//! Making the instances of an agent, and letting go of those that are no longer wanted.
//!
//! Each instance that is made is an agent of its own to the Brain Factory, which registers it with the orchestrator under
//! the name that it has in the ledger before it is asked for: so it is recognised and becomes no agent here.

use futures::future::join_all;
use orchestrator_common::brain_factory::agent_config;
use orchestrator_common::domain::{
    AgentId, AgentRecord, AgentStatus, InstanceRecord, InstanceState, Timestamp,
};
use orchestrator_common::ledger::{LeasedAgent, LedgerError};
use serde_json::{Value, json};

use crate::intake::Intake;
use crate::worker::WorkerContext;

/// Instances of one agent that are made at the same time.
pub(super) const AT_ONCE: usize = 8;

/// What could not be made.
pub(super) struct NotMade {
    /// Why, of the first.
    pub(super) reason: String,
    /// Whether others were.
    pub(super) others_made: bool,
}

impl NotMade {
    /// None was made, for this reason.
    pub(super) fn all(reason: String) -> Self {
        Self {
            reason,
            others_made: false,
        }
    }
}

/// The instances that have to be made, or made again.
pub(super) fn missing(agent: &AgentRecord) -> Vec<&InstanceRecord> {
    let wanted = agent.instances.iter().filter(|i| !i.draining);
    let missing = wanted.filter(|instance| match instance.state {
        InstanceState::Making | InstanceState::Lost => true,
        InstanceState::Healthy | InstanceState::Unhealthy => false,
    });
    missing.collect()
}

/// Whether tasks can run somewhere.
pub(super) fn any_works(agent: &AgentRecord) -> bool {
    agent.instances.iter().any(|instance| match instance.state {
        InstanceState::Healthy | InstanceState::Unhealthy => !instance.draining,
        InstanceState::Making | InstanceState::Lost => false,
    })
}

/// Makes `instances` side by side; each takes tasks as soon as it is there, whatever becomes of the others.
pub(super) async fn make(
    context: &WorkerContext,
    intake: &Intake,
    lease: &LeasedAgent,
    agent: &AgentRecord,
    instances: &[&InstanceRecord],
) -> Result<Result<(), NotMade>, LedgerError> {
    let making = instances.iter().map(|instance| async {
        let endpoint = match make_one(context, agent, instance).await {
            Ok(endpoint) => endpoint,
            Err(reason) => return Ok(Err(reason)),
        };
        let now = Timestamp::now();
        let probe_at = now.plus(context.probe_interval);
        context
            .ledger
            .instance_made(lease, instance.instance_id, &endpoint, probe_at, now)
            .await?;
        tracing::info!(agent_id = %agent.agent_id, instance_id = %instance.instance_id, %endpoint, "an instance takes tasks");
        intake.ring(agent.agent_id.clone());
        Ok(Ok(()))
    });
    let made: Vec<Result<(), String>> = join_all(making)
        .await
        .into_iter()
        .collect::<Result<_, LedgerError>>()?;
    let others_made = made.iter().any(Result::is_ok);
    if others_made && !any_works(agent) {
        let agent_id = &agent.agent_id;
        context.outward.agent(agent_id, AgentStatus::Active, None);
    }
    let failed = made.into_iter().find_map(Result::err);
    Ok(failed.map_or(Ok(()), |reason| {
        Err(NotMade {
            reason,
            others_made,
        })
    }))
}

/// Has the Brain Factory make an instance, or looks whether one that was registered is there; its address, or why not.
async fn make_one(
    context: &WorkerContext,
    agent: &AgentRecord,
    instance: &InstanceRecord,
) -> Result<String, String> {
    match &instance.made {
        Some(made) => {
            let config = config_of(agent, &made.name);
            let generated = context.brain.generate_agent(&config).await;
            let generated = generated.map_err(|error| error.to_string())?;
            Ok(generated.endpoint)
        }
        None => {
            let status = context.brain.status(&instance.endpoint).await;
            status.map_err(|error| format!("{} {error}", instance.endpoint))?;
            Ok(instance.endpoint.clone())
        }
    }
}

/// The agent's configuration, under the name of the instance.
fn config_of(agent: &AgentRecord, name: &AgentId) -> Value {
    let mut config = agent_config(agent);
    if let Some(agent_id) = config.get_mut("agent_id") {
        *agent_id = json!(name);
    }
    config
}

/// Lets go of the instances that were to go and that run nothing any more.
pub(super) async fn dismiss(
    context: &WorkerContext,
    agent: &AgentRecord,
) -> Result<(), LedgerError> {
    let gone = || {
        let draining = agent.instances.iter().filter(|i| i.draining);
        draining.filter(|i| i.running == 0)
    };
    release(context, gone()).await;
    for instance in gone() {
        context
            .ledger
            .forget_instance(&agent.agent_id, instance.instance_id, Timestamp::now())
            .await?;
    }
    Ok(())
}

/// Tells the brains of instances that were made that nobody uses them any more.
pub(super) async fn release(
    context: &WorkerContext,
    instances: impl Iterator<Item = &InstanceRecord>,
) {
    let made = instances.filter(|i| i.made.is_some() && !i.endpoint.is_empty());
    let releasing = made.map(async |instance| {
        if let Err(error) = context.brain.delete(&instance.endpoint).await {
            // A brain that cannot be told keeps an agent that nobody uses; it forgets it when it restarts.
            tracing::warn!(endpoint = %instance.endpoint, %error, "an instance's brain could not be released");
        }
    });
    join_all(releasing).await;
}
