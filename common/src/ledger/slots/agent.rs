//! One locked agent: taking and giving back slots of its instances, and learning from what comes back.

use crate::domain::{
    AgentStatus, CircuitState, Claim, DesiredState, Evidence, InstanceId, InstanceState,
    LoadBalancing, Place, TaskStatus, Timestamp, Usage, pick, room_of, turn_after, turn_now,
};

/// One locked agent.
#[derive(Debug)]
pub(in crate::ledger) struct AgentSlots {
    pub(in crate::ledger) desired: DesiredState,
    pub(in crate::ledger) status: AgentStatus,
    pub(in crate::ledger) policy: LoadBalancing,
    pub(super) limit: u32,
    pub(in crate::ledger) running: u32,
    pub(in crate::ledger) queued: i64,
    pub(super) instances: Vec<InstanceSlots>,
    pub(super) reconcile: bool,
    pub(super) changed: bool,
    pub(super) added: AddedTotals,
}

/// What this transaction adds to an agent's totals.
#[derive(Debug, Default)]
pub(super) struct AddedTotals {
    pub(super) sessions: i64,
    pub(super) completed: i64,
    pub(super) failed: i64,
    pub(super) busy_micros: i64,
    pub(super) tokens: i64,
    pub(super) cost: f64,
}

#[derive(Debug)]
pub(super) struct InstanceSlots {
    pub(super) instance_id: InstanceId,
    endpoint: String,
    pub(super) place: Place,
    /// What its circuit was when it was read.
    circuit_before: CircuitState,
    pub(super) changed: bool,
}

/// A slot that was taken.
#[derive(Debug)]
pub(in crate::ledger) struct Slot {
    pub(in crate::ledger) instance_id: InstanceId,
    pub(in crate::ledger) endpoint: String,
}

impl InstanceSlots {
    pub(super) fn new(instance_id: InstanceId, endpoint: String, place: Place) -> Self {
        Self {
            instance_id,
            endpoint,
            circuit_before: place.circuit.state,
            place,
            changed: false,
        }
    }

    pub(super) fn circuit_changed(&self) -> bool {
        self.place.circuit.state != self.circuit_before
    }

    /// Takes in what an attempt of it, which still counts as running, says of it.
    fn learn(&mut self, claim: &Claim, evidence: Evidence, now: Timestamp) {
        let Place {
            configured,
            running,
            capacity,
            circuit,
            state,
            ..
        } = &mut self.place;
        let sent_at = claim.started_at;
        match evidence {
            Evidence::Succeeded => {
                let seconds = now.since(sent_at).as_secs_f64();
                capacity.succeeded(*configured, *running, seconds, sent_at, now);
                circuit.succeeded(sent_at, now);
            }
            Evidence::Answered => circuit.succeeded(sent_at, now),
            Evidence::Refused => {
                capacity.refused(*configured, *running, sent_at, now);
                circuit.succeeded(sent_at, now);
            }
            Evidence::Failed => circuit.failed(sent_at, now),
            Evidence::None => circuit.unproved(sent_at, now),
        }
        let answered = match evidence {
            Evidence::Succeeded | Evidence::Answered | Evidence::Refused => true,
            Evidence::Failed | Evidence::None => false,
        };
        if answered && *state == InstanceState::Unhealthy {
            *state = InstanceState::Healthy;
        }
    }
}

impl AgentSlots {
    fn places(&self) -> impl Iterator<Item = &Place> + Clone {
        self.instances.iter().map(|instance| &instance.place)
    }

    /// How many more tasks may start now.
    pub(in crate::ledger) fn free(&self, now: Timestamp) -> u32 {
        if self.desired != DesiredState::Running || self.status != AgentStatus::Active {
            return 0;
        }
        let unused = self.limit.saturating_sub(self.running);
        if unused == 0 {
            return 0;
        }
        unused.min(room_of(self.places(), now))
    }

