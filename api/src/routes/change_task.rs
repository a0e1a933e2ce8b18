//! `DELETE /orchestrator/tasks/{task_id}`, and `POST …/priority` and `…/retry`.

use std::sync::Arc;

use poem_openapi::param::Path;
use poem_openapi::{ApiResponse, OpenApi};

use super::Tag;
use crate::auth::{Caller, Write};
use crate::body::{JsonBody, NewPriority, RetryWish};
use crate::problem::{Cancelling, Changing, Refusal};
use crate::service::Service;
use crate::task_changes::{Change, task_in_path};
use crate::views::{Answer, TaskChanged};

pub(super) struct ChangeTask(pub(super) Arc<Service>);

/// What became of a change to a task.
#[derive(ApiResponse)]
enum Changed {
    /// The change is made.
    #[oai(status = 200)]
    Made(Answer<TaskChanged>),
    /// The change is in durable hands: a running task is being dropped, or the ledger does not know the task yet.
    #[oai(status = 202)]
    ToCome(Answer<TaskChanged>),
}

impl From<Change> for Changed {
    fn from(change: Change) -> Self {
        match change {
            Change::Made(changed) => Self::Made(Answer(changed)),
            Change::ToCome(changed) => Self::ToCome(Answer(changed)),
        }
    }
}

#[OpenApi(tag = "Tag::Tasks")]
impl ChangeTask {
    /// Cancel a task
    ///
    /// One that waits is cancelled at once (200), and so is one that was cancelled before. One that runs is dropped by
    /// its worker (202), unless it ends otherwise before that: ask for the task to see which. One that has completed,
    /// failed or timed out stays what it is (409).
    #[oai(
        path = "/orchestrator/tasks/:task_id",
        method = "delete",
        operation_id = "cancel_task"
    )]
    async fn cancel(
        &self,
        caller: Caller<Write>,
        /// The task: a UUID.
        task_id: Path<String>,
    ) -> Result<Changed, Refusal<Cancelling>> {
        let change = self
            .0
            .cancel(caller.origin(), task_in_path(&task_id)?)
            .await?;
        Ok(change.into())
    }

    /// Change the priority of a task
    ///
    /// Only a task that waits has one that matters; any other is answered 409.
    #[oai(
        path = "/orchestrator/tasks/:task_id/priority",
        method = "post",
        operation_id = "reprioritise_task"
    )]
    async fn reprioritise(
        &self,
        caller: Caller<Write>,
        /// The task: a UUID.
        task_id: Path<String>,
        body: JsonBody<NewPriority>,
    ) -> Result<Changed, Refusal<Changing>> {
        let task_id = task_in_path(&task_id)?;
        let priority = body.content.0;
        let changing = self.0.reprioritise(caller.origin(), task_id, priority);
        let change = changing.await?;
        Ok(change.into())
    }

    /// Try a task again
    ///
    /// For a task that failed, timed out or was cancelled; any other is answered 409. It is queued under its own
    /// identifier and in its old place, its outcome is forgotten, its attempts go on counting, and it no longer expires.
    #[oai(
        path = "/orchestrator/tasks/:task_id/retry",
        method = "post",
        operation_id = "retry_task"
    )]
    async fn retry(
        &self,
        caller: Caller<Write>,
        /// The task: a UUID.
        task_id: Path<String>,
        body: JsonBody<RetryWish>,
    ) -> Result<Changed, Refusal<Changing>> {
        let task_id = task_in_path(&task_id)?;
        let attempts = body.content.attempts();
        let change = self.0.retry(caller.origin(), task_id, attempts).await?;
        Ok(change.into())
    }
}

#[cfg(test)]
#[path = "change_task_tests.rs"]
mod tests;
