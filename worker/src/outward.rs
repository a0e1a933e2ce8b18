//! Whom a worker tells what it does: in the embedded default only readers of the same process who wait, and whoever is
//! owed a callback.

use std::sync::Arc;

use orchestrator_common::domain::{
    AgentId, AgentStatus, Claim, NewTask, Settlement, TaskId, TaskRecord, TaskStatus, Timestamp,
    Usage,
};
use orchestrator_common::ledger::{Recorded, RunChange, Started};
use orchestrator_common::waiting::{WaitingReaders, Wake};
use tokio::sync::Notify;

use crate::announce::{Announcer, Bell};
use crate::intake::Ended;

/// The ways out of a worker; all of them return at once, whatever the state of Redis and the broker.
#[derive(Clone, Debug, Default)]
pub struct Outward {
    pub(crate) announcer: Option<Announcer>,
    pub(crate) bell: Option<Bell>,
    pub(crate) readers: Option<WaitingReaders>,
    /// Wakes whoever makes callbacks.
    pub(crate) owed: Arc<Notify>,
}

impl Outward {
    /// Wakes readers of the same process.
    #[must_use]
    pub fn waking(readers: WaitingReaders) -> Self {
        Self {
            readers: Some(readers),
            ..Self::default()
        }
    }

    fn wake(&self, task_id: TaskId) {
        if let Some(readers) = &self.readers {
            readers.wake(task_id, Wake::Recorded);
        }
    }

    /// A task was started.
    pub(crate) fn started(&self, started: &Started) {
        self.wake(started.task.task_id);
        let Some(announcer) = &self.announcer else {
            return;
        };
        let mut record = record_of(started.task.clone(), &started.claim, started.used);
        record.status = TaskStatus::Running;
        announcer.tell(record, started.claim.started_at);
    }

    /// A claim ended and the ledger recorded it at `now`; one that it did not record is nobody's business.
    pub(crate) fn ended(&self, ended: Ended, recorded: &Recorded, now: Timestamp) {
        self.wake(ended.task.task_id);
        let has_ended = |settlement: &Settlement| settlement.status.is_terminal();
        if ended.task.callback_url.is_some() && recorded.settlement.as_ref().is_some_and(has_ended)
        {
            self.owed.notify_one();
        }
        if let (Some(announcer), Some(settlement)) = (&self.announcer, &recorded.settlement) {
            announcer.tell(ended_record(ended, settlement, now), now);
        }
    }

    /// Tasks ended without running here; what became of them is read from the ledger.
    pub(crate) fn ended_elsewhere(&self, task_ids: Vec<TaskId>) {
        task_ids.iter().for_each(|task_id| self.wake(*task_id));
        self.owed.notify_one();
        if let Some(announcer) = &self.announcer {
            announcer.look_up(task_ids);
        }
    }

    /// A workflow stands somewhere else now.
    pub(crate) fn run(&self, change: RunChange) {
        // Readers wait for runs as they do for tasks: under the same kind of identifier.
        self.wake(TaskId::from(change.run_id.uuid()));
        if let Some(announcer) = &self.announcer {
            announcer.run(change);
        }
    }

    /// An agent is now observed to be `status`.
    pub(crate) fn agent(&self, agent_id: &AgentId, status: AgentStatus, reason: Option<&str>) {
        if let Some(announcer) = &self.announcer {
            announcer.agent(agent_id.clone(), status, reason.map(str::to_owned));
        }
    }

    /// Agents have runnable tasks that this worker has no room for.
    pub(crate) fn ring(&self, agents: &[AgentId]) {
        if let Some(bell) = &self.bell {
            agents.iter().for_each(|agent_id| bell.ring(agent_id));
        }
    }
}

fn record_of(task: NewTask, claim: &Claim, usage: Usage) -> TaskRecord {
    let mut record = task.into_record(TaskStatus::Queued);
    record.attempt = claim.attempt;
    record.started_at = Some(claim.started_at);
    record.worker_id = Some(claim.worker_id);
    record.instance_id = Some(claim.instance_id);
    record.usage = usage;
    record
}

/// The same as the ledger wrote.
fn ended_record(ended: Ended, settlement: &Settlement, now: Timestamp) -> TaskRecord {
    let Ended {
        completion,
        task,
        used,
    } = ended;
    let usage = Usage {
        tokens_used: added(used.tokens_used, completion.usage.tokens_used, |a, b| {
            a.saturating_add(b)
        }),
        cost_estimate: added(
            used.cost_estimate,
            completion.usage.cost_estimate,
            |a, b| a + b,
        ),
    };
    let mut record = record_of(task, &completion.claim, usage);
    record.status = settlement.status;
    record.attempt -= u32::from(!settlement.counts).min(record.attempt);
    record.completed_at = settlement.status.is_terminal().then_some(now);
    record.result.clone_from(&settlement.result);
    record.error.clone_from(&settlement.error);
    record
}

fn added<T>(before: Option<T>, now: Option<T>, add: impl FnOnce(T, T) -> T) -> Option<T> {
    match (before, now) {
        (Some(before), Some(now)) => Some(add(before, now)),
        (some, None) | (None, some) => some,
    }
}
