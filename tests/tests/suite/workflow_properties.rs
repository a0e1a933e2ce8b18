//! Random workflows on the real ledger, under any interleaving of workers that end, crash and repeat, people who cancel,
//! resume and decide, and processes that advance at the same time: each run ends in one legal state, and no step has its
//! effects twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use orchestrator_common::domain::workflow::{
    ChildStatus, Decision, Draft, NewRun, OnFailure, RunId, RunRecord, RunStatus, StepStatus,
    Verdict,
};
use orchestrator_common::domain::{
    AgentId, Claim, ErrorCode, Outcome, TaskError, TaskId, Timestamp, WorkerId,
};
use orchestrator_common::ledger::Ledger;
use orchestrator_tests::ledger::{Backend, TestLedger, default_options};
use orchestrator_tests::ledger_steps::{active_agent, claim, completed, end, retryable};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

#[test]
fn random_workflows_end_once_on_sqlite() {
    end_once(Backend::Sqlite, 48);
}

#[test]
fn random_workflows_end_once_on_postgres() {
    end_once(Backend::Postgres, 16);
}

fn end_once(backend: Backend, cases: u32) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let test = runtime.block_on(TestLedger::create(backend, default_options()));
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_time: 30_000,
        ..Config::default()
    };
    let number = AtomicU32::new(0);
    let outcome = TestRunner::new(config).run(&cases_of(), |(steps, events)| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        runtime.block_on(async {
            let mut world = World::start(&test.ledger, number, &steps).await;
            for event in events {
                world.apply(event).await;
            }
            world.drain().await;
            world.check().await;
        });
        Ok(())
    });
    runtime.block_on(test.remove());
    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
}

/// What happens to a run.
#[derive(Clone, Debug)]
enum Event {
    /// One or more processes advance whatever is due.
    Advance { at_once: usize },
    /// A worker takes what waits for one agent.
    Claim { worker: usize },
    /// A task that runs ends.
    End { which: usize, how: u8 },
    /// An end is told again.
    Again { which: usize },
    /// A worker dies, and comes back as another.
    Crash { worker: usize },
    /// Somebody cancels a task.
    CancelTask { which: usize },
    /// Somebody decides.
    Decide { approve: bool },
    /// Somebody cancels the run.
    CancelRun,
    /// Somebody goes on with it.
    Resume,
    /// Delays are over.
    Wait,
}

/// A definition, and what happens to a run of it.
type Case = (Vec<Value>, Vec<Event>);

fn cases_of() -> impl Strategy<Value = Case> {
    let step = (any::<u8>(), 0u32..4, any::<bool>(), 0u8..5);
    let steps = proptest::collection::vec(step, 1..7).prop_map(|steps| {
        let made = steps.into_iter().enumerate();
        made.map(|(n, (before, join, goes_on, kind))| {
            let depends_on: Vec<String> = (0..n)
                .filter(|m| before >> m & 1 == 1)
                .map(|m| format!("s{m}"))
                .collect();
            let join = match join {
                0 if !depends_on.is_empty() => json!("any"),
                1 if depends_on.len() > 1 => json!({"quorum": 2}),
                _ => json!("all"),
            };
            let on_failure = if goes_on { "continue" } else { "fail" };
            let mut step = json!({
                "id": format!("s{n}"), "depends_on": depends_on, "join": join, "on_failure": on_failure,
            });
            if kind == 0 {
                step["type"] = json!("approval");
                return step;
            }
            step["agent_id"] = json!("AGENT");
            step["task_type"] = json!("t");
            step["retry"] = json!({"max_attempts": 2});
            if kind == 1 {
                step["for_each"] = json!({"items": "/input", "max_concurrent": 2, "join": {"quorum": 2}});
            } else if kind == 2 {
                step["for_each"] = json!({"items": "/input"});
            }
            step
        })
        .collect()
    });
    let event = prop_oneof![
        6 => (1usize..3).prop_map(|at_once| Event::Advance { at_once }),
        5 => (0usize..2).prop_map(|worker| Event::Claim { worker }),
        8 => (any::<usize>(), any::<u8>()).prop_map(|(which, how)| Event::End { which, how }),
        2 => any::<usize>().prop_map(|which| Event::Again { which }),
        1 => (0usize..2).prop_map(|worker| Event::Crash { worker }),
        1 => any::<usize>().prop_map(|which| Event::CancelTask { which }),
        2 => any::<bool>().prop_map(|approve| Event::Decide { approve }),
        1 => Just(Event::CancelRun),
        1 => Just(Event::Resume),
        1 => Just(Event::Wait),
    ];
    (steps, proptest::collection::vec(event, 0..50))
}

