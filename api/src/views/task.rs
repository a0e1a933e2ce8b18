//! A task as callers see it.

use orchestrator_common::commands::Accepted;
use orchestrator_common::domain::{
    AgentId, CallbackRecord, CallbackStatus, ErrorCode, Json, SessionId, TaskDocument, TaskError,
    TaskId, TaskStatus, Timestamp,
};
use orchestrator_common::ledger::TaskPage;
use poem_openapi::Object;
use poem_openapi::types::Example;
use serde::Serialize;

use super::{TaskCursor, Wire};

/// Where a task can be asked for.
pub(crate) fn task_address(task_id: TaskId) -> String {
    format!("/orchestrator/tasks/{task_id}")
}

/// A task that is in durable hands.
#[derive(Debug, Object, Serialize)]
#[oai(example)]
pub(crate) struct TaskAccepted {
    /// Always true: a task that was not accepted is answered with a problem.
    success: bool,
    /// Its identifier.
    task_id: Wire<TaskId>,
    /// The agent that is to do it.
    agent_id: String,
    /// Where it stands.
    status: Wire<TaskStatus>,
    /// How many tasks of its agent run before it, when that is known.
    #[oai(nullable)]
    queue_position: Option<u64>,
    /// Where to ask for it; also in the header `Location`.
    task_status_endpoint: String,
    /// The task, when `Prefer: wait` asked to wait for it: with its outcome, unless the time was over before.
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<TaskView>,
}

impl TaskAccepted {
    /// The answer to an accepted task.
    pub(crate) fn new(accepted: &Accepted, agent_id: AgentId) -> Self {
        Self {
            success: true,
            task_id: Wire(accepted.task_id),
            agent_id: agent_id.into(),
            status: Wire(accepted.status),
            queue_position: accepted.queue_position,
            task_status_endpoint: task_address(accepted.task_id),
            task: None,
        }
    }

    /// The same answer after the task was waited for.
    pub(crate) fn waited(mut self, task: TaskView) -> Self {
        self.status = Wire(task.status());
        self.queue_position = task.queue_position;
        self.task = Some(task);
        self
    }

    /// Whether it was waited for and has an outcome.
    pub(crate) fn has_ended(&self) -> bool {
        self.status.0.is_terminal()
    }
}

impl Example for TaskAccepted {
    fn example() -> Self {
        let task_id = TaskId::from(uuid::Uuid::from_u128(
            0x0199_a3c4_6f6e_7c3b_9b1e_3d1f_0a5c_7e21,
        ));
        Self {
            success: true,
            task_id: Wire(task_id),
            agent_id: "underwriting_agent_01".into(),
            status: Wire(TaskStatus::Queued),
            queue_position: Some(0),
            task_status_endpoint: task_address(task_id),
            task: None,
        }
    }
}

/// What became of a change to a task.
#[derive(Debug, Object, Serialize)]
#[oai(example)]
pub(crate) struct TaskChanged {
    /// Always true: a change that was not made is answered with a problem.
    success: bool,
    /// The task.
    task_id: Wire<TaskId>,
    /// Where it stands; null when the ledger does not know it yet or does not answer. The change is then in durable
    /// hands and is made as soon as it can be.
    #[oai(nullable)]
    status: Option<Wire<TaskStatus>>,
    /// What was done, for people.
    message: String,
    /// Where to ask for it.
    task_status_endpoint: String,
}

impl TaskChanged {
    /// The answer to a change; `status` is `None` when it waits in durable hands.
    pub(crate) fn new(task_id: TaskId, status: Option<TaskStatus>, message: &str) -> Self {
        Self {
            success: true,
            task_id: Wire(task_id),
            status: status.map(Wire),
            message: message.to_owned(),
            task_status_endpoint: task_address(task_id),
        }
    }
}

impl Example for TaskChanged {
    fn example() -> Self {
        let task_id = TaskId::from(uuid::Uuid::from_u128(
            0x0199_a3c4_6f6e_7c3b_9b1e_3d1f_0a5c_7e21,
        ));
        Self::new(
            task_id,
            Some(TaskStatus::Cancelled),
            "the task is cancelled",
        )
    }
}

/// Why a task failed, or its latest attempt.
#[derive(Debug, Object, Serialize)]
pub(crate) struct TaskErrorView {
    /// For programs.
    code: Wire<ErrorCode>,
    /// For people.
    message: String,
}

impl From<TaskError> for TaskErrorView {
    fn from(error: TaskError) -> Self {
        Self {
            code: Wire(error.code),
            message: error.message,
        }
    }
}

