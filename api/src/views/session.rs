//! Sessions and conversations as callers see them.

use std::fmt;

use orchestrator_common::domain::{
    Conversation, ConversationState, ErrorCode, InstanceId, SessionOutcome, SessionRecord, TaskId,
    Timestamp, WorkerId,
};
use orchestrator_common::ledger::{SessionPage, SessionPlace};
use poem_openapi::Object;
use poem_openapi::registry::MetaSchema;
use poem_openapi::types::Example;
use serde::Serialize;

use super::cluster::Counts;
use super::wire::named;
use super::{QueryValue, Wire, WireSchema};

impl WireSchema for SessionOutcome {
    fn schema() -> MetaSchema {
        named(Self::ALL.iter().map(|outcome| outcome.as_str()))
    }
}

impl QueryValue for SessionOutcome {
    const ACCEPTS: &'static str =
        "must be one of running, completed, failed, timed_out, cancelled, retried";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl WireSchema for ConversationState {
    fn schema() -> MetaSchema {
        named(Self::ALL.iter().map(|state| state.as_str()))
    }
}

/// One attempt of a task.
#[derive(Debug, Object, Serialize)]
pub(crate) struct SessionView {
    /// The task.
    task_id: Wire<TaskId>,
    /// The attempt, from 1.
    attempt: u32,
    /// The agent.
    agent_id: String,
    /// The conversation of the task.
    #[oai(nullable)]
    session_id: Option<String>,
    /// Where it ran.
    #[oai(nullable)]
    instance_id: Option<Wire<InstanceId>>,
    /// Which worker ran it.
    #[oai(nullable)]
    worker_id: Option<Wire<WorkerId>>,
    /// When it began.
    started_at: Wire<Timestamp>,
    /// When it ended; null while it runs.
    #[oai(nullable)]
    ended_at: Option<Wire<Timestamp>>,
    /// How long it took, in seconds; of one that runs, so far.
    duration_seconds: f64,
    /// What it came to; `retried` when it failed and the task was to be tried again.
    outcome: Wire<SessionOutcome>,
    /// Why it failed.
    #[oai(nullable)]
    error_code: Option<Wire<ErrorCode>>,
    /// How long its task had waited for a slot of the agent, in seconds; only of the first session of a task.
    #[oai(nullable)]
    waited_seconds: Option<f64>,
    /// Tokens that it used, as far as the agent reported them.
    #[oai(nullable)]
    tokens_used: Option<u64>,
    /// What it cost in US dollars, as far as the agent reported it.
    #[oai(nullable)]
    cost_estimate: Option<f64>,
}

impl SessionView {
    fn new(record: SessionRecord, now: Timestamp) -> Self {
        let end = record.ended_at.unwrap_or(now);
        Self {
            task_id: Wire(record.task_id),
            attempt: record.attempt,
            agent_id: record.agent_id.into(),
            session_id: record.session_id.map(Into::into),
            instance_id: record.instance_id.map(Wire),
            worker_id: record.worker_id.map(Wire),
            started_at: Wire(record.started_at),
            ended_at: record.ended_at.map(Wire),
            duration_seconds: end.since(record.started_at).as_secs_f64(),
            outcome: Wire(record.outcome),
            error_code: record.error.map(Wire),
            waited_seconds: record.waited.map(|waited| waited.as_secs_f64()),
            tokens_used: record.usage.tokens_used,
            cost_estimate: record.usage.cost_estimate,
        }
    }
}

/// A page of sessions.
#[derive(Debug, Object, Serialize)]
#[oai(example)]
pub(crate) struct SessionList {
    /// Those that run, the latest begun first, then those that ended, the latest ended first.
    sessions: Vec<SessionView>,
    /// How many are on this page.
    count: usize,
    /// Gets the next page as `cursor`; absent on the last one. A page may hold fewer sessions than were asked for, or none,
    /// before the last one.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

impl SessionList {
    pub(crate) fn new(page: SessionPage, now: Timestamp) -> Self {
        let sessions = page.sessions.into_iter();
        let sessions: Vec<_> = sessions
            .map(|record| SessionView::new(record, now))
            .collect();
        Self {
            count: sessions.len(),
            sessions,
            next_cursor: page.next.map(|place| SessionCursor(place).to_string()),
        }
    }
}

impl Example for SessionList {
    fn example() -> Self {
        let id = uuid::Uuid::from_u128(0x0199_a3c4_6f6e_7c3b_9b1e_3d1f_0a5c_7e21);
        let view = SessionView {
            task_id: Wire(id.into()),
            attempt: 1,
            agent_id: "underwriting_agent_01".into(),
            session_id: Some("case-7:chat".into()),
            instance_id: Some(Wire(id.into())),
            worker_id: Some(Wire(id.into())),
            started_at: Wire(Timestamp::from_micros(1_772_366_400_000_000)),
            ended_at: Some(Wire(Timestamp::from_micros(1_772_366_401_500_000))),
            duration_seconds: 1.5,
            outcome: Wire(SessionOutcome::Completed),
            error_code: None,
            waited_seconds: Some(0.02),
            tokens_used: Some(812),
            cost_estimate: Some(0.0041),
        };
        Self {
            sessions: vec![view],
            count: 1,
            next_cursor: None,
        }
    }
}

/// Where a page of sessions ends and the next one begins; its form is our own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionCursor(pub(crate) SessionPlace);

impl fmt::Display for SessionCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SessionPlace::Running(at, task_id) => {
                write!(f, "r.{}.{}", at.as_micros(), task_id.uuid().simple())
            }
            SessionPlace::Ended(at, task_id, claim) => {
                let task_id = task_id.uuid().simple();
                write!(f, "e.{}.{task_id}.{claim}", at.as_micros())
            }
        }
    }
}

