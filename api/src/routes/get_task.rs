//! `GET /orchestrator/tasks/{task_id}`.

use std::sync::Arc;

use orchestrator_common::domain::TaskId;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

use super::Tag;
use crate::auth::{Caller, Read};
use crate::problem::{ApiError, Reading, Refusal};
use crate::service::Service;
use crate::views::{Answer, TaskView};

pub(super) struct GetTask(pub(super) Arc<Service>);

#[OpenApi(tag = "Tag::Tasks")]
impl GetTask {
    /// Get a task
    ///
    /// Where it stands, and its result or error once it has one.
    #[oai(
        path = "/orchestrator/tasks/:task_id",
        method = "get",
        operation_id = "get_task"
    )]
    async fn get(
        &self,
        _caller: Caller<Read>,
        /// The task: a UUID.
        task_id: Path<String>,
    ) -> Result<Answer<TaskView>, Refusal<Reading>> {
        // What is not a UUID is the name of no task.
        let no_such_task = || ApiError::NoSuchTask(task_id.0.clone());
        let known: TaskId = task_id.parse().map_err(|_| no_such_task())?;
        let found = self.0.tasks.read(known).await?;
        let (document, queue_position) = found.ok_or_else(no_such_task)?;
        Ok(Answer(TaskView::new(document, queue_position)))
    }
}
