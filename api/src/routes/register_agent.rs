//! `POST /orchestrator/register` and its older name `/orchestrator/register-agent`.

use std::sync::Arc;

use orchestrator_common::domain::{Registration, Timestamp};
use orchestrator_common::messaging::Command;
use poem_openapi::OpenApi;

use super::Tag;
use crate::auth::{Administer, Caller};
use crate::body::JsonBody;
use crate::problem::{Administering, Refusal};
use crate::service::{Service, patiently};
use crate::views::{AgentChanged, Answer};

type Registered = Result<Answer<AgentChanged>, Refusal<Administering>>;

pub(super) struct RegisterAgent(pub(super) Arc<Service>);

#[OpenApi(tag = "Tag::Agents")]
impl RegisterAgent {
    /// Register an agent
    ///
    /// Registering again changes what is given and keeps the rest; a richer `brain_config` is never replaced by a
    /// poorer one. Unknown fields are kept.
    #[oai(
        path = "/orchestrator/register",
        method = "post",
        operation_id = "register"
    )]
    async fn register(
        &self,
        caller: Caller<Administer>,
        body: JsonBody<Registration>,
    ) -> Registered {
        let registration = body.content;
        let origin = caller.origin();
        let ledger = self.0.ledger.by(origin.clone());
        let written = patiently(ledger.register(&registration, Timestamp::now())).await;
        let agent_id = registration.agent_id.clone();
        let command = Command::Register(Box::new(registration));
        let written = self.0.or_hand_on(written, command, origin);
        let Some(record) = written.await? else {
            let message = format!("agent {agent_id} will be registered");
            return Ok(Answer(AgentChanged::to_come(agent_id, None, &message)));
        };
        self.0.commands.agent_changed(&record.agent_id);
        let message = if record.agent_id == agent_id {
            format!("agent {agent_id} is registered")
        } else {
            format!("{agent_id} is an instance of agent {}", record.agent_id)
        };
        Ok(Answer(AgentChanged::new(
            &record.clone(),
            &message,
            Some(self.0.view(record)),
        )))
    }

    /// Register an agent (the name that the platform's services use)
    ///
    /// The same operation as `POST /orchestrator/register`.
    #[oai(
        path = "/orchestrator/register-agent",
        method = "post",
        operation_id = "register_agent"
    )]
    async fn register_agent(
        &self,
        caller: Caller<Administer>,
        body: JsonBody<Registration>,
    ) -> Registered {
        self.register(caller, body).await
    }
}
