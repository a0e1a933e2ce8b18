//! What the API wants to know of an agent before it accepts a task for it.

use serde::{Deserialize, Serialize};

use super::keys::AGENT_SECONDS;
use super::{Cache, CacheUnavailable};
use crate::domain::{AgentId, AgentRecord, AgentStatus, DesiredState};

/// A registered agent, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedAgent {
    /// Its identifier.
    pub agent_id: AgentId,
    /// The field it works in.
    pub domain: Option<String>,
    /// What is wanted of it.
    pub desired: DesiredState,
    /// What it is observed to be.
    pub status: AgentStatus,
    /// Its own limit of concurrent sessions; the cluster's default when `None`.
    pub max_concurrent_sessions: Option<u32>,
}

impl From<&AgentRecord> for CachedAgent {
    fn from(record: &AgentRecord) -> Self {
        Self {
            agent_id: record.agent_id.clone(),
            domain: record.domain.clone(),
            desired: record.desired,
            status: record.status,
            max_concurrent_sessions: record.max_concurrent_sessions,
        }
    }
}

impl Cache {
    /// Writes an agent; it is kept for a minute, so that a change that did not reach Redis is not hidden for longer.
    ///
    /// # Errors
    /// When Redis does not take it.
    pub async fn put_agent(&self, agent: &CachedAgent) -> Result<(), CacheUnavailable> {
        let document =
            serde_json::to_string(agent).map_err(|error| CacheUnavailable(error.to_string()))?;
        let mut command = redis::cmd("SET");
        command
            .arg(self.keys.agent(&agent.agent_id))
            .arg(document)
            .arg("EX")
            .arg(AGENT_SECONDS);
        self.command(&command).await
    }

    /// An agent; `None` when it is not known here, which says nothing about whether it is registered.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn get_agent(
        &self,
        agent_id: &AgentId,
    ) -> Result<Option<CachedAgent>, CacheUnavailable> {
        let mut command = redis::cmd("GET");
        command.arg(self.keys.agent(agent_id));
        let document: Option<String> = self.command(&command).await?;
        // What another version wrote and this one cannot read is as good as absent.
        Ok(document.and_then(|document| serde_json::from_str(&document).ok()))
    }

    /// Forgets an agent that was changed or removed.
    ///
    /// # Errors
    /// When Redis does not take it.
    pub async fn forget_agent(&self, agent_id: &AgentId) -> Result<(), CacheUnavailable> {
        let mut command = redis::cmd("DEL");
        command.arg(self.keys.agent(agent_id));
        self.command(&command).await
    }
}
