//! `POST /orchestrator/execute-task`.

use std::sync::Arc;

use orchestrator_common::domain::{Faults, Submission, TaskId, Timestamp};
use poem_openapi::param::Header;
use poem_openapi::{ApiResponse, OpenApi};

use super::Tag;
use crate::auth::{Caller, Write};
use crate::body::JsonBody;
use crate::edge::Scope;
use crate::idempotency::{self, IdempotencyKey};
use crate::problem::{Refusal, Submitting};
use crate::service::Service;
use crate::views::{Answer, Loose, TaskAccepted, TaskView, task_address};

pub(super) struct ExecuteTask(pub(super) Arc<Service>);

/// A task was accepted: it is in durable hands and is not lost.
#[derive(ApiResponse)]
enum Executed {
    /// The task is in durable hands.
    #[oai(status = 200)]
    Accepted(
        Answer<TaskAccepted>,
        /// Where to ask for the task.
        #[oai(header = "Location")]
        String,
        /// How long was waited at most, for callers who sent `Prefer: wait`.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
    /// The same, for callers who sent `Prefer: respond-async`, while the task has no outcome.
    #[oai(status = 202)]
    AcceptedAsync(
        Answer<TaskAccepted>,
        /// Where to ask for the task.
        #[oai(header = "Location")]
        String,
        /// `respond-async`, and how long was waited at most.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
}

#[OpenApi(tag = "Tag::Tasks")]
impl ExecuteTask {
    /// Submit a task
    ///
    /// Answers as soon as the task is in durable hands; ask `task_status_endpoint` for its outcome. With an
    /// `Idempotency-Key`, submitting the same again leads to the same task, and submitting something else to 409. With
    /// `Prefer: wait=N` the answer is held back until the task has an outcome or N seconds (at most 60) are over, and
    /// carries the task.
    #[oai(
        path = "/orchestrator/execute-task",
        method = "post",
        operation_id = "execute_task"
    )]
    async fn execute(
        &self,
        caller: Caller<Write>,
        scope: Scope,
        /// `respond-async` asks for status 202 instead of 200, `wait=N` for the outcome within N seconds.
        #[oai(name = "Prefer")]
        _prefer: Header<Option<String>>,
        /// Names the request: 1 to 255 visible ASCII characters, the caller's own.
        #[oai(name = "Idempotency-Key")]
        _idempotency_key: Header<Option<Loose<IdempotencyKey>>>,
        body: JsonBody<Submission>,
    ) -> Result<Executed, Refusal<Submitting>> {
        let submission = body.content;
        let agent_id = submission.agent_id().clone();
        let key = scope.0.idempotency_key.clone()?;
        let named = match &key {
            Some(key) => Some(task_named_by_key(&caller.name, key, &submission)?),
            None => submission.task_id(),
        };
        self.0
            .settings
            .callbacks
            .accept(submission.callback_url())?;
        self.0.admit(&agent_id).await?;

        let mut task =
            submission.into_task(named.unwrap_or_else(TaskId::generate), Timestamp::now());
        task.traceparent = Some(scope.0.traceparent.clone());
        task.origin = Some(Arc::new(caller.origin()));
        // A task whose name the caller chose may be asked for again.
        task.fingerprint = named.map(|_| idempotency::fingerprint(&caller.name, &body.bytes));
        let preferences = scope.0.preferences;
        // Before it is accepted, so that no signal is missed.
        let reader = preferences
            .wait
            .map(|_| self.0.readers.register(task.task_id));
        let accepted = self.0.commands.execute(task).await?;

        let mut answer = TaskAccepted::new(&accepted, agent_id);
        if let (Some(wait), Some(mut reader)) = (preferences.wait, reader) {
            // A task that cannot be read now is accepted all the same.
            let waited = self.0.outcome(accepted.task_id, &mut reader, wait).await;
            if let Ok(Some((document, queue_position))) = waited {
                answer = answer.waited(TaskView::new(document, queue_position));
            }
        }
        let (location, applied) = (task_address(accepted.task_id), preferences.applied());
        Ok(if preferences.respond_async && !answer.has_ended() {
            Executed::AcceptedAsync(Answer(answer), location, applied)
        } else {
            Executed::Accepted(Answer(answer), location, applied)
        })
    }
}

pub(super) fn task_named_by_key(
    caller: &str,
    key: &str,
    submission: &Submission,
) -> Result<TaskId, Faults> {
    if submission.task_id().is_some() {
        return Err(Faults::one(
            "task_id",
            "must not be given together with the header Idempotency-Key",
        ));
    }
    Ok(TaskId::from_idempotency_key(caller, key))
}

#[cfg(test)]
#[path = "execute_task_tests.rs"]
mod tests;
