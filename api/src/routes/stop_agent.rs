//! `POST /orchestrator/stop`.

use std::sync::Arc;

use orchestrator_common::domain::{AgentId, Wish};
use orchestrator_common::messaging::Command;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;

use super::Tag;
use crate::auth::{Administer, Caller};
use crate::body::{JsonBody, StopChoice};
use crate::problem::{Administering, Refusal};
use crate::service::{Service, chosen_agent, take};
use crate::views::{AgentChanged, Answer, Loose};

pub(super) struct StopAgent(pub(super) Arc<Service>);

#[OpenApi(tag = "Tag::Agents")]
impl StopAgent {
    /// Stop an agent
    ///
    /// What runs is finished, or dropped with `drain=false`; what waits stays until the agent is started again.
    #[oai(path = "/orchestrator/stop", method = "post", operation_id = "stop")]
    async fn stop(
        &self,
        caller: Caller<Administer>,
        /// The agent, when the body does not name it.
        agent_id: Query<Option<Loose<AgentId>>>,
        /// Whether what runs may finish. True when neither this nor the body says it.
        drain: Query<Option<Loose<bool>>>,
        body: JsonBody<StopChoice>,
    ) -> Result<Answer<AgentChanged>, Refusal<Administering>> {
        let mut faults = orchestrator_common::domain::Faults::default();
        let drain = take("drain", drain.0, &mut faults)
            .or(body.content.drain)
            .unwrap_or(true);
        let agent_id = match chosen_agent(body.content.agent_id, agent_id.0) {
            Ok(agent_id) if faults.0.is_empty() => agent_id,
            Ok(_) => return Err(faults.into()),
            Err(more) => {
                faults.0.extend(more.0);
                return Err(faults.into());
            }
        };
        let command = Command::Stop {
            agent_id: agent_id.clone(),
            drain,
        };
        let changed = self.0.want(caller.origin(), &agent_id, Wish::Stop, command);
        let changed = changed.await?;
        if !drain && changed.is_made() {
            self.0.cancel_running(caller.origin(), &agent_id).await?;
        }
        Ok(Answer(changed))
    }
}
