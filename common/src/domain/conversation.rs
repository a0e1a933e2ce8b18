//! Conversations: tasks that carry the same name, whatever agents they are for.
//!
//! Nothing is written down of a conversation but its name on tasks: whether it is open follows from what happened to
//! them and when.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::agent::named_states;
use super::{AgentId, SessionId, TaskStatus, Timestamp, Usage};

named_states! {
    /// Where a conversation stands.
    ConversationState {
        /// Something waits or runs, or happened not long ago.
        Open = "open",
        /// Nothing has happened for as long as a conversation may be idle. The next task opens it anew.
        Ended = "ended",
    }
}

/// What happened to the tasks of a conversation that are for one agent and stand alike.
#[derive(Clone, Debug)]
pub struct ConversationPart {
    /// The agent.
    pub agent_id: AgentId,
    /// Where the tasks stand.
    pub status: TaskStatus,
    /// How many they are.
    pub tasks: u64,
    /// Their attempts together.
    pub attempts: u64,
    /// What they used together.
    pub usage: Usage,
    /// When the first of them was submitted.
    pub first_at: Timestamp,
    /// When something last happened to one of them.
    pub last_at: Timestamp,
}

/// A conversation.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// Its name.
    pub session_id: SessionId,
    /// Where it stands.
    pub state: ConversationState,
    /// The agents that have tasks in it.
    pub agents: BTreeSet<AgentId>,
    /// When its first task was submitted.
    pub first_at: Timestamp,
    /// When something last happened in it.
    pub last_at: Timestamp,
    /// When it ended, or is to end when nothing more happens; `None` while something waits or runs.
    pub ends_at: Option<Timestamp>,
    /// When it was last opened, by its first task or by one that came after it had ended.
    pub opened_at: Timestamp,
    /// How often it was opened.
    pub times_opened: u64,
    /// How many tasks stand where.
    pub tasks: BTreeMap<&'static str, u64>,
    /// Attempts of all its tasks.
    pub attempts: u64,
    /// What they used together, as far as agents reported it.
    pub usage: Usage,
}

impl Conversation {
    /// Puts a conversation together out of its parts; `None` when there are none. `opened` says when it was last opened
    /// and how often; it ends when nothing has happened for `timeout`.
    #[must_use]
    pub fn of(
        session_id: SessionId,
        parts: Vec<ConversationPart>,
        opened: (Timestamp, u64),
        timeout: Duration,
        now: Timestamp,
    ) -> Option<Self> {
        let first_at = parts.iter().map(|part| part.first_at).min()?;
        let last_at = parts.iter().map(|part| part.last_at).max()?;
        let is_pending = parts.iter().any(|part| !part.status.is_terminal());
        let ends_at = (!is_pending).then(|| last_at.plus(timeout));
        let mut conversation = Self {
            session_id,
            state: match ends_at {
                Some(end) if end <= now => ConversationState::Ended,
                Some(_) | None => ConversationState::Open,
            },
            agents: BTreeSet::new(),
            first_at,
            last_at,
            ends_at,
            opened_at: opened.0,
            times_opened: opened.1,
            tasks: BTreeMap::new(),
            attempts: 0,
            usage: Usage::default(),
        };
        for part in parts {
            conversation.add(part);
        }
        Some(conversation)
    }

    fn add(&mut self, part: ConversationPart) {
        *self.tasks.entry(part.status.as_str()).or_default() += part.tasks;
        self.attempts += part.attempts;
        self.agents.insert(part.agent_id);
        let Usage {
            tokens_used,
            cost_estimate,
        } = part.usage;
        if let Some(tokens) = tokens_used {
            *self.usage.tokens_used.get_or_insert(0) += tokens;
        }
        if let Some(cost) = cost_estimate {
            *self.usage.cost_estimate.get_or_insert(0.0) += cost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(3_600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn part(agent: &str, status: TaskStatus, last: i64) -> ConversationPart {
        ConversationPart {
            agent_id: AgentId::parse(agent).unwrap(),
            status,
            tasks: 2,
            attempts: 3,
            usage: Usage {
                tokens_used: Some(10),
                cost_estimate: None,
            },
            first_at: at(100),
            last_at: at(last),
        }
    }

    fn conversation(parts: Vec<ConversationPart>, now: i64) -> Option<Conversation> {
        let session_id = SessionId::parse("c").unwrap();
        Conversation::of(session_id, parts, (at(100), 1), TIMEOUT, at(now))
    }

    #[test]
    fn a_conversation_ends_when_nothing_has_happened_for_long_enough() {
        let parts = vec![part("a", TaskStatus::Completed, 200)];
        let state = |now| conversation(parts.clone(), now).unwrap().state;
        assert_eq!(state(3_799), ConversationState::Open);
        assert_eq!(state(3_800), ConversationState::Ended);
        let ends_at = conversation(parts.clone(), 300).unwrap().ends_at;
        assert_eq!(ends_at, Some(at(3_800)));
    }

    #[test]
    fn a_conversation_stays_open_while_something_waits() {
        let parts = vec![
            part("a", TaskStatus::Completed, 200),
            part("b", TaskStatus::Scheduled, 150),
        ];
        let waits = conversation(parts, 1_000_000).unwrap();
        assert_eq!(
            (waits.state, waits.ends_at),
            (ConversationState::Open, None)
        );
    }

    #[test]
    fn a_conversation_sums_up_its_parts() {
        let parts = vec![
            part("b", TaskStatus::Completed, 200),
            part("a", TaskStatus::Completed, 300),
            part("a", TaskStatus::Failed, 250),
        ];
        let sum = conversation(parts, 400).unwrap();
        assert_eq!((sum.first_at, sum.last_at), (at(100), at(300)));
        assert_eq!(sum.tasks, BTreeMap::from([("completed", 4), ("failed", 2)]));
        assert_eq!((sum.attempts, sum.usage.tokens_used), (9, Some(30)));
        assert_eq!(sum.usage.cost_estimate, None);
        let agents: Vec<_> = sum.agents.iter().map(AgentId::as_str).collect();
        assert_eq!(agents, ["a", "b"]);
        assert!(conversation(Vec::new(), 400).is_none());
    }
}
