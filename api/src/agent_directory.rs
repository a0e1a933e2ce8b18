//! Which agents are registered and how much waits for them, remembered for a moment so that submitting tasks reads nothing
//! from the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// What is known of an agent that is registered.
#[derive(Debug)]
struct Known {
    /// Tasks that waited for it when the ledger was read.
    queued: u64,
    /// Tasks that were let in since.
    since: AtomicU64,
}

/// Whether an agent is registered, and may be given a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is, and may.
    Registered,
    /// It is, and as many tasks wait for it as may.
    Full,
    /// It is not.
    Unknown,
    /// The ledger did not say; ingest will find out.
    Unanswered,
}

/// Looks agents up.
#[derive(Debug)]
pub(crate) struct AgentDirectory {
    ledger: Ledger,
    registered: Cache<AgentId, Arc<Known>>,
    max_queue_depth: u64,
    rest: Rest,
}

impl AgentDirectory {
    pub(crate) fn new(ledger: Ledger, max_queue_depth: u64) -> Self {
        Self {
            ledger,
            max_queue_depth,
            registered: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(MEMORY)
                .build(),
            rest: Rest::default(),
        }
    }

    /// Whether `agent_id` may be given another task, which counts from then on. Callers who ask for the same agent at the
    /// same time share one read.
    ///
    /// What waits is counted by the ledger and by this process since it was read: together with other processes, and with
    /// what the broker has, a few more may be let in.
    pub(crate) async fn admit(&self, agent_id: &AgentId) -> Presence {
        let known = match self.registered.get(agent_id).await {
            Some(known) if self.has_room(&known) => known,
            // Much of what was let in may have been done meanwhile.
            Some(_full) => {
                self.registered.invalidate(agent_id).await;
                match self.look_up(agent_id).await {
                    Ok(known) => known,
                    Err(presence) => return presence,
                }
            }
            None => match self.look_up(agent_id).await {
                Ok(known) => known,
                Err(presence) => return presence,
            },
        };
        if self.has_room(&known) {
            known.since.fetch_add(1, Ordering::Relaxed);
            Presence::Registered
        } else {
            Presence::Full
        }
    }

    fn has_room(&self, known: &Known) -> bool {
        known.queued + known.since.load(Ordering::Relaxed) < self.max_queue_depth
    }

    async fn look_up(&self, agent_id: &AgentId) -> Result<Arc<Known>, Presence> {
        if self.rest.is_on() {
            return Err(Presence::Unanswered);
        }
        // Boxed, because it is large and needed once a second: every submission would carry it along.
        let reading = self
            .registered
            .try_get_with_by_ref(agent_id, self.read(agent_id));
        Box::pin(reading).await.map_err(|presence| *presence)
    }

    /// Forgets an agent that has just been unregistered here.
    pub(crate) async fn forget(&self, agent_id: &AgentId) {
        self.registered.invalidate(agent_id).await;
    }

    async fn read(&self, agent_id: &AgentId) -> Result<Arc<Known>, Presence> {
        let reason = match tokio::time::timeout(PATIENCE, self.ledger.agent(agent_id)).await {
            Ok(Ok(Some(agent))) => {
                return Ok(Arc::new(Known {
                    queued: agent.queued.into(),
                    since: AtomicU64::new(0),
                }));
            }
            Ok(Ok(None)) => return Err(Presence::Unknown),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "it took too long".to_owned(),
        };
        tracing::warn!(%reason, "the ledger did not say whether an agent is registered; accepting without knowing");
        self.rest.begin();
        Err(Presence::Unanswered)
    }
}