/// A task.
#[derive(Debug, Object, Serialize)]
pub(crate) struct TaskView {
    /// Its identifier.
    task_id: Wire<TaskId>,
    /// The agent that does it.
    agent_id: Wire<AgentId>,
    /// What kind of work it is.
    task_type: String,
    /// The conversation that it belongs to.
    #[oai(nullable)]
    session_id: Option<Wire<SessionId>>,
    /// Where it stands. `completed`, `failed`, `timed_out` and `cancelled` are final.
    status: Wire<TaskStatus>,
    /// How urgent it is, 1 to 10; 10 runs first.
    priority: u8,
    /// Attempts started so far.
    attempt: u32,
    /// When it was accepted.
    submitted_at: Wire<Timestamp>,
    /// When the latest attempt started.
    #[oai(nullable)]
    started_at: Option<Wire<Timestamp>>,
    /// When its outcome was recorded.
    #[oai(nullable)]
    completed_at: Option<Wire<Timestamp>>,
    /// From the start of the latest attempt to the outcome, in seconds.
    #[oai(nullable)]
    duration_seconds: Option<f64>,
    /// What the agent answered: any JSON.
    #[oai(nullable)]
    result: Option<Wire<Json>>,
    /// Why it failed, or why its latest attempt did.
    #[oai(nullable)]
    error: Option<TaskErrorView>,
    /// The same as `error.message`, for older callers.
    #[oai(nullable)]
    error_message: Option<String>,
    /// Tokens that all attempts used, as far as the agent reported them.
    #[oai(nullable)]
    tokens_used: Option<u64>,
    /// What all attempts cost in US dollars, as far as the agent reported it.
    #[oai(nullable)]
    cost_estimate: Option<f64>,
    /// While it is queued: how many tasks of its agent run before it.
    #[oai(nullable)]
    queue_position: Option<u64>,
    /// Once a task with a `callback_url` has its outcome: how far telling it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    callback: Option<CallbackView>,
}

/// How far telling an outcome is.
#[derive(Debug, Object, Serialize)]
pub(crate) struct CallbackView {
    /// `delivered` when the receiver answered 2xx, `gone` when it answered 410, `abandoned` after a day without success.
    status: Wire<CallbackStatus>,
    /// Attempts begun so far.
    attempts: u32,
    /// When the next attempt is due; while one is under way, when it is taken for lost.
    #[oai(nullable)]
    next_attempt_at: Option<Wire<Timestamp>>,
    /// Why the latest attempt that failed did.
    #[oai(nullable)]
    last_error: Option<String>,
    /// When it was delivered or given up.
    #[oai(nullable)]
    ended_at: Option<Wire<Timestamp>>,
}

impl From<CallbackRecord> for CallbackView {
    fn from(record: CallbackRecord) -> Self {
        Self {
            status: Wire(record.status),
            attempts: record.attempts,
            next_attempt_at: record.next_attempt_at.map(Wire),
            last_error: record.last_error,
            ended_at: record.ended_at.map(Wire),
        }
    }
}

impl TaskView {
    /// Where the task stands.
    pub(crate) const fn status(&self) -> TaskStatus {
        self.status.0
    }

    /// A task and its place in the queue.
    pub(crate) fn new(document: TaskDocument, queue_position: Option<u64>) -> Self {
        Self {
            task_id: Wire(document.task_id),
            agent_id: Wire(document.agent_id),
            task_type: document.task_type,
            session_id: document.session_id.map(Wire),
            status: Wire(document.status),
            priority: document.priority.get(),
            attempt: document.attempt,
            submitted_at: Wire(document.submitted_at),
            started_at: document.started_at.map(Wire),
            completed_at: document.completed_at.map(Wire),
            duration_seconds: document.duration_seconds,
            result: document.result.map(Wire),
            error_message: document.error.as_ref().map(|error| error.message.clone()),
            error: document.error.map(Into::into),
            tokens_used: document.tokens_used,
            cost_estimate: document.cost_estimate,
            queue_position,
            callback: None,
        }
    }

    /// The same, with how far its callback is.
    pub(crate) fn with_callback(self, callback: Option<CallbackRecord>) -> Self {
        Self {
            callback: callback.map(Into::into),
            ..self
        }
    }
}

/// A page of tasks.
#[derive(Debug, Object, Serialize)]
pub(crate) struct TaskList {
    /// Newest first, without their results and their places in the queue.
    tasks: Vec<TaskView>,
    /// How many are on this page.
    count: usize,
    /// Gets the next page as `cursor`; absent on the last one. A page with a rare status or type may hold fewer tasks than
    /// were asked for, or none, before the last one.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

impl From<TaskPage> for TaskList {
    fn from(page: TaskPage) -> Self {
        let tasks = page.tasks.into_iter();
        let tasks: Vec<_> = tasks.map(|task| TaskView::new(task, None)).collect();
        Self {
            count: tasks.len(),
            tasks,
            next_cursor: page.next.map(|place| TaskCursor(place).to_string()),
        }
    }
}
