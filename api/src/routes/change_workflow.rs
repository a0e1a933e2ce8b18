//! `DELETE /orchestrator/workflows/{run_id}`, and `POST …/resume` and `…/steps/{step_id}/approve`.

use std::sync::Arc;

use orchestrator_common::domain::workflow::Decision;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

use super::Tag;
use crate::auth::{Caller, Write};
use crate::body::JsonBody;
use crate::problem::{Cancelling, Changing, Refusal};
use crate::service::Service;
use crate::views::{Answer, RunChanged};
use crate::workflows::run_in_path;

pub(super) struct ChangeWorkflow(pub(super) Arc<Service>);

#[OpenApi(tag = "Tag::Workflows")]
impl ChangeWorkflow {
    /// Cancel a workflow
    ///
    /// Nothing more of it is started, and its tasks are cancelled; it is `cancelled` once none of them runs. One that is
    /// being cancelled or was cancelled before stays so; one that ended otherwise is answered 409.
    #[oai(
        path = "/orchestrator/workflows/:run_id",
        method = "delete",
        operation_id = "cancel_workflow"
    )]
    async fn cancel(
        &self,
        caller: Caller<Write>,
        /// The run: a UUID.
        run_id: Path<String>,
    ) -> Result<Answer<RunChanged>, Refusal<Cancelling>> {
        let run_id = run_in_path(&run_id)?;
        Ok(Answer(self.0.cancel_run(caller.origin(), run_id).await?))
    }

    /// Resume a workflow
    ///
    /// For one that failed; any other is answered 409. What completed is kept, and what failed is done anew, with new tasks
    /// and, where somebody is to approve, a new question. Of a fan-out only the tasks without a result are made anew.
    #[oai(
        path = "/orchestrator/workflows/:run_id/resume",
        method = "post",
        operation_id = "resume_workflow"
    )]
    async fn resume(
        &self,
        caller: Caller<Write>,
        /// The run: a UUID.
        run_id: Path<String>,
    ) -> Result<Answer<RunChanged>, Refusal<Cancelling>> {
        let run_id = run_in_path(&run_id)?;
        Ok(Answer(self.0.resume_run(caller.origin(), run_id).await?))
    }

    /// Approve or reject a step
    ///
    /// Once: a step that waits for no decision is answered 409. The decision is about what `hash` belongs to, which is read
    /// with the workflow: when something else is to be approved by now, it is answered 409, too. Rejecting fails the step.
    #[oai(
        path = "/orchestrator/workflows/:run_id/steps/:step_id/approve",
        method = "post",
        operation_id = "approve_step"
    )]
    async fn approve(
        &self,
        caller: Caller<Write>,
        /// The run: a UUID.
        run_id: Path<String>,
        /// The step: its name.
        step_id: Path<String>,
        body: JsonBody<Decision>,
    ) -> Result<Answer<RunChanged>, Refusal<Changing>> {
        let run_id = run_in_path(&run_id)?;
        let deciding = self
            .0
            .decide_step(caller.origin(), run_id, &step_id, &body.content);
        Ok(Answer(deciding.await?))
    }
}
