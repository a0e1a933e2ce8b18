//! `POST /orchestrator/execute-task-intelligent`.

use std::sync::Arc;

use orchestrator_common::domain::{AgentId, NobodyFits, OpenSubmission, Timestamp, Wanted};
use poem_openapi::param::Header;
use poem_openapi::{ApiResponse, OpenApi};

use super::Tag;
use crate::auth::{Caller, Write};
use crate::body::JsonBody;
use crate::edge::Scope;
use crate::idempotency::IdempotencyKey;
use crate::problem::{ApiError, Refusal, Submitting};
use crate::service::Service;
use crate::submitting::{Submitted, task_named_by};
use crate::views::{Answer, Loose, SelectionView, TaskAssigned};

pub(super) struct ExecuteIntelligent(pub(super) Arc<Service>);

/// A task was accepted for an agent that was chosen.
#[derive(ApiResponse)]
enum Assigned {
    /// The task is in durable hands.
    #[oai(status = 200)]
    Accepted(
        Answer<TaskAssigned>,
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
        Answer<TaskAssigned>,
        /// Where to ask for the task.
        #[oai(header = "Location")]
        String,
        /// `respond-async`, and how long was waited at most.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
}

#[OpenApi(tag = "Tag::Tasks")]
impl ExecuteIntelligent {
    /// Submit a task and have its agent chosen
    ///
    /// As `POST /orchestrator/execute-task` without `agent_id`. The agent is one of the `domain`, if there is one, that
    /// declares the `task_type` (in `task_types` or `capabilities` of its registration) or has completed tasks of it, or
    /// that declares nothing and works in the `domain`; of those the one that does it best, is healthiest and has least to
    /// do. `selection` says which, and why. 422 when no registered agent can do it, 409 when those that can take no tasks
    /// now (they are paused, stopped, or could not be started), 503 when as many tasks wait for them as may, or when the
    /// ledger does not answer and nobody asked for the same within ten minutes. The same request under the same
    /// `Idempotency-Key` leads to the same task and agent.
    #[oai(
        path = "/orchestrator/execute-task-intelligent",
        method = "post",
        operation_id = "execute_task_intelligent"
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
        body: JsonBody<OpenSubmission>,
    ) -> Result<Assigned, Refusal<Submitting>> {
        let (agent_id, selection) = self.select(&caller.name, &scope, &body.content).await?;
        let submission = body.content.for_agent(agent_id);
        let submitted = self
            .0
            .submit(&caller, &scope, submission, &body.bytes)
            .await?;
        let Submitted {
            answer: accepted,
            location,
            applied,
        } = submitted;
        let is_async = scope.0.preferences.respond_async && !accepted.has_ended();
        let answer = Answer(TaskAssigned {
            accepted,
            selection,
        });
        Ok(if is_async {
            Assigned::AcceptedAsync(answer, location, applied)
        } else {
            Assigned::Accepted(answer, location, applied)
        })
    }
}

impl ExecuteIntelligent {
    /// The agent of the task: that of an earlier request under the same name, else the one that fits best.
    async fn select(
        &self,
        caller: &str,
        scope: &Scope,
        submission: &OpenSubmission,
    ) -> Result<(AgentId, SelectionView), ApiError> {
        let key = scope.0.idempotency_key.clone()?;
        let named = task_named_by(caller, key.as_deref(), submission.task_id())?;
        if let Some(task_id) = named
            && let Ok(Some((document, _))) = self.0.tasks.read(task_id).await
        {
            let agent_id = document.agent_id;
            let selection = SelectionView::made_before(agent_id.to_string());
            return Ok((agent_id, selection));
        }
        let (domain, task_type) = (submission.domain(), submission.task_type());
        let candidates = self.0.catalogue.candidates(domain, task_type).await?;
        let agents = &self.0.settings.agents;
        let wanted = Wanted {
            task_type,
            domain,
            max_queue_depth: agents.max_queue_depth,
            auto_start: agents.auto_start,
            now: Timestamp::now(),
        };
        let choice = candidates.choose(&wanted)?;
        let Some(best) = choice.ranked.first() else {
            return Err(NobodyFits::Full { able: 0 }.into());
        };
        let agent_id = best.agent_id.clone();
        let selection = SelectionView::made(agent_id.to_string(), choice);
        Ok((agent_id, selection))
    }
}

#[cfg(test)]
#[path = "execute_intelligent_tests.rs"]
mod tests;
