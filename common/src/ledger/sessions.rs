//! The sessions of an agent, a page at a time: those that run, then those that ended, newest first.

use sea_orm::QueryResult;
use uuid::Uuid;

use super::conditions::Conditions;
use super::convert::{at, count, name, session_id};
use super::{Ledger, LedgerError};
use crate::domain::{
    AgentId, ErrorCode, SessionId, SessionOutcome, SessionRecord, TaskId, TaskStatus, Timestamp,
    Usage,
};

/// How many ended sessions one page looks at: with a filter that few pass, a page would else read them all.
const MAX_LOOKED_AT: u32 = 10_000;

const ENDED: &str = "task_id, claim, attempt, session_id, instance_id, worker_id, started_at, ended_at, outcome, \
     error_code, waited_micros, tokens_used, cost_estimate";

/// Which sessions to list.
#[derive(Clone, Debug)]
pub struct SessionQuery {
    /// Of which agent.
    pub agent_id: AgentId,
    /// Only those that came to this.
    pub outcome: Option<SessionOutcome>,
    /// Only those of this conversation.
    pub session_id: Option<SessionId>,
    /// Only those of this task.
    pub task_id: Option<TaskId>,
    /// Only those that began then or later.
    pub since: Option<Timestamp>,
    /// Only those behind this place.
    pub before: Option<SessionPlace>,
    /// At most this many.
    pub limit: u32,
}

/// A place in the order of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionPlace {
    /// Behind a session that runs: when it began, and its task.
    Running(Timestamp, TaskId),
    /// Behind a session that has ended: when, its task and its claim.
    Ended(Timestamp, TaskId, u32),
}

/// A page of sessions.
#[derive(Clone, Debug)]
pub struct SessionPage {
    /// The sessions: those that run by their beginning, then the others by their end, the latest first.
    pub sessions: Vec<SessionRecord>,
    /// Where the next page begins; `None` on the last one. A page may hold fewer sessions than its limit, or none, and
    /// not be the last: it looks at 10,000 ended sessions at most.
    pub next: Option<SessionPlace>,
}

impl Ledger {
    /// The sessions that `query` asks for. One that ends between two pages can be on both, and is on one at least.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn session_page(&self, query: &SessionQuery) -> Result<SessionPage, LedgerError> {
        let shown = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let may_run = query
            .outcome
            .is_none_or(|outcome| outcome == SessionOutcome::Running);
        let mut sessions = match query.before {
            None | Some(SessionPlace::Running(..)) if may_run => {
                self.running_sessions(query).await?
            }
            None | Some(SessionPlace::Running(..) | SessionPlace::Ended(..)) => Vec::new(),
        };
        if sessions.len() >= shown {
            sessions.truncate(shown);
            let next = sessions
                .last()
                .map(|last| SessionPlace::Running(last.started_at, last.task_id));
            return Ok(SessionPage { sessions, next });
        }
        if query.outcome == Some(SessionOutcome::Running) {
            return Ok(SessionPage {
                sessions,
                next: None,
            });
        }
        let room = shown - sessions.len();
        let (ended, next) = self.ended_sessions(query, room).await?;
        sessions.extend(ended);
        Ok(SessionPage { sessions, next })
    }

    /// The sessions under way. Those of all agents are read, of which there are never more than workers can run: so no
    /// database thinks of looking through all tasks of the agent instead.
    async fn running_sessions(
        &self,
        query: &SessionQuery,
    ) -> Result<Vec<SessionRecord>, LedgerError> {
        let mut wanted = Conditions::default();
        wanted.add("agent_id =", query.agent_id.as_str());
        if let Some(session_id) = &query.session_id {
            wanted.add("session_id =", session_id.as_str());
        }
        if let Some(task_id) = query.task_id {
            wanted.add("task_id =", task_id.uuid());
        }
        if let Some(since) = query.since {
            wanted.add("started_at >=", since.as_micros());
        }
        if let Some(SessionPlace::Running(started_at, task_id)) = query.before {
            let place = [started_at.as_micros().into(), task_id.uuid().into()];
            wanted.add_row("(started_at, task_id) <", place);
        }
        let columns = "task_id, claims, attempt, session_id, instance_id, worker_id, started_at, submitted_at, run_at";
        let sql = format!(
            "WITH running AS MATERIALIZED (SELECT agent_id, {columns} FROM tasks WHERE status = 'running') \
             SELECT {columns} FROM running {} ORDER BY started_at DESC, task_id DESC LIMIT {}",
            wanted.clause(),
            query.limit
        );
        let rows = self.within(|db| db.query(&sql, wanted.values())).await?;
        rows.iter()
            .map(|row| running(row, &query.agent_id))
            .collect()
    }

    /// Up to `room` sessions that have ended, and where the next page begins.
    async fn ended_sessions(
        &self,
        query: &SessionQuery,
        room: usize,
    ) -> Result<(Vec<SessionRecord>, Option<SessionPlace>), LedgerError> {
        let inside = ended_inside(query);
        let mut outside = inside.outside();
        if let Some(since) = query.since {
            outside.add("started_at >=", since.as_micros());
        }
        match query.outcome {
            Some(SessionOutcome::Retried) => {
                outside
                    .add_plain("outcome NOT IN ('completed', 'failed', 'timed_out', 'cancelled')");
            }
            Some(outcome) => outside.add("outcome =", outcome.as_str()),
            None => {}
        }
        let order = "ORDER BY ended_at DESC, task_id DESC, claim DESC";
        // One more than is shown tells whether there is a next page.
        let sql = format!(
            "SELECT {ENDED} FROM (SELECT {ENDED} FROM sessions {} {order} LIMIT {MAX_LOOKED_AT}) looked_at {} {order} \
             LIMIT {}",
            inside.clause(),
            outside.clause(),
            room + 1
        );
        let rows = self.within(|db| db.query(&sql, outside.values())).await?;
        let mut sessions: Vec<SessionRecord> = rows
            .iter()
            .map(|row| ended(row, &query.agent_id))
            .collect::<Result<_, _>>()?;
        let next = if sessions.len() > room {
            sessions.truncate(room);
            sessions.last().and_then(place)
        } else if outside.is_empty() {
            None
        } else {
            self.last_session_looked_at(&inside, order).await?
        };
        Ok((sessions, next))
    }

    /// The last session that a page looked at, when there are more behind it.
    async fn last_session_looked_at(
        &self,
        inside: &Conditions,
        order: &str,
    ) -> Result<Option<SessionPlace>, LedgerError> {
        let sql = format!(
            "SELECT ended_at, task_id, claim FROM sessions {} {order} LIMIT 1 OFFSET {}",
            inside.clause(),
            MAX_LOOKED_AT - 1
        );
        let rows = self.within(|db| db.query(&sql, inside.values())).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let ended_at = Timestamp::from_micros(row.try_get_by_index(0)?);
        let task_id = row.try_get_by_index::<Uuid>(1)?.into();
        let claim = count("claim", row.try_get_by_index::<i32>(2)?.into())?;
        Ok(Some(SessionPlace::Ended(ended_at, task_id, claim)))
    }
}