struct World<'a> {
    ledger: &'a Ledger,
    agent: AgentId,
    run_id: RunId,
    workers: Vec<WorkerId>,
    running: Vec<Claim>,
    past: Vec<Claim>,
    now: Timestamp,
    cancelled: bool,
}

impl<'a> World<'a> {
    async fn start(ledger: &'a Ledger, number: u32, steps: &[Value]) -> Self {
        let agent = active_agent(ledger, &format!("agent{number}"), 3).await;
        let text = json!({"steps": steps}).to_string();
        let body: Value = serde_json::from_str(&text.replace("AGENT", agent.as_str())).unwrap();
        let definition = Draft::read(body.clone())
            .checked(|_| true, |_| true)
            .unwrap();
        let run = NewRun {
            run_id: RunId::generate(),
            named: None,
            body,
            definition,
            input: json!([1, 2, 3, 4]),
            created_at: Timestamp::now(),
            fingerprint: None,
            traceparent: None,
        };
        ledger.start_run(&run, Timestamp::now()).await.unwrap();
        Self {
            ledger,
            agent,
            run_id: run.run_id,
            workers: vec![WorkerId::generate(), WorkerId::generate()],
            running: Vec::new(),
            past: Vec::new(),
            now: Timestamp::now(),
            cancelled: false,
        }
    }

    async fn run(&self) -> RunRecord {
        self.ledger.run(self.run_id).await.unwrap().unwrap()
    }

    async fn apply(&mut self, event: Event) {
        self.now = self.now.plus(Duration::from_millis(10));
        match event {
            Event::Advance { at_once } => {
                let advances = (0..at_once).map(|_| self.ledger.advance_runs(64, self.now));
                for advanced in futures::future::join_all(advances).await {
                    advanced.unwrap();
                }
            }
            Event::Claim { worker } => {
                let started = claim(self.ledger, self.workers[worker], &self.agent, self.now).await;
                self.running
                    .extend(started.into_iter().map(|task| task.claim));
            }
            Event::End { which, how } if !self.running.is_empty() => {
                let claim = self.running.remove(which % self.running.len());
                self.end(claim, how).await;
            }
            Event::Again { which } if !self.past.is_empty() => {
                let claim = self.past[which % self.past.len()].clone();
                self.end(claim, 0).await;
            }
            Event::Crash { worker } => {
                let lost = std::mem::replace(&mut self.workers[worker], WorkerId::generate());
                self.ledger.recover(lost, self.now).await.unwrap();
                let (gone, left) = std::mem::take(&mut self.running)
                    .into_iter()
                    .partition::<Vec<_>, _>(|claim| claim.worker_id == lost);
                self.past.extend(gone);
                self.running = left;
            }
            Event::CancelTask { which } if !self.running.is_empty() => {
                let task_id = self.running[which % self.running.len()].task_id;
                self.ledger.cancel(task_id, self.now).await.unwrap();
            }
            Event::Decide { approve } => self.decide(approve).await,
            Event::CancelRun => {
                self.ledger.cancel_run(self.run_id, self.now).await.unwrap();
                self.cancelled = true;
            }
            Event::Resume => {
                self.ledger.resume_run(self.run_id, self.now).await.unwrap();
            }
            Event::Wait => self.wait().await,
            Event::End { .. } | Event::Again { .. } | Event::CancelTask { .. } => {}
        }
    }

