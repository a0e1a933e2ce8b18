//! An agent as callers see it.

use orchestrator_common::domain::{
    AgentId, AgentRecord, AgentStatus, CircuitState, DeploymentRecord, DesiredState, InstanceId,
    InstanceRecord, InstanceState, LoadBalancing, Timestamp,
};
use poem_openapi::Object;
use serde::Serialize;
use serde_json::Value;

use super::Wire;

/// One place where an agent's tasks run.
#[derive(Debug, Object, Serialize)]
pub(crate) struct InstanceView {
    /// Its identifier.
    instance_id: Wire<InstanceId>,
    /// Base address of the agent.
    endpoint: String,
    /// What it is observed to be; `unhealthy` did not answer probes, `lost` is made again.
    state: Wire<InstanceState>,
    /// Whether it gets no more tasks and goes when it has finished what it runs.
    draining: bool,
    /// How many tasks it may run at once, as registered; absent when only the agent's limit bounds it.
    #[oai(nullable)]
    capacity: Option<u32>,
    /// How many tasks it was found to take at once; absent while it takes all that it may.
    #[oai(nullable)]
    learnt_limit: Option<u32>,
    /// Its share of the tasks, compared with the others.
    weight: u32,
    /// Whether it gets tasks (`closed`), got none for a while because calls failed (`open`), or is tried with one (`half_open`).
    circuit: Wire<CircuitState>,
    /// When an open circuit is tried again.
    #[oai(nullable)]
    retry_at: Option<Wire<Timestamp>>,
    /// How long its latest successful tasks took, as an average in seconds; absent before the first.
    #[oai(nullable)]
    recent_response_time: Option<f64>,
    /// How many tasks it runs now.
    running: u32,
    /// When it came to be.
    created_at: Wire<Timestamp>,
    /// When it last answered a probe.
    #[oai(nullable)]
    last_health_check: Option<Wire<Timestamp>>,
    /// What it reported to use, in megabytes.
    #[oai(nullable)]
    memory_usage_mb: Option<f64>,
}

impl InstanceView {
    /// The instance of an agent whose limit is `limit`.
    fn new(instance: InstanceRecord, limit: u32) -> Self {
        let configured = instance.capacity.unwrap_or(limit);
        let measured = instance.learnt.samples > 0;
        Self {
            draining: instance.draining,
            learnt_limit: instance.learnt.learnt_slots(configured),
            weight: instance.weight,
            circuit: Wire(instance.circuit.state),
            retry_at: instance.circuit.until.map(Wire),
            recent_response_time: measured.then_some(instance.learnt.short),
            instance_id: Wire(instance.instance_id),
            endpoint: instance.endpoint,
            state: Wire(instance.state),
            capacity: instance.capacity,
            running: instance.running,
            created_at: Wire(instance.created_at),
            last_health_check: instance.last_health_check.map(Wire),
            memory_usage_mb: instance.memory_usage_mb,
        }
    }
}

/// How a deployment of the Deployment Pipeline stood.
#[derive(Debug, Object, Serialize)]
pub(crate) struct DeploymentView {
    /// Its status in the pipeline's own words.
    status: String,
    /// The stage that it was in.
    #[oai(nullable)]
    stage: Option<String>,
    /// What went wrong.
    #[oai(nullable)]
    error_message: Option<String>,
    /// When the pipeline said so.
    #[oai(nullable)]
    checked_at: Option<Wire<Timestamp>>,
}

/// What bounds an agent.
#[derive(Debug, Object, Serialize)]
pub(crate) struct AgentLimits {
    /// How many sessions it may have at once, across all workers.
    max_concurrent_sessions: u32,
}

/// An agent.
#[derive(Debug, Object, Serialize)]
pub(crate) struct AgentView {
    /// Its identifier.
    agent_id: Wire<AgentId>,
    /// A name for people.
    #[oai(nullable)]
    agent_name: Option<String>,
    /// The field it works in.
    #[oai(nullable)]
    domain: Option<String>,
    /// Its deployment in the Deployment Pipeline.
    #[oai(nullable)]
    deployment_id: Option<String>,
    /// How that deployment stood when the agent was last started; only when one agent is asked for and the pipeline knew
    /// it. One that has failed keeps the agent from being started.
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<DeploymentView>,
    /// What it is observed to be; `active` takes tasks.
    status: Wire<AgentStatus>,
    /// What callers want it to be.
    desired_state: Wire<DesiredState>,
    /// Why it is `failed`.
    #[oai(nullable)]
    status_reason: Option<String>,
    /// When an instance of it last answered a probe.
    #[oai(nullable)]
    last_health_check: Option<Wire<Timestamp>>,
    /// Sessions that run now.
    active_sessions: u32,
    /// Sessions that ended, whatever they came to.
    total_sessions: u64,
    /// Completed tasks among those that completed or failed, 0 to 1; 1 while no task has ended.
    success_rate: f64,
    /// Mean duration of the sessions that ended, in seconds; 0 while none has.
    average_response_time: f64,
    /// What its instances reported to use together, in megabytes; absent when none reported it.
    #[oai(nullable)]
    memory_usage_mb: Option<f64>,
    /// Seconds since it last became active; 0 when it is neither active nor paused.
    uptime_seconds: f64,
    /// Tasks that wait for a slot.
    queue_depth: u32,
    /// What bounds it.
    limits: AgentLimits,
    /// How its tasks are shared out among its instances.
    load_balancing: Wire<LoadBalancing>,
    /// How many instances it is to have.
    desired_instances: usize,
    /// Where its tasks run, oldest first.
    instances: Vec<InstanceView>,
    /// When it was first registered.
    registered_at: Wire<Timestamp>,
    /// When it last became active.
    #[oai(nullable)]
    started_at: Option<Wire<Timestamp>>,
    /// As registered; only when one agent is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    brain_config: Option<Wire<Value>>,
}

