//! Listing tasks, newest first, a page at a time.

use sea_orm::QueryResult;
use uuid::Uuid;

use super::conditions::Conditions;
use super::convert::{agent_id, at, count, name, session_id};
use super::{Ledger, LedgerError};
use crate::domain::{
    AgentId, ErrorCode, Priority, SessionId, TaskDocument, TaskError, TaskId, TaskStatus, Timestamp,
};

/// How many tasks one page looks at: with a filter that few tasks pass, a page would else read them all.
const MAX_LOOKED_AT: u32 = 10_000;

/// A place between two tasks in their order: by time of submission, then by identifier.
pub type TaskPlace = (Timestamp, TaskId);

/// Which tasks to list.
#[derive(Clone, Debug, Default)]
pub struct TaskQuery {
    /// Only tasks of this agent.
    pub agent_id: Option<AgentId>,
    /// Only tasks that stand here.
    pub status: Option<TaskStatus>,
    /// Only tasks of this type.
    pub task_type: Option<String>,
    /// Only tasks of this conversation.
    pub session_id: Option<SessionId>,
    /// Only tasks that were submitted then or later.
    pub since: Option<Timestamp>,
    /// Only tasks older than this one.
    pub before: Option<TaskPlace>,
    /// At most this many.
    pub limit: u32,
}

/// A page of tasks.
#[derive(Clone, Debug)]
pub struct TaskPage {
    /// The tasks, newest first, without their results.
    pub tasks: Vec<TaskDocument>,
    /// Where the next page begins; `None` on the last one. A page may hold fewer tasks than its limit, or none, and not be
    /// the last: it looks at 10,000 tasks at most.
    pub next: Option<TaskPlace>,
}

const COLUMNS: &str = "task_id, agent_id, task_type, status, priority, attempt, submitted_at, started_at, \
     completed_at, error_code, error_message, tokens_used, cost_estimate, session_id";

impl Ledger {
    /// The tasks that `query` asks for.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn task_page(&self, query: &TaskQuery) -> Result<TaskPage, LedgerError> {
        // What an index finds goes inside, the rest outside: only so much is looked at.
        let mut inside = Conditions::default();
        if let Some(agent_id) = &query.agent_id {
            inside.add("agent_id =", agent_id.as_str());
        }
        if let Some(session_id) = &query.session_id {
            inside.add("session_id =", session_id.as_str());
        }
        if let Some(since) = query.since {
            inside.add("submitted_at >=", since.as_micros());
        }
        if let Some((submitted_at, task_id)) = query.before {
            let place = [submitted_at.as_micros().into(), task_id.uuid().into()];
            inside.add_row("(submitted_at, task_id) <", place);
        }
        let order = "ORDER BY submitted_at DESC, task_id DESC";
        let looked_at = format!(
            "SELECT {COLUMNS} FROM tasks {} {order} LIMIT {MAX_LOOKED_AT}",
            inside.clause()
        );
        let mut outside = inside.outside();
        if let Some(status) = query.status {
            outside.add("status =", status.as_str());
        }
        if let Some(task_type) = &query.task_type {
            outside.add("task_type =", task_type.as_str());
        }
        // One more than is shown tells whether there is a next page.
        let sql = format!(
            "SELECT {COLUMNS} FROM ({looked_at}) looked_at {} {order} LIMIT {}",
            outside.clause(),
            query.limit.saturating_add(1)
        );
        let rows = self.within(|db| db.query(&sql, outside.values())).await?;
        let mut tasks: Vec<TaskDocument> = rows.iter().map(document).collect::<Result<_, _>>()?;
        let shown = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let next = if tasks.len() > shown {
            tasks.truncate(shown);
            tasks.last().map(|task| (task.submitted_at, task.task_id))
        } else if outside.is_empty() {
            None
        } else {
            self.last_looked_at(&inside, order).await?
        };
        Ok(TaskPage { tasks, next })
    }

    /// The last task that a page looked at, when there are more behind it.
    async fn last_looked_at(
        &self,
        inside: &Conditions,
        order: &str,
    ) -> Result<Option<TaskPlace>, LedgerError> {
        let sql = format!(
            "SELECT submitted_at, task_id FROM tasks {} {order} LIMIT 1 OFFSET {}",
            inside.clause(),
            MAX_LOOKED_AT - 1
        );
        let rows = self.within(|db| db.query(&sql, inside.values())).await?;
        rows.first().map(|row| place(row, 0, 1)).transpose()
    }
}

fn place(row: &QueryResult, time: usize, id: usize) -> Result<TaskPlace, LedgerError> {
    let submitted_at = Timestamp::from_micros(row.try_get_by_index(time)?);
    Ok((submitted_at, row.try_get_by_index::<Uuid>(id)?.into()))
}

fn document(row: &QueryResult) -> Result<TaskDocument, LedgerError> {
    let (submitted_at, task_id) = place(row, 6, 0)?;
    let priority: u32 = count("priority", row.try_get_by_index::<i32>(4)?.into())?;
    let (started_at, completed_at) = (at(row.try_get_by_index(7)?), at(row.try_get_by_index(8)?));
    let duration = completed_at.zip(started_at);
    let error = row
        .try_get_by_index::<Option<String>>(9)?
        .map(|code| -> Result<_, LedgerError> {
            let message: Option<String> = row.try_get_by_index(10)?;
            Ok(TaskError {
                code: name::<ErrorCode>("error_code", &code)?,
                message: message.unwrap_or_default(),
            })
        });
    let tokens_used = row.try_get_by_index::<Option<i64>>(11)?;
    Ok(TaskDocument {
        task_id,
        agent_id: agent_id(&row.try_get_by_index::<String>(1)?)?,
        task_type: row.try_get_by_index(2)?,
        session_id: row
            .try_get_by_index::<Option<String>>(13)?
            .as_deref()
            .map(session_id)
            .transpose()?,
        status: name("status", &row.try_get_by_index::<String>(3)?)?,
        priority: Priority::new(priority)
            .ok_or_else(|| LedgerError::Corrupt(format!("priority is {priority}")))?,
        attempt: count("attempt", row.try_get_by_index::<i32>(5)?.into())?,
        submitted_at,
        started_at,
        completed_at,
        duration_seconds: duration.map(|(end, start)| end.since(start).as_secs_f64()),
        result: None,
        error: error.transpose()?,
        tokens_used: tokens_used
            .map(|tokens| count("tokens_used", tokens))
            .transpose()?,
        cost_estimate: row.try_get_by_index(12)?,
        calls_back: false,
    })
}
