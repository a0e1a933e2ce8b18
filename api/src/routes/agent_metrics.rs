//! `GET /orchestrator/agents/{agent_id}/metrics` and `…/health`.

use std::sync::Arc;

use orchestrator_common::domain::{AgentRecord, Health, HealthEvidence, Timestamp};
use orchestrator_common::ledger::AgentPerformance;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

use super::Tag;
use crate::auth::{Caller, Read};
use crate::problem::{ApiError, Reading, Refusal};
use crate::service::{Service, agent_in_path, patiently};
use crate::views::{AgentHealthView, AgentMetrics, Answer};

pub(super) struct GetAgentMetrics(pub(super) Arc<Service>);

#[OpenApi(tag = "Tag::Agents")]
impl GetAgentMetrics {
    /// Get how an agent does
    ///
    /// Over the last hour, 24 hours and 7 days, and since it was registered, each up to now: outcomes, times, throughput,
    /// tokens, cost and errors; and how much it has to do.
    #[oai(
        path = "/orchestrator/agents/:agent_id/metrics",
        method = "get",
        operation_id = "get_agent_metrics"
    )]
    async fn get(
        &self,
        _caller: Caller<Read>,
        /// The agent.
        agent_id: Path<String>,
    ) -> Result<Answer<AgentMetrics>, Refusal<Reading>> {
        let now = Timestamp::now();
        let (agent, performance) = self.look_at(&agent_id, now).await?;
        let limit = self.0.settings.agents.max_concurrent_sessions;
        Ok(Answer(AgentMetrics::new(&agent, limit, performance, now)))
    }

    /// Get how healthy an agent is
    ///
    /// Judged by what is wanted and observed of it, its instances, how many of its sessions of the last 15 minutes failed,
    /// how long they took compared with the last 24 hours, and how long tasks wait for it.
    #[oai(
        path = "/orchestrator/agents/:agent_id/health",
        method = "get",
        operation_id = "get_agent_health"
    )]
    async fn health(
        &self,
        _caller: Caller<Read>,
        /// The agent.
        agent_id: Path<String>,
    ) -> Result<Answer<AgentHealthView>, Refusal<Reading>> {
        let now = Timestamp::now();
        let (agent, performance) = self.look_at(&agent_id, now).await?;
        let default_limit = self.0.settings.agents.max_concurrent_sessions;
        let health = Health::of(&HealthEvidence {
            agent: &agent,
            limit: agent.max_concurrent_sessions.unwrap_or(default_limit),
            lately: &performance.quarter.performance,
            usually: &performance.day.performance,
            now,
        });
        Ok(Answer(AgentHealthView::new(&agent.agent_id, health, now)))
    }
}

impl GetAgentMetrics {
    async fn look_at(
        &self,
        agent_id: &str,
        now: Timestamp,
    ) -> Result<(AgentRecord, AgentPerformance), ApiError> {
        let agent_id = agent_in_path(agent_id)?;
        let ledger = &self.0.ledger;
        let agent = patiently(ledger.agent(&agent_id)).await?;
        let agent = agent.ok_or_else(|| ApiError::NoSuchAgent(agent_id.to_string()))?;
        let performance = ledger.performance(&agent_id, agent.registered_at, now);
        Ok((agent, patiently(performance).await?))
    }
}
