//! `POST` and `GET /orchestrator/workflows`, `GET /orchestrator/workflows/{run_id}`.

use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::domain::Faults;
use orchestrator_common::domain::workflow::{DefinitionName, RunRequest, RunStatus};
use orchestrator_common::ledger::RunQuery;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::{ApiResponse, OpenApi};

use super::Tag;
use super::get_task::WaitSeconds;
use crate::auth::{Caller, Read, Write};
use crate::body::JsonBody;
use crate::edge::Scope;
use crate::idempotency::{self, IdempotencyKey};
use crate::problem::{Reading, Refusal, Submitting};
use crate::service::{Service, patiently, take};
use crate::views::{
    Answer, Loose, PageSize, RunAccepted, RunCursor, RunList, RunView, run_address,
};
use crate::workflows::{Asked, run_in_path};

pub(super) struct Workflows(pub(super) Arc<Service>);

/// A workflow was accepted: it is in durable hands and is not lost.
#[derive(ApiResponse)]
enum Started {
    /// The workflow is in durable hands.
    #[oai(status = 200)]
    Accepted(
        Answer<RunAccepted>,
        /// Where to ask for the workflow.
        #[oai(header = "Location")]
        String,
    ),
}

#[OpenApi(tag = "Tag::Workflows")]
impl Workflows {
    /// Start a workflow
    ///
    /// From the `steps` in the body, or from the stored definition that `name` names. Everything that is wrong with it is
    /// said at once, each fault with its place, such as `steps[2].depends_on[0]`. With an `Idempotency-Key` or a `run_id`,
    /// starting the same again leads to the same run, and something else under the same name to 409.
    #[oai(
        path = "/orchestrator/workflows",
        method = "post",
        operation_id = "start_workflow"
    )]
    async fn start(
        &self,
        caller: Caller<Write>,
        scope: Scope,
        /// Names the request: 1 to 255 visible ASCII characters, the caller's own.
        #[oai(name = "Idempotency-Key")]
        _idempotency_key: Header<Option<Loose<IdempotencyKey>>>,
        body: JsonBody<RunRequest>,
    ) -> Result<Started, Refusal<Submitting>> {
        let asked = Asked {
            key: scope.0.idempotency_key.clone()?,
            fingerprint: idempotency::fingerprint(&caller.name, &body.bytes),
            traceparent: scope.0.traceparent.clone(),
            origin: caller.origin(),
            body: body.bytes,
        };
        let (run_id, status) = self.0.start_run(body.content, asked).await?;
        let answer = Answer(RunAccepted::new(run_id, status));
        Ok(Started::Accepted(answer, run_address(run_id)))
    }

    /// List workflows
    ///
    /// Newest first, without their steps.
    #[oai(
        path = "/orchestrator/workflows",
        method = "get",
        operation_id = "list_workflows"
    )]
    async fn list(
        &self,
        _caller: Caller<Read>,
        /// Only runs that stand here.
        status: Query<Option<Loose<RunStatus>>>,
        /// Only runs of this stored definition.
        name: Query<Option<Loose<DefinitionName>>>,
        /// At most this many.
        limit: Query<Option<Loose<PageSize<100>>>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Loose<RunCursor>>>,
    ) -> Result<Answer<RunList>, Refusal<Reading>> {
        let mut faults = Faults::default();
        let query = RunQuery {
            status: take("status", status.0, &mut faults),
            name: take("name", name.0, &mut faults),
            limit: take("limit", limit.0, &mut faults).unwrap_or_default().0,
            before: take("cursor", cursor.0, &mut faults).map(|cursor| cursor.0),
        };
        let query = faults.none_or(query)?;
        let page = patiently(self.0.ledger.run_page(&query)).await?;
        Ok(Answer(page.into()))
    }

    /// Get a workflow
    ///
    /// Where it and each of its steps stand, with their tasks, results and errors, and what is to be approved. With `wait`
    /// the answer is held back until the workflow has ended or the time is over, whichever comes first.
    #[oai(
        path = "/orchestrator/workflows/:run_id",
        method = "get",
        operation_id = "get_workflow"
    )]
    async fn get(
        &self,
        _caller: Caller<Read>,
        /// The run: a UUID.
        run_id: Path<String>,
        /// Seconds to wait for the end.
        wait: Query<Option<Loose<WaitSeconds>>>,
    ) -> Result<Answer<RunView>, Refusal<Reading>> {
        let run_id = run_in_path(&run_id)?;
        let mut faults = Faults::default();
        let wait = take("wait", wait.0, &mut faults);
        let wait = faults.none_or(wait)?;
        let patience = wait.map_or(Duration::ZERO, |WaitSeconds(seconds)| {
            Duration::from_secs(seconds)
        });
        Ok(Answer(self.0.read_run(run_id, patience).await?))
    }
}