impl AgentView {
    /// The agent without its `brain_config`. `default_limit` holds when it has no limit of its own.
    pub(crate) fn new(record: AgentRecord, default_limit: u32, now: Timestamp) -> Self {
        let totals = record.totals;
        let limit = record.max_concurrent_sessions.unwrap_or(default_limit);
        let desired_instances = match record.registered_instances.len() {
            0 => record.instances_wanted as usize,
            registered => registered,
        };
        let ended = totals.completed + totals.failed;
        let memory: Vec<f64> = record
            .instances
            .iter()
            .filter_map(|instance| instance.memory_usage_mb)
            .collect();
        Self {
            agent_id: Wire(record.agent_id),
            agent_name: record.agent_name,
            domain: record.domain,
            deployment_id: record.deployment_id,
            deployment: None,
            status: Wire(record.status),
            desired_state: Wire(record.desired),
            status_reason: record.status_reason,
            last_health_check: record
                .instances
                .iter()
                .filter_map(|instance| instance.last_health_check)
                .max()
                .map(Wire),
            active_sessions: record.running,
            total_sessions: totals.sessions,
            success_rate: share(totals.completed, ended).unwrap_or(1.0),
            average_response_time: mean(totals.busy_seconds, totals.sessions),
            memory_usage_mb: (!memory.is_empty()).then(|| memory.iter().sum()),
            uptime_seconds: uptime(record.status, record.started_at, now),
            queue_depth: record.queued,
            limits: AgentLimits {
                max_concurrent_sessions: limit,
            },
            load_balancing: Wire(record.load_balancing),
            desired_instances,
            instances: record
                .instances
                .into_iter()
                .map(|instance| InstanceView::new(instance, limit))
                .collect(),
            registered_at: Wire(record.registered_at),
            started_at: record.started_at.map(Wire),
            brain_config: None,
        }
    }

    /// The same agent with how its deployment stood.
    pub(crate) fn with_deployment(
        mut self,
        deployment: Option<(DeploymentRecord, Option<Timestamp>)>,
    ) -> Self {
        self.deployment = deployment.map(|(deployment, checked_at)| DeploymentView {
            status: deployment.status,
            stage: deployment.stage,
            error_message: deployment.error,
            checked_at: checked_at.map(Wire),
        });
        self
    }

    /// The same agent with its `brain_config`.
    pub(crate) fn with_brain_config(mut self, brain_config: Option<Value>) -> Self {
        self.brain_config = brain_config.map(Wire);
        self
    }
}

fn uptime(status: AgentStatus, started_at: Option<Timestamp>, now: Timestamp) -> f64 {
    let is_up = match status {
        AgentStatus::Active | AgentStatus::Paused => true,
        AgentStatus::Registered
        | AgentStatus::Starting
        | AgentStatus::Stopping
        | AgentStatus::Stopped
        | AgentStatus::Failed => false,
    };
    started_at
        .filter(|_| is_up)
        .map_or(0.0, |at| now.since(at).as_secs_f64())
}

// Counts stay far below 2^53, where every whole number is still exact.
#[allow(clippy::cast_precision_loss)]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[allow(clippy::cast_precision_loss)]
fn mean(sum: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum / count as f64 }
}

/// A page of agents.
#[derive(Debug, Object, Serialize)]
pub(crate) struct AgentList {
    /// In the order of their identifiers.
    pub(crate) agents: Vec<AgentView>,
    /// How many are on this page.
    pub(crate) count: usize,
    /// Gets the next page as `cursor`; absent on the last one.
    #[oai(nullable)]
    pub(crate) next_cursor: Option<Wire<AgentId>>,
}

/// What became of a change to an agent.
#[derive(Debug, Object, Serialize)]
pub(crate) struct AgentChanged {
    /// Always true: a change that was not made is answered with a problem.
    success: bool,
    /// The agent.
    agent_id: Wire<AgentId>,
    /// What it is observed to be; the workers bring that in line with `desired_state`. Null while the ledger does not
    /// answer: the change is in durable hands and is made as soon as it does.
    #[oai(nullable)]
    status: Option<Wire<AgentStatus>>,
    /// What is wanted of it now; null when the ledger, which did not answer, decides it.
    #[oai(nullable)]
    desired_state: Option<Wire<DesiredState>>,
    /// What was done, for people.
    message: String,
    /// The agent; absent when it was unregistered, or when the ledger did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentView>,
}

impl AgentChanged {
    /// The answer to a change; `message` says what was done.
    pub(crate) fn new(record: &AgentRecord, message: &str, agent: Option<AgentView>) -> Self {
        Self {
            success: true,
            agent_id: Wire(record.agent_id.clone()),
            status: Some(Wire(record.status)),
            desired_state: Some(Wire(record.desired)),
            message: message.to_owned(),
            agent,
        }
    }

    /// Whether it is made, not only in durable hands.
    pub(crate) const fn is_made(&self) -> bool {
        self.status.is_some()
    }

    /// The answer to a change that waits for the ledger in durable hands.
    pub(crate) fn to_come(agent_id: AgentId, desired: Option<DesiredState>, message: &str) -> Self {
        Self {
            success: true,
            agent_id: Wire(agent_id),
            status: None,
            desired_state: desired.map(Wire),
            message: message.to_owned(),
            agent: None,
        }
    }
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
