//! How healthy an agent is, as callers see it.

use orchestrator_common::domain::{AgentId, Health, HealthStatus, Timestamp};
use poem_openapi::Object;
use poem_openapi::registry::MetaSchema;
use poem_openapi::types::Example;
use serde::Serialize;

use super::wire::named;
use super::{Wire, WireSchema};

impl WireSchema for HealthStatus {
    fn schema() -> MetaSchema {
        named(Self::ALL.iter().map(|status| status.as_str()))
    }
}

/// How healthy an agent is.
#[derive(Debug, Object, Serialize)]
#[oai(example)]
pub(crate) struct AgentHealthView {
    /// The agent.
    agent_id: String,
    /// When it was judged.
    at: Wire<Timestamp>,
    /// `healthy` from a score of 80 on, `degraded` from 40 on.
    status: Wire<HealthStatus>,
    /// 100 when nothing is wrong, 0 when nothing works.
    score: u32,
    /// What takes from the score, in words for people, the gravest first.
    reasons: Vec<String>,
}

impl AgentHealthView {
    pub(crate) fn new(agent_id: &AgentId, health: Health, now: Timestamp) -> Self {
        Self {
            agent_id: agent_id.to_string(),
            at: Wire(now),
            status: Wire(health.status),
            score: health.score,
            reasons: health.reasons,
        }
    }
}

impl Example for AgentHealthView {
    fn example() -> Self {
        let reason =
            "40 % of its sessions of the last 15 minutes failed, most of them with agent_failed";
        Self {
            agent_id: "underwriting_agent_01".into(),
            at: Wire(Timestamp::from_micros(1_772_366_400_000_000)),
            status: Wire(HealthStatus::Degraded),
            score: 68,
            reasons: vec![reason.into()],
        }
    }
}
