//! `GET /orchestrator/audit`.

use std::sync::Arc;

use orchestrator_common::domain::{AuditOutcome, Faults, Timestamp};
use orchestrator_common::ledger::AuditQuery;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;

use super::Tag;
use crate::auth::{Administer, Caller};
use crate::problem::{Reading, Refusal};
use crate::service::{Service, patiently, take, take_text};
use crate::views::{Answer, AuditCursor, AuditList, Loose, PageSize};

pub(super) struct Audit(pub(super) Arc<Service>);

#[OpenApi(tag = "Tag::Operations")]
impl Audit {
    /// Read the audit log
    ///
    /// Newest first: accepted tasks; changes to agents, tasks and dead letters, over HTTP and over the broker; what workers
    /// did by themselves; each written in the transaction of the change; and requests and messages that were refused.
    #[oai(
        path = "/orchestrator/audit",
        method = "get",
        operation_id = "read_audit"
    )]
    #[allow(
        clippy::too_many_arguments,
        reason = "one for each parameter of the query"
    )]
    async fn read(
        &self,
        _caller: Caller<Administer>,
        /// Only what this one did.
        actor: Query<Option<String>>,
        /// Only this action.
        action: Query<Option<String>>,
        /// Only what concerns this agent, task, dead letter or path.
        resource: Query<Option<String>>,
        /// Only what came to this.
        outcome: Query<Option<Loose<AuditOutcome>>>,
        /// Only what happened then or later, in RFC 3339.
        since: Query<Option<Loose<Timestamp>>>,
        /// At most this many.
        limit: Query<Option<Loose<PageSize<100>>>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Loose<AuditCursor>>>,
    ) -> Result<Answer<AuditList>, Refusal<Reading>> {
        let mut faults = Faults::default();
        let query = AuditQuery {
            outcome: take("outcome", outcome.0, &mut faults),
            since: take("since", since.0, &mut faults),
            limit: take("limit", limit.0, &mut faults).unwrap_or_default().0,
            before: take("cursor", cursor.0, &mut faults).map(|cursor| cursor.0),
            actor: take_text("actor", actor.0, &mut faults),
            action: take_text("action", action.0, &mut faults),
            resource: take_text("resource", resource.0, &mut faults),
        };
        let query = faults.none_or(query)?;
        let page = patiently(self.0.ledger.audit_page(&query)).await?;
        Ok(Answer(page.into()))
    }
}
