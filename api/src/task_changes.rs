//! Changing a task that is there already: in the ledger where it answers and knows the task, else by a command that waits
//! at the broker until it does.

use orchestrator_common::commands::TaskChange;
use orchestrator_common::domain::{Origin, Priority, TaskId, TaskStatus, Timestamp};
use orchestrator_common::ledger::{Cancelled, Reprioritised, Retried};
use orchestrator_common::messaging::Command;

use crate::problem::ApiError;
use crate::service::{Service, patiently};
use crate::views::TaskChanged;

/// What became of a change.
pub(crate) enum Change {
    /// It is made.
    Made(TaskChanged),
    /// It is in durable hands.
    ToCome(TaskChanged),
}

impl Service {
    /// Cancels a task that waits, and has one dropped that runs.
    pub(crate) async fn cancel(&self, origin: Origin, task_id: TaskId) -> Result<Change, ApiError> {
        let command = Command::CancelTask {
            task_id,
            reason: None,
        };
        let ledger = self.ledger.by(origin.clone());
        let cancelling = patiently(ledger.cancel(task_id, Timestamp::now())).await;
        let is_cancelled = || {
            TaskChanged::new(
                task_id,
                Some(TaskStatus::Cancelled),
                "the task is cancelled",
            )
        };
        let written = self.or_hand_on(cancelling, command.clone(), origin.clone());
        match written.await? {
            Some(Cancelled::Now) => {
                self.commands.task_changed(TaskChange::Ended(task_id)).await;
                self.wake(task_id);
                Ok(Change::Made(is_cancelled()))
            }
            Some(Cancelled::Requested(worker_id)) => {
                let change = TaskChange::ToDrop { task_id, worker_id };
                self.commands.task_changed(change).await;
                let message = "the task is dropped, unless it has just ended otherwise";
                let status = Some(TaskStatus::Running);
                Ok(Change::ToCome(TaskChanged::new(task_id, status, message)))
            }
            Some(Cancelled::AlreadyEnded(TaskStatus::Cancelled)) => {
                Ok(Change::Made(is_cancelled()))
            }
            Some(Cancelled::AlreadyEnded(status)) => Err(ApiError::WrongStatus {
                task_id,
                status,
                needed: "has not ended can be cancelled",
            }),
            Some(Cancelled::Unknown) => self.follow(origin, task_id, command).await,
            None => Ok(handed_on(task_id)),
        }
    }

    /// Changes the priority of a task that waits.
    pub(crate) async fn reprioritise(
        &self,
        origin: Origin,
        task_id: TaskId,
        priority: Priority,
    ) -> Result<Change, ApiError> {
        let command = Command::Reprioritise { task_id, priority };
        let ledger = self.ledger.by(origin.clone());
        let changing = patiently(ledger.reprioritise(task_id, priority)).await;
        let written = self.or_hand_on(changing, command.clone(), origin.clone());
        match written.await? {
            Some(Reprioritised::Now(status)) => {
                let change = TaskChange::Reprioritised(task_id);
                self.commands.task_changed(change).await;
                let message = format!("the task waits with priority {}", priority.get());
                let changed = TaskChanged::new(task_id, Some(status), &message);
                Ok(Change::Made(changed))
            }
            Some(Reprioritised::NotWaiting(status)) => Err(ApiError::WrongStatus {
                task_id,
                status,
                needed: "waits can be given another priority",
            }),
            Some(Reprioritised::Unknown) => self.follow(origin, task_id, command).await,
            None => Ok(handed_on(task_id)),
        }
    }

    /// Tries a task again that has failed, timed out or was cancelled.
    pub(crate) async fn retry(
        &self,
        origin: Origin,
        task_id: TaskId,
        attempts: u32,
    ) -> Result<Change, ApiError> {
        let ledger = self.ledger.by(origin);
        let retrying = ledger.retry(task_id, attempts, Timestamp::now());
        match patiently(retrying).await? {
            Retried::Now(agent_id) => {
                let change = TaskChange::Retried { task_id, agent_id };
                self.commands.task_changed(change).await;
                self.wake(task_id);
                let status = Some(TaskStatus::Queued);
                let changed = TaskChanged::new(task_id, status, "the task is tried again");
                Ok(Change::Made(changed))
            }
            Retried::NotFailed(status) => Err(ApiError::WrongStatus {
                task_id,
                status,
                needed: "has failed, timed out or was cancelled can be tried again",
            }),
            Retried::OfWorkflow(run_id) => Err(ApiError::OfWorkflow(run_id)),
            Retried::UnknownAgent(agent_id) => Err(ApiError::NoSuchAgent(agent_id.into())),
            Retried::Unknown => Err(ApiError::NoSuchTask(task_id.to_string())),
        }
    }

    /// Sends a command after a task that only the broker has.
    async fn follow(
        &self,
        origin: Origin,
        task_id: TaskId,
        command: Command,
    ) -> Result<Change, ApiError> {
        if !self.tasks.is_on_its_way(task_id).await {
            return Err(ApiError::NoSuchTask(task_id.to_string()));
        }
        self.commands.hand_on(command, origin).await?;
        Ok(handed_on(task_id))
    }
}

fn handed_on(task_id: TaskId) -> Change {
    let message = "the change is in durable hands and is made as soon as the task is known";
    Change::ToCome(TaskChanged::new(task_id, None, message))
}

/// A task id from a path; what is not a UUID is the name of no task.
pub(crate) fn task_in_path(text: &str) -> Result<TaskId, ApiError> {
    text.parse()
        .map_err(|_| ApiError::NoSuchTask(text.to_owned()))
}
