//! What the orchestrator tells the world: events, the same documents as answers to `reply_to`, and refusals.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use lapin::types::ShortString;

use super::command::VERSION;
use super::outgoing::Outgoing;
use super::refusal::Refusal;
use super::topology::Topology;
use crate::domain::workflow::{RunId, RunStatus};
use crate::domain::{
    AgentId, AgentStatus, Json, TaskError, TaskId, TaskRecord, TaskStatus, Timestamp,
};
use crate::ledger::RunChange;

/// Names every event's fact; see the `message_id` methods.
const FACTS: Uuid = Uuid::from_u128(0x9b0d_4a54_62c7_5f1e_8b3a_0e5d_71f4_2c96);

/// Something that happened to a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskEvent {
    /// The version of the contract.
    pub version: u64,
    /// `task.` and the status.
    pub event: String,
    /// The task.
    pub task_id: TaskId,
    /// Its agent.
    pub agent_id: AgentId,
    /// Attempts started so far.
    pub attempt: u32,
    /// Where it stands now.
    pub status: TaskStatus,
    /// What the agent answered.
    pub result: Option<Json>,
    /// Why it failed.
    pub error: Option<TaskError>,
    /// How long the last attempt took, in seconds.
    pub duration_seconds: Option<f64>,
    /// Tokens that all attempts used together.
    pub tokens_used: Option<u64>,
    /// What all attempts cost together, in US dollars.
    pub cost_estimate: Option<f64>,
    /// When it happened, as the ledger recorded it.
    pub at: Timestamp,
}

impl TaskEvent {
    /// The event for where `record` stands since `at`, a time taken from the ledger, so that it is the same when told
    /// again.
    #[must_use]
    pub fn of(record: &TaskRecord, at: Timestamp) -> Self {
        let duration = record.started_at.zip(record.completed_at);
        Self {
            version: VERSION,
            event: format!("task.{}", record.status),
            task_id: record.task.task_id,
            agent_id: record.task.agent_id.clone(),
            attempt: record.attempt,
            status: record.status,
            result: record.result.clone(),
            error: record.error.clone(),
            duration_seconds: duration.map(|(from, to)| to.since(from).as_secs_f64()),
            tokens_used: record.usage.tokens_used,
            cost_estimate: record.usage.cost_estimate,
            at,
        }
    }

    /// The same for the same fact, whoever tells it how often: consumers drop what they have seen.
    ///
    /// A status can come again (a busy agent costs no attempt, a failed task can be retried by hand), so its time counts.
    #[must_use]
    pub fn message_id(&self) -> Uuid {
        let Self {
            task_id,
            status,
            attempt,
            at,
            ..
        } = self;
        let fact = format!("task:{task_id}:{status}:{attempt}:{}", at.as_micros());
        Uuid::new_v5(&FACTS, fact.as_bytes())
    }
}

/// Something that happened to an agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentEvent {
    /// The version of the contract.
    pub version: u64,
    /// `agent.` and the status.
    pub event: String,
    /// The agent.
    pub agent_id: AgentId,
    /// What it is observed to be now.
    pub status: AgentStatus,
    /// Why, when it failed.
    pub reason: Option<String>,
    /// When it happened, as the ledger recorded it.
    pub at: Timestamp,
}

impl AgentEvent {
    /// The event for an agent that is `status` since `at`.
    #[must_use]
    pub fn new(
        agent_id: AgentId,
        status: AgentStatus,
        reason: Option<String>,
        at: Timestamp,
    ) -> Self {
        Self {
            version: VERSION,
            event: format!("agent.{status}"),
            agent_id,
            status,
            reason,
            at,
        }
    }

    /// The same for the same fact, whoever tells it how often.
    #[must_use]
    pub fn message_id(&self) -> Uuid {
        let fact = format!(
            "agent:{}:{}:{}",
            self.agent_id,
            self.status,
            self.at.as_micros()
        );
        Uuid::new_v5(&FACTS, fact.as_bytes())
    }
}

/// Something that happened to a workflow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkflowEvent {
    /// The version of the contract.
    pub version: u64,
    /// `workflow.` and the status.
    pub event: String,
    /// The run.
    pub run_id: RunId,
    /// The stored definition that it follows.
    pub name: Option<String>,
    /// Where it stands now.
    pub status: RunStatus,
    /// Why it failed.
    pub error: Option<String>,
    /// When it happened, as the ledger recorded it.
    pub at: Timestamp,
}

