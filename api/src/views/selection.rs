//! A task for which the agent was chosen, as its caller sees it.

use orchestrator_common::domain::{Choice, Ranked};
use poem_openapi::Object;
use poem_openapi::types::Example;
use serde::Serialize;

use super::TaskAccepted;

/// The most candidates that are shown.
const SHOWN: usize = 10;

/// An agent that could do the task.
#[derive(Debug, Object, Serialize)]
pub(crate) struct CandidateView {
    /// The agent.
    agent_id: String,
    /// How well it fits, 0 to 100.
    score: u32,
}

impl From<Ranked> for CandidateView {
    fn from(ranked: Ranked) -> Self {
        Self {
            agent_id: ranked.agent_id.into(),
            score: ranked.score,
        }
    }
}

/// Which agent was chosen, and why.
#[derive(Debug, Object, Serialize)]
pub(crate) struct SelectionView {
    /// The agent.
    agent_id: String,
    /// How well it fits, 0 to 100; null when it was chosen by an earlier request.
    #[oai(nullable)]
    score: Option<u32>,
    /// Why, in words for people.
    reasons: Vec<String>,
    /// The agents that could do it now, the best first; ten at most.
    candidates: Vec<CandidateView>,
}

impl SelectionView {
    /// The choice that was made now.
    pub(crate) fn made(agent_id: String, choice: Choice) -> Self {
        Self {
            agent_id,
            score: choice.ranked.first().map(|best| best.score),
            reasons: choice.reasons,
            candidates: choice
                .ranked
                .into_iter()
                .take(SHOWN)
                .map(Into::into)
                .collect(),
        }
    }

    /// The choice that an earlier request led to, which was the same.
    pub(crate) fn made_before(agent_id: String) -> Self {
        Self {
            agent_id,
            score: None,
            reasons: vec!["it was chosen when the task was first asked for".into()],
            candidates: Vec::new(),
        }
    }
}

/// A task that is in durable hands, and the agent that was chosen for it.
#[derive(Debug, Object, Serialize)]
#[oai(example)]
pub(crate) struct TaskAssigned {
    #[oai(flatten)]
    #[serde(flatten)]
    pub(crate) accepted: TaskAccepted,
    /// Which agent was chosen, and why.
    pub(crate) selection: SelectionView,
}

impl Example for TaskAssigned {
    fn example() -> Self {
        let candidate = |agent_id: &str, score| CandidateView {
            agent_id: agent_id.into(),
            score,
        };
        Self {
            accepted: TaskAccepted::example(),
            selection: SelectionView {
                agent_id: "underwriting_agent_01".into(),
                score: Some(93),
                reasons: vec![
                    "it declares risk_assessment".into(),
                    "it completed 57 of its 60 tasks of this type".into(),
                    "its health is 100 of 100".into(),
                    "2 of its 10 slots are taken, 0 tasks wait for it".into(),
                ],
                candidates: vec![
                    candidate("underwriting_agent_01", 93),
                    candidate("underwriting_agent_02", 71),
                ],
            },
        }
    }
}
