//! `GET /orchestrator/agents`.

use std::sync::Arc;

use orchestrator_common::domain::{AgentId, AgentStatus, Faults};
use orchestrator_common::ledger::AgentQuery;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;

use super::Tag;
use crate::auth::{Caller, Read};
use crate::problem::{Reading, Refusal};
use crate::service::{Service, patiently, take, take_text};
use crate::views::{AgentList, Answer, Loose, PageSize, Wire};

pub(super) struct ListAgents(pub(super) Arc<Service>);

#[OpenApi(tag = "Tag::Agents")]
impl ListAgents {
    /// List agents
    ///
    /// In the order of their identifiers, without their `brain_config`.
    #[oai(
        path = "/orchestrator/agents",
        method = "get",
        operation_id = "list_agents"
    )]
    async fn list(
        &self,
        _caller: Caller<Read>,
        /// Only agents of this domain.
        domain: Query<Option<String>>,
        /// Only agents observed to be this.
        status: Query<Option<Loose<AgentStatus>>>,
        /// At most this many.
        limit: Query<Option<Loose<PageSize<1_000>>>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Loose<AgentId>>>,
    ) -> Result<Answer<AgentList>, Refusal<Reading>> {
        let mut faults = Faults::default();
        let status = take("status", status.0, &mut faults);
        let PageSize(limit) = take("limit", limit.0, &mut faults).unwrap_or_default();
        let query = AgentQuery {
            status,
            after: take("cursor", cursor.0, &mut faults),
            domain: take_text("domain", domain.0, &mut faults),
            // One more than is shown tells whether there is a next page.
            limit: limit + 1,
        };
        let query = faults.none_or(query)?;
        let mut records = patiently(self.0.ledger.agents(&query)).await?;
        let shown = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = records.len() > shown;
        records.truncate(shown);
        let next_cursor = records
            .last()
            .filter(|_| has_more)
            .map(|last| Wire(last.agent_id.clone()));
        let agents: Vec<_> = records
            .into_iter()
            .map(|record| self.0.view(record))
            .collect();
        Ok(Answer(AgentList {
            count: agents.len(),
            agents,
            next_cursor,
        }))
    }
}
