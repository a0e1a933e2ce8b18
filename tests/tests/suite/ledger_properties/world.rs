//! Plays operations on a ledger, as the workers and callers of one case, and keeps the model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use orchestrator_common::domain::{
    AgentId, Claim, NewTask, Registration, TaskId, TaskStatus, Timestamp, WorkerId,
};
use orchestrator_common::ledger::{
    Cancelled, Dispatch, Dispatched, Ingested, Ingestion, Ledger, Started, WorkerRecord,
};
use orchestrator_tests::ledger::agent_id;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;
use sea_orm::ConnectionTrait;
use serde_json::json;

use super::checks::{AgentRow, Checks};
use super::model::Model;
use super::operations::{Interleaving, Operation, Plan};

/// A worker process and what it knows.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    /// What it runs.
    pub(crate) held: Vec<Claim>,
    /// All that it (and the processes before it) ever ran.
    pub(crate) past: Vec<Claim>,
}

/// One case under way.
#[derive(Debug)]
pub(crate) struct World<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) now: Timestamp,
    pub(crate) agents: Vec<AgentId>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) model: Model,
    /// Accepted tasks in the order in which they came.
    pub(crate) accepted: Vec<TaskId>,
    checks: Checks,
}

impl<'a> World<'a> {
    /// Registers and starts the agents of a case, whose names no other case has.
    pub(crate) async fn create(
        ledger: &'a Ledger,
        number: u32,
        case: &Interleaving,
    ) -> Result<Self, TestCaseError> {
        for table in ["sessions", "tasks", "agent_instances", "agents", "workers"] {
            // What an earlier case left behind when it failed must not lead the search for the shortest one astray.
            let sql = format!("DELETE FROM {table}");
            ledger.connection().execute_unprepared(&sql).await?;
        }
        let now = Timestamp::now();
        let mut limits = BTreeMap::new();
        for (agent, limit) in case.limits.iter().enumerate() {
            let id = agent_id(&format!("case{number}-{agent}"));
            let body = json!({"agent_id": id.as_str(), "max_concurrent_sessions": limit});
            let registration = Registration::parse(body)
                .map_err(|faults| TestCaseError::fail(format!("{faults:?}")))?;
            ledger.register(&registration, now).await?;
            limits.insert(id, *limit);
        }
        let worker = |_| Worker {
            id: WorkerId::generate(),
            held: Vec::new(),
            past: Vec::new(),
        };
        let mut world = Self {
            ledger,
            now,
            agents: limits.keys().cloned().collect(),
            workers: (0..case.workers).map(worker).collect(),
            model: Model::default(),
            accepted: Vec::new(),
            checks: Checks::new(limits),
        };
        for (agent, instances) in case.instances.iter().enumerate() {
            world.scale(agent, *instances).await?;
            world
                .want(agent, orchestrator_common::domain::Wish::Start)
                .await?;
            world.reconcile(agent, false).await?;
        }
        world.heartbeats().await?;
        Ok(world)
    }

