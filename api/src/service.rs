//! What the handlers share.

use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::commands::{CommandSink, RETRY_AFTER, TaskChange};
use orchestrator_common::config::Settings;
use orchestrator_common::domain::{AgentId, AgentRecord, Faults, Origin, Timestamp, Wish};
use orchestrator_common::ledger::{Ledger, LedgerError, Wished};
use orchestrator_common::messaging::Command;
use orchestrator_common::metrics::Metrics;
use orchestrator_common::waiting::WaitingReaders;
use tokio::sync::Semaphore;

use crate::agent_catalogue::AgentCatalogue;
use crate::agent_directory::{AgentDirectory, Presence};
use crate::health::HealthBoard;
use crate::problem::ApiError;
use crate::task_reader::TaskReader;
use crate::views::{AgentChanged, AgentView, Loose, QueryValue};

/// How long the ledger may take for one operation.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) ledger: Ledger,
    pub(crate) commands: Arc<dyn CommandSink>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) agents: AgentDirectory,
    pub(crate) catalogue: AgentCatalogue,
    pub(crate) health: HealthBoard,
    pub(crate) tasks: TaskReader,
    pub(crate) readers: WaitingReaders,
    /// One permit for each reader who may wait at the same time.
    pub(crate) waiting: Arc<Semaphore>,
}

impl Service {
    /// Writes down what is wanted of an agent and tells the workers. While the ledger takes nothing, `command`, which
    /// means the same, waits for them at the broker, if there is one; nobody has asked then whether there is the agent.
    pub(crate) async fn want(
        &self,
        origin: Origin,
        agent_id: &AgentId,
        wish: Wish,
        command: Command,
    ) -> Result<AgentChanged, ApiError> {
        let desired = wish.desired();
        let done = match wish {
            Wish::Start | Wish::Resume => "is to run",
            Wish::Pause => "is to pause",
            Wish::Stop => "is to stop",
            Wish::Remove => "is unregistered",
        };
        let message = format!("agent {agent_id} {done}");
        let ledger = self.ledger.by(origin.clone());
        let writing = ledger.wish(agent_id, wish, Timestamp::now());
        let written = self
            .or_hand_on(patiently(writing).await, command, origin)
            .await?;
        let record = match written {
            Some(Wished::Now(record)) => *record,
            Some(Wished::Not(desired)) => {
                let agent_id = agent_id.clone();
                return Err(ApiError::WrongAgentState {
                    agent_id,
                    desired,
                    wish,
                });
            }
            Some(Wished::Unknown) => return Err(ApiError::NoSuchAgent(agent_id.to_string())),
            None => {
                let to_come = AgentChanged::to_come(agent_id.clone(), Some(desired), &message);
                return Ok(to_come);
            }
        };
        self.commands.agent_changed(agent_id);
        let view = (wish != Wish::Remove).then(|| self.view(record.clone()));
        Ok(AgentChanged::new(&record, &message, view))
    }

    /// Has everything dropped that an agent runs.
    pub(crate) async fn cancel_running(
        &self,
        origin: Origin,
        agent_id: &AgentId,
    ) -> Result<(), ApiError> {
        let ledger = self.ledger.by(origin);
        let running = patiently(ledger.cancel_running(agent_id, Timestamp::now())).await?;
        let dropping = running.into_iter().map(|(task_id, worker_id)| {
            let change = TaskChange::ToDrop { task_id, worker_id };
            self.commands.task_changed(change)
        });
        futures::future::join_all(dropping).await;
        Ok(())
    }

    /// What was written; `None` when the ledger took nothing and the broker has `command` instead.
    pub(crate) async fn or_hand_on<T>(
        &self,
        written: Result<T, ApiError>,
        command: Command,
        origin: Origin,
    ) -> Result<Option<T>, ApiError> {
        match written {
            Err(ApiError::Unavailable(_)) => {
                self.commands.hand_on(command, origin).await?;
                Ok(None)
            }
            written => written.map(Some),
        }
    }

    /// Whether `agent_id` may be given another task.
    pub(crate) async fn admit(&self, agent_id: &AgentId) -> Result<(), ApiError> {
        match self.agents.admit(agent_id).await {
            Presence::Registered | Presence::Unanswered => Ok(()),
            Presence::Full => Err(ApiError::QueueFull(agent_id.clone())),
            Presence::Unknown => Err(ApiError::NoSuchAgent(agent_id.to_string())),
        }
    }

    /// An agent as callers see it.
    pub(crate) fn view(&self, record: AgentRecord) -> AgentView {
        let limit = self.settings.agents.max_concurrent_sessions;
        AgentView::new(record, limit, Timestamp::now())
    }
}

/// What the ledger answers, if it does so within five seconds.
pub(crate) async fn patiently<T>(
    answer: impl Future<Output = Result<T, LedgerError>>,
) -> Result<T, ApiError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(ApiError::from),
        Err(_elapsed) => {
            tracing::warn!("the ledger took too long");
            Err(ApiError::Unavailable(RETRY_AFTER))
        }
    }
}

/// An agent id from a path; one that cannot exist is one that is not registered.
pub(crate) fn agent_in_path(text: &str) -> Result<AgentId, ApiError> {
    AgentId::parse(text).ok_or_else(|| ApiError::NoSuchAgent(text.to_owned()))
}

/// The agent that the body or the query names.
pub(crate) fn chosen_agent(
    body: Option<AgentId>,
    query: Option<Loose<AgentId>>,
) -> Result<AgentId, Faults> {
    let query = match query {
        Some(Loose(None)) => return Err(Faults::one("agent_id", AgentId::ACCEPTS)),
        Some(Loose(Some(agent_id))) => Some(agent_id),
        None => None,
    };
    match (body, query) {
        (Some(body), Some(query)) if body != query => Err(Faults::one(
            "agent_id",
            "must not name different agents in body and query",
        )),
        (Some(agent_id), _) | (None, Some(agent_id)) => Ok(agent_id),
        (None, None) => Err(Faults::one(
            "agent_id",
            "is required, in the body or in the query",
        )),
    }
}

/// Takes a text of the query, noting a fault when the ledger can hold none like it.
pub(crate) fn take_text(name: &str, text: Option<String>, faults: &mut Faults) -> Option<String> {
    if text.as_deref().is_some_and(|text| text.contains('\0')) {
        faults.add(name, "must not hold the character U+0000");
    }
    text
}

/// Takes a query parameter, noting a fault when its value is not acceptable.
pub(crate) fn take<T: QueryValue>(
    name: &str,
    value: Option<Loose<T>>,
    faults: &mut Faults,
) -> Option<T> {
    let Loose(value) = value?;
    if value.is_none() {
        faults.add(name, T::ACCEPTS);
    }
    value
}
