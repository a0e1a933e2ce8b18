//! Submitting one task: named, admitted, handed on, and waited for as its caller prefers.

use std::sync::Arc;

use orchestrator_common::domain::{Faults, Submission, TaskId, Timestamp};

use crate::auth::{Caller, Write};
use crate::edge::Scope;
use crate::idempotency;
use crate::problem::ApiError;
use crate::service::Service;
use crate::views::{TaskAccepted, TaskView, task_address};

/// A task that was submitted.
pub(crate) struct Submitted {
    pub(crate) answer: TaskAccepted,
    /// Where to ask for it.
    pub(crate) location: String,
    /// Which of the caller's preferences were applied.
    pub(crate) applied: Option<String>,
}

impl Service {
    /// Submits the task of `caller` that was asked for with `bytes`.
    pub(crate) async fn submit(
        &self,
        caller: &Caller<Write>,
        scope: &Scope,
        submission: Submission,
        bytes: &[u8],
    ) -> Result<Submitted, ApiError> {
        let agent_id = submission.agent_id().clone();
        let key = scope.0.idempotency_key.clone()?;
        let named = task_named_by(&caller.name, key.as_deref(), submission.task_id())?;
        self.settings.callbacks.accept(submission.callback_url())?;
        self.admit(&agent_id).await?;

        let mut task =
            submission.into_task(named.unwrap_or_else(TaskId::generate), Timestamp::now());
        task.traceparent = Some(scope.0.traceparent.clone());
        task.origin = Some(Arc::new(caller.origin()));
        // A task whose name the caller chose may be asked for again.
        task.fingerprint = named.map(|_| idempotency::fingerprint(&caller.name, bytes));
        let preferences = scope.0.preferences;
        // Before it is accepted, so that no signal is missed.
        let reader = preferences
            .wait
            .map(|_| self.readers.register(task.task_id));
        let accepted = self.commands.execute(task).await?;

        let mut answer = TaskAccepted::new(&accepted, agent_id);
        if let (Some(wait), Some(mut reader)) = (preferences.wait, reader) {
            // A task that cannot be read now is accepted all the same.
            let waited = self.outcome(accepted.task_id, &mut reader, wait).await;
            if let Ok(Some((document, queue_position))) = waited {
                answer = answer.waited(TaskView::new(document, queue_position));
            }
        }
        Ok(Submitted {
            answer,
            location: task_address(accepted.task_id),
            applied: preferences.applied(),
        })
    }
}

/// The identifier that the caller chose for a task: by a key of the request, or in the body, `in_body`.
pub(crate) fn task_named_by(
    caller: &str,
    key: Option<&str>,
    in_body: Option<TaskId>,
) -> Result<Option<TaskId>, Faults> {
    match (key, in_body) {
        (Some(_), Some(_)) => Err(Faults::one(
            "task_id",
            "must not be given together with the header Idempotency-Key",
        )),
        (Some(key), None) => Ok(Some(TaskId::from_idempotency_key(caller, key))),
        (None, in_body) => Ok(in_body),
    }
}
