//! `GET /orchestrator/agents/{agent_id}` and its older name with `/status`.

use std::sync::Arc;

use poem_openapi::OpenApi;
use poem_openapi::param::Path;

use super::Tag;
use crate::auth::{Caller, Read};
use crate::problem::{ApiError, Reading, Refusal};
use crate::service::{Service, agent_in_path, patiently};
use crate::views::{AgentView, Answer};

type Found = Result<Answer<AgentView>, Refusal<Reading>>;

pub(super) struct GetAgent(pub(super) Arc<Service>);

#[OpenApi(tag = "Tag::Agents")]
impl GetAgent {
    /// Get an agent
    ///
    /// With its instances, counts and `brain_config`.
    #[oai(
        path = "/orchestrator/agents/:agent_id",
        method = "get",
        operation_id = "get_agent"
    )]
    async fn get(
        &self,
        _caller: Caller<Read>,
        /// The agent.
        agent_id: Path<String>,
    ) -> Found {
        let agent_id = agent_in_path(&agent_id)?;
        let mut record = patiently(self.0.ledger.agent(&agent_id))
            .await?
            .ok_or_else(|| ApiError::NoSuchAgent(agent_id.to_string()))?;
        let brain_config = record.brain_config.take();
        let deployment = match &record.deployment_id {
            Some(deployment_id) => {
                patiently(self.0.ledger.deployment(&agent_id, deployment_id)).await?
            }
            None => None,
        };
        let view = self.0.view(record).with_brain_config(brain_config);
        Ok(Answer(view.with_deployment(deployment)))
    }

    /// Get an agent (older name)
    ///
    /// The same operation as `GET /orchestrator/agents/{agent_id}`.
    #[oai(
        path = "/orchestrator/agents/:agent_id/status",
        method = "get",
        operation_id = "get_agent_status"
    )]
    async fn status(
        &self,
        caller: Caller<Read>,
        /// The agent.
        agent_id: Path<String>,
    ) -> Found {
        self.get(caller, agent_id).await
    }
}
