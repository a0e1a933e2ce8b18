//! `POST /orchestrator/tasks/batch`.

use std::sync::Arc;

use futures::future::join_all;
use orchestrator_common::domain::{
    AgentId, Faults, NewTask, Origin, Submission, SubmissionDefaults, TaskId, Timestamp,
};
use poem_openapi::OpenApi;
use poem_openapi::param::Header;
use serde_json::Value;

use super::Tag;
use crate::auth::{Caller, Write};
use crate::body::{JsonBody, TaskBatch};
use crate::edge::Scope;
use crate::idempotency::{self, IdempotencyKey};
use crate::problem::{ApiError, Problem, Refusal, Subject, Submitting};
use crate::service::Service;
use crate::submitting::task_named_by;
use crate::views::{Answer, BatchResult, BatchResults, Loose, TaskAccepted};

const PATH: &str = "/orchestrator/tasks/batch";

pub(super) struct ExecuteTasks(pub(super) Arc<Service>);

/// Who sends a batch, and under which name.
struct Sender<'a> {
    caller: &'a str,
    origin: Arc<Origin>,
    key: Option<&'a str>,
    traceparent: &'a str,
    now: Timestamp,
}

#[OpenApi(tag = "Tag::Tasks")]
impl ExecuteTasks {
    /// Submit many tasks
    ///
    /// Up to 1,000 tasks, each accepted or refused on its own: the answer is 200 and says for each which, in their order. An
    /// `Idempotency-Key` names them all, each together with its place.
    #[oai(
        path = "/orchestrator/tasks/batch",
        method = "post",
        operation_id = "execute_tasks"
    )]
    async fn execute(
        &self,
        caller: Caller<Write>,
        scope: Scope,
        /// Names the batch: 1 to 255 visible ASCII characters, the caller's own.
        #[oai(name = "Idempotency-Key")]
        _idempotency_key: Header<Option<Loose<IdempotencyKey>>>,
        body: JsonBody<TaskBatch>,
    ) -> Result<Answer<BatchResults>, Refusal<Submitting>> {
        let key = scope.0.idempotency_key.clone()?;
        let sender = Sender {
            caller: &caller.name,
            origin: Arc::new(caller.origin()),
            key: key.as_deref(),
            traceparent: &scope.0.traceparent,
            now: Timestamp::now(),
        };
        let tasks = body.content.0.into_iter().enumerate();
        // All at once, so that they share transactions and confirms.
        let submitting = tasks.map(|(place, task)| self.submit(&sender, place, task));
        let results = join_all(submitting).await.into_iter().enumerate();
        let results = results.map(|(place, result)| {
            BatchResult::from(result.map_err(|error| problem(error, place, &scope)))
        });
        Ok(Answer(results.collect::<Vec<_>>().into()))
    }
}

impl ExecuteTasks {
    async fn submit(
        &self,
        sender: &Sender<'_>,
        place: usize,
        task: Value,
    ) -> Result<TaskAccepted, ApiError> {
        let task = sender.task(place, task)?;
        let callbacks = &self.0.settings.callbacks;
        callbacks.accept(task.callback_url.as_ref())?;
        let agent_id: AgentId = task.agent_id.clone();
        self.0.admit(&agent_id).await?;
        let accepted = self.0.commands.execute(task).await?;
        Ok(TaskAccepted::new(&accepted, agent_id))
    }
}

impl Sender<'_> {
    /// The task at `place` of the batch.
    fn task(&self, place: usize, body: Value) -> Result<NewTask, Faults> {
        let is_named = self.key.is_some() || body.get("task_id").is_some();
        let fingerprint = is_named.then(|| idempotency::fingerprint_of(self.caller, &body));
        let submission = Submission::parse(body, SubmissionDefaults::default())?;
        let named = match self.key {
            // No key has a blank, so that no other batch and no single task has this name.
            Some(key) => {
                task_named_by(self.caller, Some(key), submission.task_id())?;
                let name = format!("{key} {place}");
                Some(TaskId::from_idempotency_key(self.caller, &name))
            }
            None => submission.task_id(),
        };
        let mut task = submission.into_task(named.unwrap_or_else(TaskId::generate), self.now);
        task.traceparent = Some(self.traceparent.to_owned());
        task.origin = Some(Arc::clone(&self.origin));
        task.fingerprint = fingerprint.filter(|_| named.is_some());
        Ok(task)
    }
}

/// Why the task at `place` was not accepted; its fields are named from the batch down.
fn problem(error: ApiError, place: usize, scope: &Scope) -> Problem {
    let error = match error {
        ApiError::Invalid(mut faults) => {
            for fault in &mut faults.0 {
                let field = format!("tasks.{place}.{}", fault.field);
                fault.field = field.trim_end_matches('.').to_owned();
            }
            ApiError::Invalid(faults)
        }
        other => other,
    };
    let subject = Subject {
        path: PATH,
        request_id: scope.0.request_id(),
        allow: None,
    };
    Problem::about(error, &subject)
}
