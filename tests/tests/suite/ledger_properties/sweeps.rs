//! Crashes, the passing of time, and the sweeps that find everything again: the case ends when they have.

use std::collections::HashSet;
use std::time::Duration;

use orchestrator_common::domain::{
    AgentStatus, Completion, DesiredState, Scaling, TaskId, TaskStatus, Usage, Wish, WorkerId,
};
use orchestrator_common::ledger::{Dispatch, Found, Probe, Scaled, Wished};
use orchestrator_tests::ledger_steps::make_instances;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;

use super::operations::completed;
use super::world::{Worker, World};

const SILENCE: Duration = Duration::from_secs(15);
const LEASE: Duration = Duration::from_secs(60);
/// Longer than any delay of a retry, lease or silence.
const LONG: Duration = Duration::from_secs(400);

impl World<'_> {
    pub(crate) async fn heartbeats(&self) -> Result<(), TestCaseError> {
        for worker in &self.workers {
            self.ledger
                .heartbeat(&Self::record_of(worker), self.now)
                .await?;
        }
        Ok(())
    }

    /// The process dies with all it knew and comes back as another worker; another worker may see its lock fall.
    pub(crate) async fn kill(&mut self, worker: usize, noticed: bool) -> Result<(), TestCaseError> {
        let worker = worker % self.workers.len();
        let lost = self.workers[worker].id;
        let next: &mut Worker = &mut self.workers[worker];
        next.id = WorkerId::generate();
        next.held.clear();
        let record = Self::record_of(&self.workers[worker]);
        self.ledger.heartbeat(&record, self.now).await?;
        if noticed {
            self.recover(lost).await?;
        }
        Ok(())
    }

    pub(crate) async fn recover(&mut self, lost: WorkerId) -> Result<(), TestCaseError> {
        let held: HashSet<TaskId> = self
            .model
            .tasks
            .values()
            .filter_map(|known| known.claim.as_ref())
            .filter(|claim| claim.worker_id == lost)
            .map(|claim| claim.task_id)
            .collect();
        let recorded = self.ledger.recover(lost, self.now).await?;
        self.model.recover(&held, &recorded)
    }

    pub(crate) async fn want(&mut self, agent: usize, wish: Wish) -> Result<(), TestCaseError> {
        let agent = &self.agents[agent % self.agents.len()];
        match self.ledger.wish(agent, wish, self.now).await? {
            Wished::Now(record) => prop_assert_eq!(record.desired, wish.desired()),
            Wished::Not(desired) => prop_assert!(!wish.allowed_from().contains(&desired)),
            Wished::Unknown => prop_assert!(false, "{agent} is gone"),
        }
        Ok(())
    }

    pub(crate) async fn reconcile(
        &mut self,
        agent: usize,
        dies: bool,
    ) -> Result<(), TestCaseError> {
        let agent = &self.agents[agent % self.agents.len()];
        let holder = WorkerId::generate();
        let lease = self.ledger.lease_agent(agent, holder, LEASE, self.now);
        let Some(lease) = lease.await?.filter(|_| !dies) else {
            return Ok(());
        };
        match lease.agent.desired {
            DesiredState::Running => {
                let endpoint = "http://127.0.0.1:1/agents/x";
                make_instances(self.ledger, &lease, endpoint, self.now).await?;
            }
            DesiredState::Paused => {
                self.ledger
                    .observe(&lease, AgentStatus::Paused, None)
                    .await?;
            }
            DesiredState::Idle | DesiredState::Stopped | DesiredState::Removed => {
                self.ledger.deactivate(&lease, self.now).await?;
            }
        }
        self.ledger.end_lease(&lease, 0, None).await?;
        Ok(())
    }

    async fn instance(&self, agent: usize, which: Index) -> Result<Option<Probe>, TestCaseError> {
        let id = &self.agents[agent % self.agents.len()];
        let record = self.ledger.agent(id).await?;
        let instances = record.map(|record| record.instances).unwrap_or_default();
        if instances.is_empty() {
            return Ok(None);
        }
        let instance = which.get(&instances);
        Ok(Some(Probe {
            agent_id: id.clone(),
            instance_id: instance.instance_id,
            endpoint: instance.endpoint.clone(),
        }))
    }

    pub(crate) async fn forget(&self, agent: usize, which: Index) -> Result<(), TestCaseError> {
        if let Some(Probe {
            agent_id,
            instance_id,
            ..
        }) = self.instance(agent, which).await?
        {
            self.ledger
                .lose_instance(&agent_id, instance_id, self.now)
                .await?;
        }
        Ok(())
    }

    pub(crate) async fn probe(
        &self,
        agent: usize,
        which: Index,
        is_well: bool,
    ) -> Result<(), TestCaseError> {
        if let Some(probe) = self.instance(agent, which).await? {
            let found = if is_well {
                Found::Well(None)
            } else {
                Found::Failed
            };
            self.ledger
                .record_probes(&[(probe, found)], self.now)
                .await?;
        }
        Ok(())
    }

    pub(crate) async fn scale(&self, agent: usize, instances: u32) -> Result<(), TestCaseError> {
        let agent = &self.agents[agent % self.agents.len()];
        let scaling = Scaling {
            instances: Some(instances),
            max_concurrent_sessions: None,
        };
        let scaled = self.ledger.scale(agent, scaling, self.now).await?;
        prop_assert!(matches!(scaled, Scaled::Now(_)));
        Ok(())
    }

    /// Time passes; the living are heard of, then the sweeps run.
    pub(crate) async fn wait(&mut self, duration: Duration) -> Result<(), TestCaseError> {
        self.now = self.now.plus(duration);
        self.heartbeats().await?;
        self.sweep().await
    }

    async fn sweep(&mut self) -> Result<(), TestCaseError> {
        let nobody = WorkerId::generate();
        let silent_since = self.now.minus(SILENCE);
        for other in self.ledger.other_workers(nobody).await? {
            // One without a row is only known by what it runs: the living have just been heard of.
            if other.heartbeat_at.is_none_or(|at| at <= silent_since) {
                self.recover(other.worker_id).await?;
            }
        }
        while self.ledger.promote_due(self.now).await?.more {}
        for known in self.model.tasks.values_mut() {
            let delayed = matches!(known.status, TaskStatus::Scheduled | TaskStatus::Retrying);
            if delayed && known.run_at.is_some_and(|at| at <= self.now) {
                known.status = TaskStatus::Queued;
            }
        }
        self.check().await?;

        let expired: HashSet<TaskId> = self.ledger.expire(self.now).await?.into_iter().collect();
        for (id, known) in &mut self.model.tasks {
            let late = known.task.expires_at.is_some_and(|at| at <= self.now);
            prop_assert_eq!(expired.contains(id), late && known.waits(), "{:?}", known);
            if expired.contains(id) {
                known.end(TaskStatus::Failed)?;
            }
        }
        self.check().await?;
        Ok(())
    }

    /// Every worker dies unseen; one new worker follows only the sweeps until every task has its outcome.
    pub(crate) async fn drain(&mut self) -> Result<(), TestCaseError> {
        self.workers.truncate(1);
        self.workers[0].id = WorkerId::generate();
        for (agent, id) in self.agents.clone().iter().enumerate() {
            let record = self.ledger.agent(id).await?;
            if record.is_some_and(|record| record.desired != DesiredState::Running) {
                self.want(agent, Wish::Start).await?;
            }
        }
        for _ in 0..self.rounds_at_most() {
            if self
                .model
                .tasks
                .values()
                .all(|known| known.status.is_terminal())
            {
                break;
            }
            self.now = self.now.plus(LONG);
            self.heartbeats().await?;
            self.sweep().await?;
            for id in self.ledger.agents_to_reconcile(self.now, 1_000).await? {
                if let Some(agent) = self.agents.iter().position(|agent| *agent == id) {
                    self.reconcile(agent, false).await?;
                }
            }
            self.run_what_is_runnable().await?;
        }
        for known in self.model.tasks.values() {
            prop_assert_eq!(known.outcomes, 1, "every accepted task ends: {:?}", known);
        }
        for (id, agent) in self.check().await? {
            prop_assert_eq!((agent.running, agent.queued), (0, 0), "{}", id);
        }
        Ok(())
    }

    /// A round ends at least one task of each agent, once the first two have found what was lost.
    fn rounds_at_most(&self) -> usize {
        self.model.tasks.len() + 5
    }

    async fn run_what_is_runnable(&mut self) -> Result<(), TestCaseError> {
        let runnable = self.ledger.runnable_agents(1_000).await?;
        let claims = runnable
            .into_iter()
            .filter(|id| self.agents.contains(id))
            .collect();
        let dispatch = Dispatch {
            claims,
            room: 100,
            ..Dispatch::default()
        };
        let mut started = self.dispatch_once(0, dispatch).await?.started;
        while !started.is_empty() {
            let completions = started
                .drain(..)
                .map(|started| Completion {
                    claim: started.claim,
                    outcome: completed(),
                    usage: Usage::default(),
                })
                .collect();
            let dispatch = Dispatch {
                completions,
                room: 100,
                ..Dispatch::default()
            };
            started = self.dispatch_once(0, dispatch).await?.started;
        }
        Ok(())
    }
}
