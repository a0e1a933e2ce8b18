//! What readers get to see of a task: the same from the ledger and from the cache.

use serde::{Deserialize, Serialize};

use super::{
    AgentId, Json, Priority, SessionId, TaskError, TaskId, TaskRecord, TaskStatus, Timestamp,
};

/// What readers get to see of a task, apart from its place in the queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskDocument {
    /// Its identifier.
    pub task_id: TaskId,
    /// The agent that does it.
    pub agent_id: AgentId,
    /// What kind of work it is.
    pub task_type: String,
    /// The conversation that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Where it stands.
    pub status: TaskStatus,
    /// How urgent it is.
    pub priority: Priority,
    /// Attempts started so far.
    pub attempt: u32,
    /// When it was accepted.
    pub submitted_at: Timestamp,
    /// When the latest attempt started.
    pub started_at: Option<Timestamp>,
    /// When its outcome was recorded.
    pub completed_at: Option<Timestamp>,
    /// From the start of the latest attempt to the outcome, in seconds.
    pub duration_seconds: Option<f64>,
    /// What the agent answered.
    pub result: Option<Json>,
    /// Why it failed, or why its latest attempt did.
    pub error: Option<TaskError>,
    /// Tokens that all attempts used, as far as the agent reported them.
    pub tokens_used: Option<u64>,
    /// What all attempts cost in US dollars, as far as the agent reported it.
    pub cost_estimate: Option<f64>,
    /// Whether somebody is told its outcome.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub calls_back: bool,
}

impl From<TaskRecord> for TaskDocument {
    fn from(record: TaskRecord) -> Self {
        let duration = record.completed_at.zip(record.started_at);
        Self {
            task_id: record.task.task_id,
            agent_id: record.task.agent_id,
            task_type: record.task.task_type,
            session_id: record.task.session_id,
            status: record.status,
            priority: record.task.priority,
            attempt: record.attempt,
            submitted_at: record.task.submitted_at,
            started_at: record.started_at,
            completed_at: record.completed_at,
            duration_seconds: duration.map(|(end, start)| end.since(start).as_secs_f64()),
            result: record.result,
            error: record.error,
            tokens_used: record.usage.tokens_used,
            cost_estimate: record.usage.cost_estimate,
            calls_back: record.task.callback_url.is_some(),
        }
    }
}