impl WorkflowEvent {
    /// The event for a run that stands somewhere else now; `None` when it stands where it stood.
    #[must_use]
    pub fn of(change: &RunChange) -> Option<Self> {
        (change.before != change.status).then(|| Self {
            version: VERSION,
            event: format!("workflow.{}", change.status),
            run_id: change.run_id,
            name: change.name.as_ref().map(ToString::to_string),
            status: change.status,
            error: change.error.clone(),
            at: change.at,
        })
    }

    /// The same for the same fact, whoever tells it how often.
    #[must_use]
    pub fn message_id(&self) -> Uuid {
        let fact = format!(
            "workflow:{}:{}:{}",
            self.run_id,
            self.status,
            self.at.as_micros()
        );
        Uuid::new_v5(&FACTS, fact.as_bytes())
    }
}

impl Outgoing {
    /// A workflow event, with routing key `workflow.<status>.<run_id>`.
    ///
    /// # Errors
    /// When the event holds something that JSON cannot express.
    pub fn workflow_event(topology: &Topology, event: &WorkflowEvent) -> serde_json::Result<Self> {
        let key = format!("{}.{}", event.event, event.run_id);
        let body = serde_json::to_vec(event)?;
        Ok(published(topology, &key, event.message_id(), body))
    }

    /// A task event, with routing key `task.<status>.<agent_id>`.
    ///
    /// The agent id stands there as it is, so each of its dots begins another word: bind `task.completed.#` for all
    /// agents, and `task.*.<agent_id>` for one.
    ///
    /// # Errors
    /// When the event holds something that JSON cannot express.
    pub fn task_event(topology: &Topology, event: &TaskEvent) -> serde_json::Result<Self> {
        let key = format!("{}.{}", event.event, event.agent_id);
        let body = serde_json::to_vec(event)?;
        Ok(published(topology, &key, event.message_id(), body))
    }

    /// An agent event, with routing key `agent.<status>.<agent_id>`; see [`Self::task_event`] for dots.
    ///
    /// # Errors
    /// When the event holds something that JSON cannot express.
    pub fn agent_event(topology: &Topology, event: &AgentEvent) -> serde_json::Result<Self> {
        let key = format!("{}.{}", event.event, event.agent_id);
        let body = serde_json::to_vec(event)?;
        Ok(published(topology, &key, event.message_id(), body))
    }

    /// The outcome of a task, for the queue that its sender named; `None` when no queue can have that name.
    ///
    /// Whoever asked may be gone, so a queue that does not exist is no failure.
    ///
    /// # Errors
    /// When the event holds something that JSON cannot express.
    pub fn reply(
        reply_to: &str,
        correlation_id: Option<&str>,
        event: &TaskEvent,
    ) -> serde_json::Result<Option<Self>> {
        let body = serde_json::to_vec(event)?;
        Ok(answer(reply_to, correlation_id, event.message_id(), body))
    }

    /// The problem document of a refused command, for the queue that its sender named.
    ///
    /// # Errors
    /// When the refusal holds something that JSON cannot express.
    pub fn refusal(
        reply_to: &str,
        correlation_id: Option<&str>,
        refusal: &Refusal,
    ) -> serde_json::Result<Option<Self>> {
        let body = serde_json::to_vec(&refusal.problem())?;
        let answer = answer(reply_to, correlation_id, Uuid::now_v7(), body);
        Ok(answer.map(|mut answer| {
            answer.properties = answer
                .properties
                .with_content_type("application/problem+json".into());
            answer.with_headers([("x-reason", refusal.reason.as_str())])
        }))
    }
}

fn published(topology: &Topology, key: &str, message_id: Uuid, body: Vec<u8>) -> Outgoing {
    // At most 10 + 9 + 100 bytes: an agent id has at most 100.
    Outgoing::persistent(topology.events().clone(), key.into(), message_id, body)
}

fn answer(
    reply_to: &str,
    correlation_id: Option<&str>,
    message_id: Uuid,
    body: Vec<u8>,
) -> Option<Outgoing> {
    let queue = ShortString::try_new(reply_to).ok()?;
    let outgoing = Outgoing::persistent(ShortString::default(), queue, message_id, body);
    Some(outgoing.with_correlation_id(correlation_id))
}