impl WireSchema for SessionCursor {
    fn schema() -> MetaSchema {
        let form = "^(r[.][0-9]{1,18}[.][0-9a-f]{32}|e[.][0-9]{1,18}[.][0-9a-f]{32}[.][0-9]{1,9})$";
        MetaSchema {
            pattern: Some(form.to_owned()),
            ..MetaSchema::new("string")
        }
    }
}

impl QueryValue for SessionCursor {
    const ACCEPTS: &'static str = "must be the next_cursor of a page";

    fn read(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('.').collect();
        let (kind, micros, task_id, claim) = match parts.as_slice() {
            [kind, micros, task_id] => (*kind, *micros, *task_id, None),
            [kind, micros, task_id, claim] => (*kind, *micros, *task_id, Some(*claim)),
            _ => return None,
        };
        let at = Timestamp::from_micros(micros.parse().ok()?);
        let task_id: TaskId = task_id.parse().ok()?;
        match (kind, claim) {
            ("r", None) => Some(Self(SessionPlace::Running(at, task_id))),
            ("e", Some(claim)) => {
                let claim = claim.parse().ok()?;
                Some(Self(SessionPlace::Ended(at, task_id, claim)))
            }
            _ => None,
        }
    }
}

/// Tasks that belong together.
#[derive(Debug, Object, Serialize)]
#[oai(example)]
pub(crate) struct ConversationView {
    /// Its name.
    session_id: String,
    /// `open` while something waits or runs, and until nothing has happened for `AGENT_SESSION_TIMEOUT_MINUTES`; then
    /// `ended`, until the next task opens it anew.
    state: Wire<ConversationState>,
    /// The agents that have tasks in it.
    agents: Vec<String>,
    /// When its first task was submitted.
    first_activity: Wire<Timestamp>,
    /// When something last happened to one of its tasks.
    last_activity: Wire<Timestamp>,
    /// When it ended, or ends when nothing more happens; null while something waits or runs.
    #[oai(nullable)]
    ends_at: Option<Wire<Timestamp>>,
    /// When it was last opened: by its first task, or by one that came after it had ended.
    opened_at: Wire<Timestamp>,
    /// How often it was opened.
    times_opened: u64,
    /// How many of its tasks stand where.
    tasks: Wire<Counts>,
    /// All its tasks.
    total_tasks: u64,
    /// Attempts of all its tasks.
    attempts: u64,
    /// Tokens that they used together, as far as agents reported them.
    #[oai(nullable)]
    tokens_used: Option<u64>,
    /// What they cost together in US dollars, as far as agents reported it.
    #[oai(nullable)]
    cost_estimate: Option<f64>,
}

impl From<Conversation> for ConversationView {
    fn from(conversation: Conversation) -> Self {
        let tasks = conversation.tasks.into_iter();
        let tasks: Counts = tasks.map(|(name, n)| (name.to_owned(), n)).collect();
        Self {
            session_id: conversation.session_id.into(),
            state: Wire(conversation.state),
            agents: conversation.agents.into_iter().map(Into::into).collect(),
            first_activity: Wire(conversation.first_at),
            last_activity: Wire(conversation.last_at),
            ends_at: conversation.ends_at.map(Wire),
            opened_at: Wire(conversation.opened_at),
            times_opened: conversation.times_opened,
            total_tasks: tasks.values().sum(),
            tasks: Wire(tasks),
            attempts: conversation.attempts,
            tokens_used: conversation.usage.tokens_used,
            cost_estimate: conversation.usage.cost_estimate,
        }
    }
}

impl Example for ConversationView {
    fn example() -> Self {
        let at = |seconds: i64| {
            Wire(Timestamp::from_micros(
                (1_772_366_400 + seconds) * 1_000_000,
            ))
        };
        Self {
            session_id: "case-7:chat".into(),
            state: Wire(ConversationState::Open),
            agents: vec!["underwriting_agent_01".into()],
            first_activity: at(0),
            last_activity: at(600),
            ends_at: Some(at(4_200)),
            opened_at: at(0),
            times_opened: 1,
            tasks: Wire(Counts::from([("completed".to_owned(), 4)])),
            total_tasks: 4,
            attempts: 5,
            tokens_used: Some(3_280),
            cost_estimate: Some(0.0164),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_is_one() {
        let task_id = TaskId::generate();
        let at = Timestamp::from_micros(1_772_366_400_000_001);
        for place in [
            SessionPlace::Running(at, task_id),
            SessionPlace::Ended(at, task_id, 7),
        ] {
            let text = SessionCursor(place).to_string();
            assert_eq!(SessionCursor::read(&text).unwrap().0, place);
        }
        for bad in ["", "r", "r.1", "e.1.x", "x.1.2", "e.1.2.3.4", "r.1.2.3"] {
            assert!(SessionCursor::read(bad).is_none(), "{bad}");
        }
    }
}