/// What an index finds of the ended sessions.
fn ended_inside(query: &SessionQuery) -> Conditions {
    let mut inside = Conditions::default();
    inside.add("agent_id =", query.agent_id.as_str());
    if let Some(session_id) = &query.session_id {
        inside.add("session_id =", session_id.as_str());
    }
    if let Some(task_id) = query.task_id {
        inside.add("task_id =", task_id.uuid());
    }
    if let Some(since) = query.since {
        // What began then ended later, too.
        inside.add("ended_at >=", since.as_micros());
    }
    if let Some(SessionPlace::Ended(ended_at, task_id, claim)) = query.before {
        let place = [
            ended_at.as_micros().into(),
            task_id.uuid().into(),
            super::convert::small(claim).into(),
        ];
        inside.add_row("(ended_at, task_id, claim) <", place);
    }
    inside
}

fn place(session: &SessionRecord) -> Option<SessionPlace> {
    let ended_at = session.ended_at?;
    Some(SessionPlace::Ended(
        ended_at,
        session.task_id,
        session.claim,
    ))
}

fn conversation(row: &QueryResult, column: usize) -> Result<Option<SessionId>, LedgerError> {
    let text: Option<String> = row.try_get_by_index(column)?;
    text.as_deref().map(session_id).transpose()
}

fn running(row: &QueryResult, agent_id: &AgentId) -> Result<SessionRecord, LedgerError> {
    let started_at = at(row.try_get_by_index(6)?)
        .ok_or_else(|| LedgerError::Corrupt("a running task has not started".into()))?;
    let claim: u32 = count("claims", row.try_get_by_index::<i32>(1)?.into())?;
    let submitted_at: i64 = row.try_get_by_index(7)?;
    let run_at: Option<i64> = row.try_get_by_index(8)?;
    let since = Timestamp::from_micros(submitted_at.max(run_at.unwrap_or(submitted_at)));
    Ok(SessionRecord {
        task_id: row.try_get_by_index::<Uuid>(0)?.into(),
        claim,
        attempt: count("attempt", row.try_get_by_index::<i32>(2)?.into())?,
        agent_id: agent_id.clone(),
        session_id: conversation(row, 3)?,
        instance_id: row.try_get_by_index::<Option<Uuid>>(4)?.map(Into::into),
        worker_id: row.try_get_by_index::<Option<Uuid>>(5)?.map(Into::into),
        started_at,
        ended_at: None,
        outcome: SessionOutcome::Running,
        error: None,
        waited: (claim == 1).then(|| started_at.since(since)),
        usage: Usage::default(),
    })
}

fn ended(row: &QueryResult, agent_id: &AgentId) -> Result<SessionRecord, LedgerError> {
    let written: String = row.try_get_by_index(8)?;
    // Of an attempt after which the task was to be tried again, this is the code of its error.
    let (outcome, code) = match written.parse::<TaskStatus>() {
        Ok(status) => (SessionOutcome::of(status), row.try_get_by_index(9)?),
        Err(()) => (SessionOutcome::Retried, Some(written)),
    };
    let error = code.map(|code: String| name::<ErrorCode>("error_code", &code));
    let waited = row.try_get_by_index::<Option<i64>>(10)?;
    let waited = waited.map(|micros| count("waited_micros", micros));
    let tokens = row.try_get_by_index::<Option<i64>>(11)?;
    Ok(SessionRecord {
        task_id: row.try_get_by_index::<Uuid>(0)?.into(),
        claim: count("claim", row.try_get_by_index::<i32>(1)?.into())?,
        attempt: count("attempt", row.try_get_by_index::<i32>(2)?.into())?,
        agent_id: agent_id.clone(),
        session_id: conversation(row, 3)?,
        instance_id: row.try_get_by_index::<Option<Uuid>>(4)?.map(Into::into),
        worker_id: Some(row.try_get_by_index::<Uuid>(5)?.into()),
        started_at: Timestamp::from_micros(row.try_get_by_index(6)?),
        ended_at: at(row.try_get_by_index(7)?),
        outcome,
        error: error.transpose()?,
        waited: waited.transpose()?.map(std::time::Duration::from_micros),
        usage: Usage {
            tokens_used: tokens
                .map(|tokens| count("tokens_used", tokens))
                .transpose()?,
            cost_estimate: row.try_get_by_index(12)?,
        },
    })
}
