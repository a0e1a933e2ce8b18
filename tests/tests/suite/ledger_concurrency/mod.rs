//! Many workers at once on one PostgreSQL ledger: the promises hold without any order among them.

#![allow(clippy::unwrap_used, reason = "what fails in a test fails the test")]

mod worker;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use orchestrator_common::config::Secret;
use orchestrator_common::domain::{AgentId, NewTask, TaskId, Timestamp, WorkerId};
use orchestrator_common::ledger::{Ingested, Ledger};
use orchestrator_tests::ledger::{Backend, TestLedger, default_options, task};
use orchestrator_tests::ledger_steps::active_agent;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;
use tokio::sync::Mutex;

use worker::{Dice, Shared, Worker};

const WORKERS: usize = 4;
const TASKS: usize = 2_000;
const LIMITS: [u32; 3] = [2, 6, 16];
const DEADLINE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_that_race_crash_and_repeat_give_every_task_one_outcome_within_the_limits() {
    let test = TestLedger::create(Backend::Postgres, default_options()).await;
    let agents = start_agents(&test.ledger).await;
    let shared = Arc::new(Shared {
        to_bring: Mutex::new(tasks(&agents)),
        brought: Mutex::default(),
        outcomes: Mutex::default(),
        dead: Mutex::default(),
        ended: AtomicUsize::new(0),
        agents,
    });
    let stop = Arc::new(AtomicBool::new(false));
    let sampler = tokio::spawn(sample(test.ledger.clone(), Arc::clone(&stop)));
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let url = Secret::new(test.url.clone().unwrap());
        let worker = Worker {
            ledger: Ledger::open_postgres(&url, 4, default_options())
                .await
                .unwrap(),
            shared: Arc::clone(&shared),
            dice: Dice(u64::try_from(number).unwrap()),
            id: WorkerId::generate(),
            held: Vec::new(),
            past: Vec::new(),
        };
        workers.push(tokio::spawn(worker.run()));
    }
    let all = futures::future::try_join_all(workers);
    tokio::time::timeout(DEADLINE, all)
        .await
        .expect("the workers finish every task in time")
        .expect("no worker meets an error");
    stop.store(true, Ordering::Relaxed);
    assert!(sampler.await.unwrap() > 0, "the limits were looked at");

    let outcomes = shared.outcomes.lock().await;
    let accepted: BTreeSet<TaskId> = shared
        .brought
        .lock()
        .await
        .iter()
        .map(|t| t.task_id)
        .collect();
    assert_eq!(accepted.len(), TASKS);
    assert_eq!(accepted, outcomes.keys().copied().collect());
    assert!(outcomes.values().all(|times| *times == 1));
    assert_drained(&test.ledger).await;
    test.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_identifiers_for_two_agents_at_once_are_a_conflict_and_no_deadlock() {
    let test = TestLedger::create(Backend::Postgres, default_options()).await;
    let agents = start_agents(&test.ledger).await;
    for _ in 0..20 {
        let now = Timestamp::now();
        let mut first: Vec<NewTask> = Vec::new();
        let mut second: Vec<NewTask> = Vec::new();
        // The least urgent for one agent is the most urgent for the other.
        for (at, back) in (0..200u64).zip((0..200u64).rev()) {
            let one = task(&agents[0], json!({}), now.plus(Duration::from_millis(at)));
            second.push(NewTask {
                agent_id: agents[1].clone(),
                submitted_at: now.plus(Duration::from_millis(back)),
                ..one.clone()
            });
            first.push(one);
        }
        let (first, second) = tokio::join!(
            test.ledger.ingest(first, now),
            test.ledger.ingest(second, now)
        );
        for (one, other) in first.unwrap().iter().zip(&second.unwrap()) {
            let won = |it: &Ingested| matches!(it, Ingested::New { .. });
            assert!(
                won(&one.outcome) != won(&other.outcome),
                "{one:?} {other:?}"
            );
        }
    }
    test.remove().await;
}

async fn start_agents(ledger: &Ledger) -> Vec<AgentId> {
    let mut agents = Vec::new();
    for limit in LIMITS {
        agents.push(active_agent(ledger, &format!("limit-{limit}"), limit).await);
    }
    agents
}

fn tasks(agents: &[AgentId]) -> Vec<NewTask> {
    let mut dice = Dice(7);
    (0..TASKS)
        .map(|_| {
            // Most for those that can run most.
            let agent = [0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2][dice.below(12)];
            let mut more =
                json!({"priority": 1 + dice.below(10), "max_attempts": 1 + dice.below(3)});
            if dice.one_in(10) {
                more["delay_seconds"] = 1.into();
            }
            task(&agents[agent], more, Timestamp::now())
        })
        .collect()
}

/// Looks, as often as it can, whether more runs than may; returns how often it looked.
async fn sample(ledger: Ledger, stop: Arc<AtomicBool>) -> usize {
    let sql = "SELECT agents.agent_id, max_concurrent_sessions, agents.running, agents.queued, \
               COUNT(*) FILTER (WHERE tasks.status = 'running'), COUNT(*) FILTER (WHERE tasks.status = 'queued') \
               FROM agents LEFT JOIN tasks ON tasks.agent_id = agents.agent_id \
               AND tasks.status IN ('running', 'queued') GROUP BY agents.agent_id";
    let mut looks = 0;
    while !stop.load(Ordering::Relaxed) {
        for row in query(&ledger, sql).await {
            let agent: String = row.try_get_by_index(0).unwrap();
            let limit = i64::from(row.try_get_by_index::<i32>(1).unwrap());
            let counted = i64::from(row.try_get_by_index::<i32>(2).unwrap());
            let queued: i64 = row.try_get_by_index(3).unwrap();
            let (running, waiting): (i64, i64) = (
                row.try_get_by_index(4).unwrap(),
                row.try_get_by_index(5).unwrap(),
            );
            assert!(running <= limit, "{agent} runs {running} of {limit}");
            assert_eq!((counted, queued), (running, waiting), "{agent}");
        }
        looks += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    looks
}

async fn assert_drained(ledger: &Ledger) {
    let zero = [
        "SELECT COUNT(*) FROM tasks WHERE status NOT IN ('completed', 'failed', 'timed_out', 'cancelled')",
        "SELECT COUNT(*) FROM tasks WHERE completed_at IS NULL",
        "SELECT COUNT(*) FROM agents WHERE running <> 0 OR queued <> 0",
        "SELECT COUNT(*) FROM agent_instances WHERE running <> 0",
        "SELECT COUNT(*) FROM tasks WHERE attempt <> (SELECT COUNT(*) FROM sessions WHERE sessions.task_id = tasks.task_id)",
        "SELECT COUNT(*) FROM agents WHERE sessions <> (SELECT COUNT(*) FROM sessions s WHERE s.agent_id = agents.agent_id)",
    ];
    for sql in zero {
        let rows = query(ledger, sql).await;
        assert_eq!(rows[0].try_get_by_index::<i64>(0).unwrap(), 0, "{sql}");
    }
    let rows = query(ledger, "SELECT COUNT(*) FROM tasks").await;
    let tasks = i64::try_from(TASKS).unwrap();
    assert_eq!(rows[0].try_get_by_index::<i64>(0).unwrap(), tasks);
}

async fn query(ledger: &Ledger, sql: &str) -> Vec<sea_orm::QueryResult> {
    let connection = ledger.connection();
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    connection.query_all_raw(statement).await.unwrap()
}
