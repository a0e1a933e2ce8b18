//! `POST /orchestrator/agents/{agent_id}/pause`, `…/resume` and `…/scale`, and `DELETE /orchestrator/agents/{agent_id}`.

use std::sync::Arc;

use orchestrator_common::domain::{Faults, Scaling, Timestamp, Wish};
use orchestrator_common::ledger::Scaled;
use orchestrator_common::messaging::Command;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};

use super::Tag;
use crate::auth::{Administer, Caller};
use crate::body::JsonBody;
use crate::problem::{AgentChanging, AgentScaling, ApiError, Refusal};
use crate::service::{Service, agent_in_path, patiently, take};
use crate::views::{AgentChanged, Answer, Loose};

type Changed = Result<Answer<AgentChanged>, Refusal<AgentChanging>>;

pub(super) struct ChangeAgent(pub(super) Arc<Service>);

#[OpenApi(tag = "Tag::Agents")]
impl ChangeAgent {
    /// Pause an agent
    ///
    /// It keeps its brain and starts no further task; what runs is finished, what comes waits.
    #[oai(
        path = "/orchestrator/agents/:agent_id/pause",
        method = "post",
        operation_id = "pause_agent"
    )]
    async fn pause(
        &self,
        caller: Caller<Administer>,
        /// The agent.
        agent_id: Path<String>,
    ) -> Changed {
        let agent_id = agent_in_path(&agent_id)?;
        let command = Command::Pause {
            agent_id: agent_id.clone(),
        };
        let changed = self
            .0
            .want(caller.origin(), &agent_id, Wish::Pause, command);
        Ok(Answer(changed.await?))
    }

    /// End the pause of an agent
    ///
    /// It starts what waits. An agent that is stopped or was never started is started instead.
    #[oai(
        path = "/orchestrator/agents/:agent_id/resume",
        method = "post",
        operation_id = "resume_agent"
    )]
    async fn resume(
        &self,
        caller: Caller<Administer>,
        /// The agent.
        agent_id: Path<String>,
    ) -> Changed {
        let agent_id = agent_in_path(&agent_id)?;
        let command = Command::Resume {
            agent_id: agent_id.clone(),
        };
        let changed = self
            .0
            .want(caller.origin(), &agent_id, Wish::Resume, command);
        Ok(Answer(changed.await?))
    }

    /// Change how much an agent may do at once
    ///
    /// The limit holds across all workers and instances from the next task on; what runs beyond a lower one is finished.
    /// Further instances are made by the Brain Factory and take tasks as soon as they are there; instances too many get no
    /// more tasks and go when they have finished what they run.
    #[oai(
        path = "/orchestrator/agents/:agent_id/scale",
        method = "post",
        operation_id = "scale_agent"
    )]
    async fn scale(
        &self,
        caller: Caller<Administer>,
        /// The agent.
        agent_id: Path<String>,
        body: JsonBody<Scaling>,
    ) -> Result<Answer<AgentChanged>, Refusal<AgentScaling>> {
        let agent_id = agent_in_path(&agent_id)?;
        let scaling = body.content;
        let origin = caller.origin();
        let ledger = self.0.ledger.by(origin.clone());
        let written = patiently(ledger.scale(&agent_id, scaling, Timestamp::now())).await;
        let command = Command::Scale {
            agent_id: agent_id.clone(),
            scaling,
        };
        let message = format!("agent {agent_id} is scaled");
        let written = self.0.or_hand_on(written, command, origin);
        let Some(scaled) = written.await? else {
            return Ok(Answer(AgentChanged::to_come(agent_id, None, &message)));
        };
        let record = match scaled {
            Scaled::Now(record) => *record,
            Scaled::Registered => return Err(ApiError::RegisteredInstances(agent_id).into()),
            Scaled::Unknown => return Err(ApiError::NoSuchAgent(agent_id.to_string()).into()),
        };
        self.0.commands.agent_changed(&agent_id);
        let view = self.0.view(record.clone());
        Ok(Answer(AgentChanged::new(&record, &message, Some(view))))
    }

    /// Terminate an agent
    ///
    /// Its waiting tasks are cancelled and its brain is released as soon as nothing runs on it; with `drain=false` what runs
    /// is dropped, too. The same as `POST /orchestrator/unregister`, with that choice.
    #[oai(
        path = "/orchestrator/agents/:agent_id",
        method = "delete",
        operation_id = "terminate_agent"
    )]
    async fn terminate(
        &self,
        caller: Caller<Administer>,
        /// The agent.
        agent_id: Path<String>,
        /// Whether what runs may finish; true when absent. While the ledger does not answer, it may in any case.
        drain: Query<Option<Loose<bool>>>,
    ) -> Changed {
        let mut faults = Faults::default();
        let drain = take("drain", drain.0, &mut faults).unwrap_or(true);
        faults.none_or(())?;
        let agent_id = agent_in_path(&agent_id)?;
        let command = Command::Unregister {
            agent_id: agent_id.clone(),
        };
        let changed = self
            .0
            .want(caller.origin(), &agent_id, Wish::Remove, command);
        let changed = changed.await?;
        self.0.agents.forget(&agent_id).await;
        if !drain && changed.is_made() {
            self.0.cancel_running(caller.origin(), &agent_id).await?;
        }
        Ok(Answer(changed))
    }
}