    /// Plays one operation; everything that must hold is checked after it.
    pub(crate) async fn apply(&mut self, operation: Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Dispatch(plan) => self.dispatch(plan).await?,
            Operation::Ingest(arrivals) => {
                let arrivals = self.arrivals(arrivals);
                let ingestions = self.ledger.ingest(arrivals.clone(), self.now).await?;
                self.ingested(&arrivals, &ingestions)?;
            }
            Operation::Kill {
                worker,
                noticed_at_once,
            } => self.kill(worker, noticed_at_once).await?,
            Operation::Stall { worker } => {
                let id = self.workers[worker % self.workers.len()].id;
                self.recover(id).await?;
            }
            Operation::Cancel(which) => self.cancel(which).await?,
            Operation::Want { agent, wish } => self.want(agent, wish).await?,
            Operation::Reconcile { agent, dies } => self.reconcile(agent, dies).await?,
            Operation::Forget { agent, which } => self.forget(agent, which).await?,
            Operation::Scale { agent, instances } => self.scale(agent, instances).await?,
            Operation::Probe {
                agent,
                which,
                is_well,
            } => self.probe(agent, which, is_well).await?,
            Operation::Wait { seconds } => self.wait(Duration::from_secs(seconds)).await?,
        }
        self.check().await?;
        Ok(())
    }

    pub(crate) async fn check(&mut self) -> Result<BTreeMap<AgentId, AgentRow>, TestCaseError> {
        self.checks.hold(self.ledger, &self.model, self.now).await
    }

    async fn dispatch(&mut self, plan: Plan) -> Result<(), TestCaseError> {
        let worker = plan.worker % self.workers.len();
        let arrivals = self.arrivals(plan.arrivals);
        let completions = self.completions(worker, plan.endings);
        let claims: Vec<AgentId> = plan
            .claims
            .iter()
            .map(|agent| self.agents[agent % self.agents.len()].clone())
            .collect();
        for last in [!plan.answer_lost, true] {
            let dispatch = Dispatch {
                arrivals: arrivals.clone(),
                completions: completions.clone(),
                claims: claims.clone(),
                room: plan.room,
            };
            let dispatched = self.dispatch_once(worker, dispatch).await?;
            if last {
                let worker = &mut self.workers[worker];
                let told: Vec<&Claim> = completions.iter().map(|told| &told.claim).collect();
                worker.held.retain(|claim| !told.contains(&claim));
                let claims = dispatched.started.into_iter().map(|started| started.claim);
                worker.held.extend(claims.clone());
                worker.past.extend(claims);
                break;
            }
        }
        Ok(())
    }

    /// Dispatches, follows with the model, and checks what holds of a single dispatch.
    pub(crate) async fn dispatch_once(
        &mut self,
        worker: usize,
        dispatch: Dispatch,
    ) -> Result<Dispatched, TestCaseError> {
        let (arrivals, completions) = (dispatch.arrivals.clone(), dispatch.completions.clone());
        let room = dispatch.room as usize;
        let mut named: BTreeSet<AgentId> = dispatch.claims.iter().cloned().collect();
        named.extend(arrivals.iter().map(|task| task.agent_id.clone()));
        named.extend(completions.iter().map(|told| told.claim.agent_id.clone()));
        let id = self.workers[worker].id;
        let dispatched = self.ledger.dispatch(id, dispatch, self.now).await?;

        self.model
            .settle(&completions, &dispatched.completions, self.now)?;
        self.ingested(&arrivals, &dispatched.arrivals)?;
        for started in &dispatched.started {
            prop_assert_eq!(started.claim.worker_id, id);
            self.model.start(started)?;
        }
        let agents = self.check().await?;
        for Started { claim, .. } in &dispatched.started {
            let agent = &agents[&claim.agent_id];
            prop_assert!(
                agent.may_start_on(claim.instance_id),
                "{:?} on {:?}",
                claim,
                agent
            );
        }
        prop_assert!(dispatched.started.len() <= room, "no more than its room");
        for agent in &named {
            let row = &agents[agent];
            let hungry = row.queued > 0 && row.free() > 0;
            prop_assert_eq!(dispatched.hungry.contains(agent), hungry, "{:?}", row);
            prop_assert!(
                !hungry || dispatched.started.len() == room,
                "a worker with room left {:?} waiting",
                row
            );
            self.in_order(agent, &dispatched)?;
        }
        Ok(dispatched)
    }

    /// No started task of an agent was less urgent than one that still waits.
    fn in_order(&self, agent: &AgentId, dispatched: &Dispatched) -> Result<(), TestCaseError> {
        let started = dispatched
            .started
            .iter()
            .filter(|started| &started.claim.agent_id == agent)
            .map(|started| self.model.tasks[&started.claim.task_id].urgency());
        let waiting = self
            .model
            .tasks
            .values()
            .filter(|known| &known.task.agent_id == agent && known.status == TaskStatus::Queued)
            .map(|known| known.urgency());
        if let (Some(least), Some(most)) = (started.max(), waiting.min()) {
            prop_assert!(least < most, "{:?} started before {:?}", least, most);
        }
        Ok(())
    }

    fn ingested(
        &mut self,
        arrivals: &[NewTask],
        ingestions: &[Ingestion],
    ) -> Result<(), TestCaseError> {
        prop_assert_eq!(arrivals.len(), ingestions.len());
        for (task, ingestion) in arrivals.iter().zip(ingestions) {
            prop_assert_eq!(task.task_id, ingestion.task_id);
            let new = self.model.accept(task, self.now);
            if new {
                self.accepted.push(task.task_id);
            }
            let same = self.model.tasks[&task.task_id].task.agent_id == task.agent_id;
            let expected = match &ingestion.outcome {
                Ingested::New { .. } => new,
                Ingested::Repeated { .. } => !new && same,
                Ingested::Conflict => !new && !same,
                Ingested::UnknownAgent => false,
            };
            prop_assert!(expected, "{:?} of {:?}", ingestion, task);
        }
        Ok(())
    }

    async fn cancel(&mut self, which: Index) -> Result<(), TestCaseError> {
        if self.accepted.is_empty() {
            return Ok(());
        }
        let id = *which.get(&self.accepted);
        let cancelled = self.ledger.cancel(id, self.now).await?;
        let Some(known) = self.model.tasks.get_mut(&id) else {
            return Err(TestCaseError::fail("what was accepted is known"));
        };
        let expected = match &known.claim {
            Some(claim) => {
                known.cancel_requested = true;
                Cancelled::Requested(claim.worker_id)
            }
            None if known.waits() => {
                known.end(TaskStatus::Cancelled)?;
                Cancelled::Now
            }
            None => Cancelled::AlreadyEnded(known.status),
        };
        prop_assert_eq!(cancelled, expected);
        Ok(())
    }

    pub(crate) fn record_of(worker: &Worker) -> WorkerRecord {
        WorkerRecord {
            worker_id: worker.id,
            host: "here".to_owned(),
            capacity: 10,
        }
    }
}
