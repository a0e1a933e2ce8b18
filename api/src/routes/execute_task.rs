//! `POST /orchestrator/execute-task`.

use std::sync::Arc;

use orchestrator_common::domain::Submission;
use poem_openapi::param::Header;
use poem_openapi::{ApiResponse, OpenApi};

use super::Tag;
use crate::auth::{Caller, Write};
use crate::body::JsonBody;
use crate::edge::Scope;
use crate::idempotency::IdempotencyKey;
use crate::problem::{Refusal, Submitting};
use crate::service::Service;
use crate::submitting::Submitted;
use crate::views::{Answer, Loose, TaskAccepted};

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
        let submitted = self.0.submit(&caller, &scope, body.content, &body.bytes);
        let Submitted {
            answer,
            location,
            applied,
        } = submitted.await?;
        let is_async = scope.0.preferences.respond_async && !answer.has_ended();
        Ok(if is_async {
            Executed::AcceptedAsync(Answer(answer), location, applied)
        } else {
            Executed::Accepted(Answer(answer), location, applied)
        })
    }
}

#[cfg(test)]
#[path = "execute_task_tests.rs"]
mod tests;
