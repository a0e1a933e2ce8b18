//! `POST /orchestrator/unregister`.

use std::sync::Arc;

use orchestrator_common::domain::{AgentId, Wish};
use orchestrator_common::messaging::Command;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;

use super::Tag;
use crate::auth::{Administer, Caller};
use crate::body::{AgentChoice, JsonBody};
use crate::problem::{Administering, Refusal};
use crate::service::{Service, chosen_agent};
use crate::views::{AgentChanged, Answer, Loose};

pub(super) struct UnregisterAgent(pub(super) Arc<Service>);

#[OpenApi(tag = "Tag::Agents")]
impl UnregisterAgent {
    /// Unregister an agent
    ///
    /// It takes no further tasks and is removed as soon as nothing runs on it.
    #[oai(
        path = "/orchestrator/unregister",
        method = "post",
        operation_id = "unregister"
    )]
    async fn unregister(
        &self,
        caller: Caller<Administer>,
        /// The agent, when the body does not name it.
        agent_id: Query<Option<Loose<AgentId>>>,
        body: JsonBody<AgentChoice>,
    ) -> Result<Answer<AgentChanged>, Refusal<Administering>> {
        let agent_id = chosen_agent(body.content.agent_id, agent_id.0)?;
        let command = Command::Unregister {
            agent_id: agent_id.clone(),
        };
        let changed = self
            .0
            .want(caller.origin(), &agent_id, Wish::Remove, command);
        let changed = changed.await?;
        self.0.agents.forget(&agent_id).await;
        Ok(Answer(changed))
    }
}