    /// Takes a slot of the instance that is picked; `None` when there is none. See [`pick`] for `preferred` and `avoided`.
    pub(in crate::ledger) fn take(
        &mut self,
        preferred: Option<InstanceId>,
        avoided: Option<InstanceId>,
        now: Timestamp,
    ) -> Option<Slot> {
        if self.free(now) == 0 {
            return None;
        }
        let position = |id: InstanceId| self.instances.iter().position(|i| i.instance_id == id);
        let (preferred, avoided) = (preferred.and_then(position), avoided.and_then(position));
        let picked = pick(self.policy, self.places(), preferred, avoided, now)?;
        let turn = turn_now(self.policy, self.places());
        let policy = self.policy;
        let instance = self.instances.get_mut(picked)?;
        instance.place.turn = turn_after(policy, &instance.place, turn);
        instance.place.running += 1;
        instance.place.circuit.sent(now);
        instance.changed = true;
        self.running += 1;
        self.changed = true;
        Some(Slot {
            instance_id: instance.instance_id,
            endpoint: instance.endpoint.clone(),
        })
    }

    /// Gives back a slot that was taken in this transaction and not used after all.
    pub(in crate::ledger) fn give_back(&mut self, instance_id: InstanceId, now: Timestamp) {
        self.let_go(instance_id, |instance| {
            instance.place.circuit.unproved(now, now);
        });
    }

    /// Gives back the slot of an attempt that ended, and takes in what it says of its instance; that may be gone meanwhile.
    pub(in crate::ledger) fn release(&mut self, claim: &Claim, evidence: Evidence, now: Timestamp) {
        self.let_go(claim.instance_id, |instance| {
            instance.learn(claim, evidence, now);
        });
        if self.running == 0
            && matches!(self.desired, DesiredState::Stopped | DesiredState::Removed)
        {
            self.reconcile = true;
        }
    }

    fn let_go(&mut self, instance_id: InstanceId, learn: impl FnOnce(&mut InstanceSlots)) {
        let mut instances = self.instances.iter_mut();
        if let Some(instance) = instances.find(|i| i.instance_id == instance_id) {
            learn(instance);
            instance.place.running = instance.place.running.saturating_sub(1);
            instance.changed = true;
            self.reconcile |= instance.place.draining && instance.place.running == 0;
        }
        self.running = self.running.saturating_sub(1);
        self.changed = true;
    }

    /// Counts tasks that came to wait (or, when negative, no longer do).
    pub(in crate::ledger) fn add_queued(&mut self, number: i64) {
        self.queued += number;
        self.changed |= number != 0;
    }

    /// Adds an ended attempt to the totals.
    pub(in crate::ledger) fn add_session(
        &mut self,
        status: TaskStatus,
        busy_micros: i64,
        usage: &Usage,
    ) {
        self.changed = true;
        self.added.sessions += 1;
        self.added.busy_micros += busy_micros;
        self.added.tokens += usage
            .tokens_used
            .and_then(|tokens| i64::try_from(tokens).ok())
            .unwrap_or(0);
        self.added.cost += usage.cost_estimate.unwrap_or(0.0);
        match status {
            TaskStatus::Completed => self.added.completed += 1,
            TaskStatus::Failed | TaskStatus::TimedOut => self.added.failed += 1,
            TaskStatus::Queued
            | TaskStatus::Scheduled
            | TaskStatus::Running
            | TaskStatus::Retrying
            | TaskStatus::Cancelled => {}
        }
    }

    /// Whether the agent is on its way out.
    pub(in crate::ledger) fn is_removed(&self) -> bool {
        self.desired == DesiredState::Removed
    }

    /// An agent that was never started is wanted as soon as it has a task.
    pub(in crate::ledger) fn start_if_idle(&mut self) {
        if self.desired == DesiredState::Idle {
            self.desired = DesiredState::Running;
            self.reconcile = true;
            self.changed = true;
        }
    }

    /// Notes what a probe found of an instance; returns what the instance is now, unless it is gone or does not change.
    pub(in crate::ledger) fn probed(
        &mut self,
        instance_id: InstanceId,
        state: Option<InstanceState>,
        is_well: bool,
        now: Timestamp,
    ) -> Option<InstanceState> {
        let mut instances = self.instances.iter_mut();
        let instance = instances.find(|i| i.instance_id == instance_id)?;
        let before = instance.place;
        if is_well {
            instance.place.circuit.probed_well(now);
        }
        if let Some(state) = state
            && before.state != InstanceState::Making
        {
            instance.place.state = state;
        }
        let changed = before.state != instance.place.state;
        if changed || before.circuit != instance.place.circuit {
            instance.changed = true;
            self.changed = true;
            self.reconcile |= instance.place.state == InstanceState::Lost;
        }
        changed.then_some(instance.place.state)
    }
}
