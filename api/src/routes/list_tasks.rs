//! `GET /orchestrator/tasks`, and `GET /orchestrator/agents/{agent_id}/tasks` for one agent.

use std::sync::Arc;

use orchestrator_common::domain::{AgentId, Faults, SessionId, TaskStatus, Timestamp};
use orchestrator_common::ledger::TaskQuery;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};

use super::Tag;
use crate::auth::{Caller, Read};
use crate::problem::{ApiError, Reading, Refusal};
use crate::service::{Service, agent_in_path, patiently, take, take_text};
use crate::views::{Answer, Loose, PageSize, TaskCursor, TaskList};

type Listed = Result<Answer<TaskList>, Refusal<Reading>>;

pub(super) struct ListTasks(pub(super) Arc<Service>);

/// What was asked for, not yet looked at.
struct Asked {
    agent_id: Option<Loose<AgentId>>,
    status: Option<Loose<TaskStatus>>,
    task_type: Option<String>,
    session_id: Option<Loose<SessionId>>,
    since: Option<Loose<Timestamp>>,
    limit: Option<Loose<PageSize<100>>>,
    cursor: Option<Loose<TaskCursor>>,
}

impl Asked {
    fn read(self) -> Result<TaskQuery, Faults> {
        let mut faults = Faults::default();
        let query = TaskQuery {
            agent_id: take("agent_id", self.agent_id, &mut faults),
            status: take("status", self.status, &mut faults),
            session_id: take("session_id", self.session_id, &mut faults),
            since: take("since", self.since, &mut faults),
            limit: take("limit", self.limit, &mut faults).unwrap_or_default().0,
            before: take("cursor", self.cursor, &mut faults).map(|cursor| cursor.0),
            task_type: take_text("task_type", self.task_type, &mut faults),
        };
        faults.none_or(query)
    }
}

#[OpenApi(tag = "Tag::Tasks")]
impl ListTasks {
    /// List tasks
    ///
    /// Newest first, without their results. A task that was just accepted appears as soon as a worker has taken it in.
    #[oai(
        path = "/orchestrator/tasks",
        method = "get",
        operation_id = "list_tasks"
    )]
    #[allow(
        clippy::too_many_arguments,
        reason = "one for each parameter of the query"
    )]
    async fn list(
        &self,
        _caller: Caller<Read>,
        /// Only tasks of this agent.
        agent_id: Query<Option<Loose<AgentId>>>,
        /// Only tasks that stand here.
        status: Query<Option<Loose<TaskStatus>>>,
        /// Only tasks of this type.
        task_type: Query<Option<String>>,
        /// Only tasks of this conversation.
        session_id: Query<Option<Loose<SessionId>>>,
        /// Only tasks that were submitted then or later, in RFC 3339.
        since: Query<Option<Loose<Timestamp>>>,
        /// At most this many.
        limit: Query<Option<Loose<PageSize<100>>>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Loose<TaskCursor>>>,
    ) -> Listed {
        let asked = Asked {
            agent_id: agent_id.0,
            status: status.0,
            task_type: task_type.0,
            session_id: session_id.0,
            since: since.0,
            limit: limit.0,
            cursor: cursor.0,
        };
        self.page(asked.read()?).await
    }

    /// List the tasks of an agent
    ///
    /// As `GET /orchestrator/tasks` with `agent_id`; 404 when it is not registered.
    #[oai(
        path = "/orchestrator/agents/:agent_id/tasks",
        method = "get",
        operation_id = "list_agent_tasks"
    )]
    #[allow(
        clippy::too_many_arguments,
        reason = "one for each parameter of the query"
    )]
    async fn list_of_agent(
        &self,
        _caller: Caller<Read>,
        /// The agent.
        agent_id: Path<String>,
        /// Only tasks that stand here.
        status: Query<Option<Loose<TaskStatus>>>,
        /// Only tasks of this type.
        task_type: Query<Option<String>>,
        /// Only tasks of this conversation.
        session_id: Query<Option<Loose<SessionId>>>,
        /// Only tasks that were submitted then or later, in RFC 3339.
        since: Query<Option<Loose<Timestamp>>>,
        /// At most this many.
        limit: Query<Option<Loose<PageSize<100>>>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Loose<TaskCursor>>>,
    ) -> Listed {
        let agent_id = agent_in_path(&agent_id)?;
        let asked = Asked {
            agent_id: Some(Loose(Some(agent_id.clone()))),
            status: status.0,
            task_type: task_type.0,
            session_id: session_id.0,
            since: since.0,
            limit: limit.0,
            cursor: cursor.0,
        };
        let query = asked.read()?;
        let agent = patiently(self.0.ledger.agent(&agent_id)).await?;
        agent.ok_or_else(|| ApiError::NoSuchAgent(agent_id.to_string()))?;
        self.page(query).await
    }
}

impl ListTasks {
    async fn page(&self, query: TaskQuery) -> Listed {
        let page = patiently(self.0.ledger.task_page(&query)).await?;
        Ok(Answer(page.into()))
    }
}
