//! Which agents are registered, remembered for a moment so that submitting tasks reads nothing from the ledger.

use std::time::Duration;

use moka::future::Cache;
use orchestrator_common::domain::AgentId;
use orchestrator_common::ledger::Ledger;

use crate::rest::Rest;

/// How long a registered agent is taken to be registered. Whoever unregisters it elsewhere is noticed after this.
const MEMORY: Duration = Duration::from_secs(1);
/// How many agents are remembered.
const CAPACITY: u64 = 100_000;
/// How long the ledger may take to say; submitting must not wait for a ledger that is down.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether an agent is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is.
    Registered,
    /// It is not.
    Unknown,
    /// The ledger did not say; ingest will find out.
    Unanswered,
}

/// Looks agents up.
#[derive(Debug)]
pub(crate) struct AgentDirectory {
    ledger: Ledger,
    registered: Cache<AgentId, ()>,
    rest: Rest,
}

impl AgentDirectory {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            registered: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(MEMORY)
                .build(),
            rest: Rest::default(),
        }
    }

    /// Whether `agent_id` is registered. Callers who ask for the same agent at the same time share one read.
    pub(crate) async fn look_up(&self, agent_id: &AgentId) -> Presence {
        if self.registered.get(agent_id).await.is_some() {
            return Presence::Registered;
        }
        if self.rest.is_on() {
            return Presence::Unanswered;
        }
        // Boxed, because it is large and needed once a second: every submission would carry it along.
        let reading = self
            .registered
            .try_get_with_by_ref(agent_id, self.read(agent_id));
        match Box::pin(reading).await {
            Ok(()) => Presence::Registered,
            Err(presence) => *presence,
        }
    }

    /// Forgets an agent that has just been unregistered here.
    pub(crate) async fn forget(&self, agent_id: &AgentId) {
        self.registered.invalidate(agent_id).await;
    }

    async fn read(&self, agent_id: &AgentId) -> Result<(), Presence> {
        let reason = match tokio::time::timeout(PATIENCE, self.ledger.agent(agent_id)).await {
            Ok(Ok(Some(_))) => return Ok(()),
            Ok(Ok(None)) => return Err(Presence::Unknown),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "it took too long".to_owned(),
        };
        tracing::warn!(%reason, "the ledger did not say whether an agent is registered; accepting without knowing");
        self.rest.begin();
        Err(Presence::Unanswered)
    }
}
