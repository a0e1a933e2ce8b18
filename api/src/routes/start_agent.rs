//! `POST /orchestrator/start` and its older name `/orchestrator/start-agent/{agent_id}`.

use std::sync::Arc;

use orchestrator_common::domain::{AgentId, Origin, Wish};
use orchestrator_common::messaging::Command;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};

use super::Tag;
use crate::auth::{Administer, Caller};
use crate::body::{AgentChoice, JsonBody};
use crate::problem::{Administering, Refusal};
use crate::service::{Service, agent_in_path, chosen_agent};
use crate::views::{AgentChanged, Answer, Loose};

type Started = Result<Answer<AgentChanged>, Refusal<Administering>>;

pub(super) struct StartAgent(pub(super) Arc<Service>);

#[OpenApi(tag = "Tag::Agents")]
impl StartAgent {
    /// Start an agent
    ///
    /// Answers as soon as that is written down; a worker then has its brain made, which can take minutes.
    #[oai(path = "/orchestrator/start", method = "post", operation_id = "start")]
    async fn start(
        &self,
        caller: Caller<Administer>,
        /// The agent, when the body does not name it.
        agent_id: Query<Option<Loose<AgentId>>>,
        body: JsonBody<AgentChoice>,
    ) -> Started {
        let agent_id = chosen_agent(body.content.agent_id, agent_id.0)?;
        self.start_it(caller.origin(), &agent_id).await
    }

    /// Start an agent (the name that the platform's services use)
    ///
    /// The same operation as `POST /orchestrator/start`; a body is not looked at.
    #[oai(
        path = "/orchestrator/start-agent/:agent_id",
        method = "post",
        operation_id = "start_agent"
    )]
    async fn start_agent(
        &self,
        caller: Caller<Administer>,
        /// The agent.
        agent_id: Path<String>,
    ) -> Started {
        self.start_it(caller.origin(), &agent_in_path(&agent_id)?)
            .await
    }
}

impl StartAgent {
    async fn start_it(&self, origin: Origin, agent_id: &AgentId) -> Started {
        let command = Command::Start {
            agent_id: agent_id.clone(),
        };
        self.0
            .want(origin, agent_id, Wish::Start, command)
            .await
            .map(Answer)
            .map_err(Into::into)
    }
}
