//! `GET /orchestrator/tasks/{task_id}`.

use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::domain::Faults;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};
use poem_openapi::registry::MetaSchema;

use super::Tag;
use crate::auth::{Caller, Read};
use crate::preferences::MAX_WAIT;
use crate::problem::{ApiError, Reading, Refusal};
use crate::service::{Service, take};
use crate::task_changes::task_in_path;
use crate::views::{Answer, Loose, QueryValue, TaskView, WireSchema};

pub(super) struct GetTask(pub(super) Arc<Service>);

/// How long an answer is held back at most, in seconds.
pub(super) struct WaitSeconds(pub(super) u64);

impl WireSchema for WaitSeconds {
    fn schema() -> MetaSchema {
        MetaSchema {
            minimum: Some(0.0),
            maximum: Some(MAX_WAIT.as_secs_f64()),
            ..MetaSchema::new_with_format("integer", "uint32")
        }
    }
}

impl QueryValue for WaitSeconds {
    const ACCEPTS: &'static str = "must be a whole number of seconds from 0 to 60";

    fn read(text: &str) -> Option<Self> {
        let seconds = text.parse().ok()?;
        (seconds <= MAX_WAIT.as_secs()).then_some(Self(seconds))
    }
}

#[OpenApi(tag = "Tag::Tasks")]
impl GetTask {
    /// Get a task
    ///
    /// Where it stands, and its result or error once it has one. With `wait` the answer is held back until the task has
    /// an outcome or the time is over, whichever comes first. Once a task with a `callback_url` has its outcome, `callback`
    /// says how far telling it is, unless the ledger does not answer.
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
        /// Seconds to wait for the outcome.
        wait: Query<Option<Loose<WaitSeconds>>>,
    ) -> Result<Answer<TaskView>, Refusal<Reading>> {
        let known = task_in_path(&task_id)?;
        let mut faults = Faults::default();
        let wait = take("wait", wait.0, &mut faults);
        let wait = faults.none_or(wait)?;
        let found = match wait {
            Some(WaitSeconds(seconds)) if seconds > 0 => {
                let mut reader = self.0.readers.register(known);
                let patience = Duration::from_secs(seconds);
                self.0.outcome(known, &mut reader, patience).await?
            }
            // Boxed, here and below: else everybody who waits would keep room for it.
            Some(_) | None => Box::pin(self.0.tasks.read(known)).await?,
        };
        let no_such_task = || ApiError::NoSuchTask(task_id.0.clone());
        let (document, queue_position) = found.ok_or_else(no_such_task)?;
        let callback = Box::pin(self.0.tasks.callback(&document)).await;
        let view = TaskView::new(document, queue_position);
        Ok(Answer(view.with_callback(callback)))
    }
}
