//! `GET /orchestrator/tasks/{task_id}`.

use std::sync::Arc;

use poem_openapi::OpenApi;
use poem_openapi::param::Path;

use super::Tag;
use crate::auth::{Caller, Read};
use crate::problem::{ApiError, Reading, Refusal};
use crate::service::Service;
use crate::task_changes::task_in_path;
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
        let known = task_in_path(&task_id)?;
        let found = self.0.tasks.read(known).await?;
        let no_such_task = || ApiError::NoSuchTask(task_id.0.clone());
        let (document, queue_position) = found.ok_or_else(no_such_task)?;
        Ok(Answer(TaskView::new(document, queue_position)))
    }
}
