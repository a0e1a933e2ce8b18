//! `GET /orchestrator/agents/{agent_id}/sessions` and `GET /orchestrator/sessions/{session_id}`.

use std::sync::Arc;

use orchestrator_common::domain::{Faults, SessionId, SessionOutcome, TaskId, Timestamp};
use orchestrator_common::ledger::SessionQuery;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};

use super::Tag;
use crate::auth::{Caller, Read};
use crate::problem::{ApiError, Reading, Refusal};
use crate::service::{Service, agent_in_path, patiently, take};
use crate::views::{Answer, ConversationView, Loose, PageSize, SessionCursor, SessionList};

pub(super) struct Sessions(pub(super) Arc<Service>);

#[OpenApi(tag = "Tag::Agents")]
impl Sessions {
    /// List the sessions of an agent
    ///
    /// A session is one attempt of a task. Those that run come first, the latest begun before the others; then those that
    /// have ended, the latest ended first.
    #[oai(
        path = "/orchestrator/agents/:agent_id/sessions",
        method = "get",
        operation_id = "list_agent_sessions"
    )]
    #[allow(
        clippy::too_many_arguments,
        reason = "one for each parameter of the query"
    )]
    async fn list(
        &self,
        _caller: Caller<Read>,
        /// The agent.
        agent_id: Path<String>,
        /// Only sessions that came to this.
        outcome: Query<Option<Loose<SessionOutcome>>>,
        /// Only sessions of this conversation.
        session_id: Query<Option<Loose<SessionId>>>,
        /// Only sessions of this task.
        task_id: Query<Option<Loose<TaskId>>>,
        /// Only sessions that began then or later, in RFC 3339.
        since: Query<Option<Loose<Timestamp>>>,
        /// At most this many.
        limit: Query<Option<Loose<PageSize<100>>>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Loose<SessionCursor>>>,
    ) -> Result<Answer<SessionList>, Refusal<Reading>> {
        let agent_id = agent_in_path(&agent_id)?;
        let mut faults = Faults::default();
        let query = SessionQuery {
            agent_id: agent_id.clone(),
            outcome: take("outcome", outcome.0, &mut faults),
            session_id: take("session_id", session_id.0, &mut faults),
            task_id: take("task_id", task_id.0, &mut faults),
            since: take("since", since.0, &mut faults),
            limit: take("limit", limit.0, &mut faults).unwrap_or_default().0,
            before: take("cursor", cursor.0, &mut faults).map(|cursor| cursor.0),
        };
        let query = faults.none_or(query)?;
        let agent = patiently(self.0.ledger.agent(&agent_id)).await?;
        agent.ok_or_else(|| ApiError::NoSuchAgent(agent_id.to_string()))?;
        let page = patiently(self.0.ledger.session_page(&query)).await?;
        Ok(Answer(SessionList::new(page, Timestamp::now())))
    }

    /// Get a conversation
    ///
    /// What the tasks came to that carry its `session_id`, whatever agents they are for. 404 while no task in the ledger
    /// carries it. The tasks themselves are at `GET /orchestrator/tasks?session_id=`.
    #[oai(
        path = "/orchestrator/sessions/:session_id",
        method = "get",
        operation_id = "get_conversation",
        tag = "Tag::Tasks"
    )]
    async fn conversation(
        &self,
        _caller: Caller<Read>,
        /// The conversation: the `session_id` of its tasks.
        session_id: Path<String>,
    ) -> Result<Answer<ConversationView>, Refusal<Reading>> {
        let unknown = || ApiError::NoSuchConversation(session_id.0.clone());
        let known = SessionId::parse(&session_id).ok_or_else(unknown)?;
        let timeout = self.0.settings.agents.session_timeout;
        let ledger = &self.0.ledger;
        let found = patiently(ledger.conversation(&known, timeout, Timestamp::now())).await?;
        Ok(Answer(found.ok_or_else(unknown)?.into()))
    }
}