    async fn end(&mut self, claim: Claim, how: u8) {
        let outcome = match how % 6 {
            0 => Outcome::Failed {
                error: TaskError::new(ErrorCode::AgentFailed, "no"),
            },
            1 => retryable(),
            2 => Outcome::HandedBack,
            _ => completed(),
        };
        let dispatched = end(self.ledger, &claim, outcome, self.now).await;
        self.running
            .extend(dispatched.started.into_iter().map(|task| task.claim));
        self.past.push(claim);
    }

    async fn decide(&mut self, approve: bool) {
        let run = self.run().await;
        for (step, stands) in run.definition.steps.iter().zip(&run.state.steps) {
            if let (Some(asked), StepStatus::Waiting) = (&stands.approval, stands.status) {
                let verdict = if approve {
                    Verdict::Approve
                } else {
                    Verdict::Reject
                };
                let decision = Decision {
                    verdict,
                    hash: asked.hash.clone(),
                    comment: None,
                };
                let deciding = self
                    .ledger
                    .decide_step(self.run_id, &step.id, &decision, self.now);
                deciding.await.unwrap();
            }
        }
    }

    async fn wait(&mut self) {
        self.now = self.now.plus(Duration::from_secs(600));
        self.ledger.promote_due(self.now).await.unwrap();
    }

    /// Lets everything end.
    async fn drain(&mut self) {
        for _ in 0..400 {
            self.apply(Event::Advance { at_once: 1 }).await;
            if self.run().await.summary.status.has_ended() && self.running.is_empty() {
                return;
            }
            self.apply(Event::Decide { approve: true }).await;
            self.apply(Event::Wait).await;
            self.apply(Event::Claim { worker: 0 }).await;
            while !self.running.is_empty() {
                self.apply(Event::End { which: 0, how: 5 }).await;
            }
        }
        panic!("the run does not end: {:?}", self.run().await);
    }

    async fn tasks(&self) -> BTreeMap<TaskId, String> {
        let connection = self.ledger.connection();
        let sql = "SELECT task_id, status FROM tasks WHERE workflow_run_id = $1";
        let values = [self.run_id.uuid().into()];
        let statement =
            Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
        let rows = connection.query_all_raw(statement).await.unwrap();
        rows.iter()
            .map(|row| {
                let task_id: uuid::Uuid = row.try_get_by_index(0).unwrap();
                (TaskId::from(task_id), row.try_get_by_index(1).unwrap())
            })
            .collect()
    }

    async fn check(&self) {
        let run = self.run().await;
        let (status, state) = (run.summary.status, &run.state);
        let tasks = self.tasks().await;
        assert!(
            tasks.values().all(|status| matches!(
                status.as_str(),
                "completed" | "failed" | "timed_out" | "cancelled"
            )),
            "{tasks:?}"
        );
        let agent = self.ledger.agent(&self.agent).await.unwrap().unwrap();
        assert_eq!((agent.queued, agent.running), (0, 0));
        let failed = run
            .definition
            .steps
            .iter()
            .zip(&state.steps)
            .any(|(step, stands)| {
                stands.status == StepStatus::Failed && step.on_failure == OnFailure::Fail
            });
        match status {
            RunStatus::Completed => assert!(!failed, "{state:?}"),
            RunStatus::Failed => assert!(failed, "{state:?}"),
            RunStatus::Cancelled => assert!(self.cancelled),
            RunStatus::Running | RunStatus::Failing | RunStatus::Cancelling => panic!("{status}"),
        }
        let mut known = BTreeSet::new();
        for (n, step) in state.steps.iter().enumerate() {
            for child in 0..step.children.len() {
                let tries = 0..=state.resumed;
                let ids = tries.map(|tried| TaskId::of_step(self.run_id, n, child, tried));
                let made: Vec<TaskId> = ids.filter(|id| tasks.contains_key(id)).collect();
                let with_result = made.iter().filter(|id| tasks[*id] == "completed").count();
                assert!(with_result <= 1, "step {n}, child {child} has two results");
                let current = step.task_id(self.run_id, n, child);
                if step.children.get(child) == Some(ChildStatus::Completed) {
                    assert_eq!(tasks.get(&current).map(String::as_str), Some("completed"));
                }
                known.extend(made);
            }
        }
        assert_eq!(known.len(), tasks.len(), "tasks that no step knows");
    }
}
