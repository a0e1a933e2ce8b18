//! One transaction for all that a worker has to tell and to ask: what ended, what arrived, what it may start.
//!
//! A crash before the commit leaves everything as it was: completions are sent again by the worker or found by
//! recovery, arrivals are still unanswered (or unacknowledged at the broker). A crash after it leaves started tasks
//! `running` under a worker that is gone, which recovery puts back.

use std::collections::BTreeSet;

use super::slots::Slots;
use super::{Connections, Ingested, Ingestion, Ledger, LedgerError};
use crate::domain::{
    AgentId, CircuitState, Claim, Completion, InstanceId, NewTask, Settlement, Timestamp, Usage,
    WorkerId,
};

/// What a worker brings to a dispatch.
#[derive(Debug, Default)]
pub struct Dispatch {
    /// Tasks to accept. Accepting one twice is harmless.
    pub arrivals: Vec<NewTask>,
    /// Claims that ended.
    pub completions: Vec<Completion>,
    /// Agents that are said to have runnable tasks.
    pub claims: Vec<AgentId>,
    /// How many tasks the worker has room for.
    pub room: u32,
}

/// A task that the worker now has to run.
#[derive(Clone, Debug)]
pub struct Started {
    /// The right to run it.
    pub claim: Claim,
    /// What to do.
    pub task: NewTask,
    /// Base address of the agent.
    pub endpoint: String,
    /// What earlier attempts used together.
    pub used: Usage,
    /// Until when an instance may still run an earlier attempt, whose end nobody heard of: ask before it is sent there.
    pub may_run_until: Option<Timestamp>,
}

/// An instance whose circuit came to stand elsewhere.
#[derive(Clone, Debug)]
pub struct CircuitChange {
    /// Its agent.
    pub agent_id: AgentId,
    /// The instance.
    pub instance_id: InstanceId,
    /// Where the circuit stands now.
    pub circuit: CircuitState,
}

/// An ended claim, as the ledger took it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The claim.
    pub claim: Claim,
    /// What was written; `None` when the claim was no longer the current one and nothing was.
    pub settlement: Option<Settlement>,
}

/// What a dispatch came to.
#[derive(Debug, Default)]
pub struct Dispatched {
    /// What became of each arrival, in their order.
    pub arrivals: Vec<Ingestion>,
    /// What became of each completion, in their order.
    pub completions: Vec<Recorded>,
    /// What to run.
    pub started: Vec<Started>,
    /// Agents with runnable tasks and free slots that the worker had no room for.
    pub hungry: Vec<AgentId>,
    /// Agents whose lifecycle has something to do.
    pub to_reconcile: Vec<AgentId>,
    /// Instances whose circuit came to stand elsewhere.
    pub circuit_changes: Vec<CircuitChange>,
}

impl Ledger {
    /// Settles completions, ingests arrivals and claims tasks for `worker_id`, all or nothing.
    ///
    /// Slots that completions free are used at once, those of one agent for its most urgent tasks first, and no agent
    /// gets more of the worker's room than its fair share while others wait.
    ///
    /// # Errors
    /// When the ledger does not take it; nothing has been changed then, unless the connection broke during the
    /// commit: repeating the dispatch is safe in either case.
    pub async fn dispatch(
        &self,
        worker_id: WorkerId,
        dispatch: Dispatch,
        now: Timestamp,
    ) -> Result<Dispatched, LedgerError> {
        self.within(|db| self.dispatch_at_once(db, worker_id, dispatch, now))
            .await
    }

    async fn dispatch_at_once(
        &self,
        db: &Connections,
        worker_id: WorkerId,
        dispatch: Dispatch,
        now: Timestamp,
    ) -> Result<Dispatched, LedgerError> {
        let Dispatch {
            arrivals,
            completions,
            claims,
            room,
        } = dispatch;
        let mut agent_ids: BTreeSet<AgentId> = claims.into_iter().collect();
        agent_ids.extend(arrivals.iter().map(|task| task.agent_id.clone()));
        agent_ids.extend(
            completions
                .iter()
                .map(|completion| completion.claim.agent_id.clone()),
        );

        let tx = db.begin().await?;
        let mut slots = Slots::lock(&tx, agent_ids, &self.options).await?;
        let completions = self.complete(&tx, &mut slots, completions, now).await?;
        let shares = super::claim::shares(&slots, &arrivals, room, now);
        let (arrivals, mut started) = self
            .insert(&tx, &mut slots, shares, arrivals, worker_id, now)
            .await?;
        // Shared out anew: what was set aside for arrivals that the ledger had already is still free.
        let room = room.saturating_sub(u32::try_from(started.len()).unwrap_or(u32::MAX));
        let shares = super::claim::shares(&slots, &[], room, now);
        started.extend(self.claim(&tx, &mut slots, &shares, worker_id, now).await?);
        slots.store(&tx, now).await?;
        tx.commit().await?;

        let hungry = slots
            .iter()
            .filter(|(_, agent)| agent.queued > 0 && agent.free(now) > 0);
        Ok(Dispatched {
            arrivals,
            completions,
            started,
            hungry: hungry.map(|(id, _)| id.clone()).collect(),
            to_reconcile: slots.to_reconcile(),
            circuit_changes: slots.circuit_changes(),
        })
    }

    /// Accepts tasks without running any: for a process that is no worker.
    ///
    /// # Errors
    /// As [`Self::dispatch`].
    pub async fn ingest(
        &self,
        arrivals: Vec<NewTask>,
        now: Timestamp,
    ) -> Result<Vec<Ingestion>, LedgerError> {
        let nobody = WorkerId::from(uuid::Uuid::nil());
        let dispatch = Dispatch {
            arrivals,
            ..Dispatch::default()
        };
        Ok(self.dispatch(nobody, dispatch, now).await?.arrivals)
    }
}

impl Ingestion {
    /// Whether the ledger now has the task, from this request or an earlier one.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        match self.outcome {
            Ingested::New { .. } | Ingested::Repeated { .. } => true,
            Ingested::Conflict | Ingested::UnknownAgent => false,
        }
    }
}
