//! What the ledger reads of PostgreSQL must follow the work to do, never the tasks that have ended.
//!
//! Measured by the server's own counts of index entries and rows, over the real operations: no copies of their SQL.

#![allow(clippy::unwrap_used, reason = "what fails in a test fails the test")]

use std::collections::BTreeMap;
use std::time::Duration;

use orchestrator_common::config::Secret;
use orchestrator_common::domain::{AgentId, Completion, TaskId, Timestamp, Usage, WorkerId};
use orchestrator_common::ledger::{Dispatch, Ledger, Started};
use orchestrator_tests::ledger::{Backend, TestLedger, default_options, task};
use orchestrator_tests::ledger_steps::{active_agent, completed};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;
use uuid::Uuid;

const ENDED: u32 = 20_000;
const RUNNING: u32 = 1_000;
const QUEUED: u32 = 1_000;
const EACH: usize = 8;

/// Index entries and rows of `tasks` that were read, by index; `""` is the table itself.
type Reads = BTreeMap<String, i64>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_reads_what_it_works_on_and_not_what_has_ended() {
    let test = TestLedger::create(Backend::Postgres, default_options()).await;
    let url = Secret::new(test.url.clone().unwrap());
    // One connection: the plans that it keeps are those of the small table, and its counts are all there is.
    let ledger = Ledger::open_postgres(&url, 1, default_options())
        .await
        .unwrap();
    let agent = active_agent(&ledger, "busy", 10_000).await;
    work(&ledger, &agent).await;
    // As autovacuum does, at a time when every index looks as good as any other.
    execute(&ledger, "ANALYZE tasks").await;
    // The server settles on a plan after five times.
    for _ in 0..8 {
        work(&ledger, &agent).await;
    }
    fill(&ledger, &agent).await;
    assert_reads("plans of the small table", work(&ledger, &agent).await);
    execute(&ledger, "ANALYZE tasks").await;
    assert_reads("new plans", work(&ledger, &agent).await);
    ledger.close().await;
    test.remove().await;
}

/// Each operation on eight tasks, and what each read.
async fn work(ledger: &Ledger, agent: &AgentId) -> Vec<(&'static str, Reads)> {
    let now = Timestamp::now();
    let worker = WorkerId::generate();
    let mut reads = Vec::new();

    let mut before = counts(ledger).await;
    let mut measured = async |what| {
        let after = counts(ledger).await;
        let read = after
            .iter()
            .map(|(index, count)| (index.clone(), count - before.get(index).unwrap_or(&0)))
            .filter(|(_, count)| *count > 0)
            .collect();
        reads.push((what, read));
        before = after;
    };

    let arrivals: Vec<_> = (0..EACH)
        .map(|_| task(agent, json!({"priority": 9}), now))
        .collect();
    ledger.ingest(arrivals, now).await.unwrap();
    measured("ingest").await;

    let started = claim(ledger, agent, worker, now).await;
    measured("claim").await;

    let unheard = started[0].claim.task_id;
    ledger.cancel(unheard, now).await.unwrap();
    measured("cancel a running one").await;
    assert_eq!(ledger.to_cancel(worker).await.unwrap(), [unheard]);
    measured("to_cancel").await;

    let completions = started.into_iter().map(ended).collect();
    let dispatch = Dispatch {
        completions,
        ..Dispatch::default()
    };
    let recorded = ledger.dispatch(worker, dispatch, now).await.unwrap();
    assert!(recorded.completions.iter().all(|r| r.settlement.is_some()));
    measured("complete").await;

    let delayed = json!({"delay_seconds": 1, "expires_in_seconds": 3, "priority": 9});
    let arrivals: Vec<_> = (0..EACH)
        .map(|_| task(agent, delayed.clone(), now))
        .collect();
    let ids: Vec<TaskId> = arrivals.iter().map(|task| task.task_id).collect();
    ledger.ingest(arrivals, now).await.unwrap();
    measured("ingest delayed").await;

    let due = now.plus(Duration::from_secs(2));
    assert_eq!(
        ledger.promote_due(due).await.unwrap().agents,
        std::slice::from_ref(agent)
    );
    measured("promote_due").await;

    let late = now.plus(Duration::from_secs(4));
    assert_eq!(ledger.expire(late).await.unwrap().len(), ids.len());
    measured("expire").await;

    let arrivals: Vec<_> = (0..EACH)
        .map(|_| task(agent, json!({"priority": 10}), now))
        .collect();
    let waiting: Vec<TaskId> = arrivals.iter().map(|task| task.task_id).collect();
    ledger.ingest(arrivals, now).await.unwrap();
    let lost = WorkerId::generate();
    claim(ledger, agent, lost, now).await;
    measured("claim again").await;
    assert_eq!(ledger.recover(lost, now).await.unwrap().len(), EACH);
    measured("recover").await;

    for id in waiting {
        ledger.cancel(id, now).await.unwrap();
    }
    measured("cancel").await;
    reads
}

async fn claim(ledger: &Ledger, agent: &AgentId, worker: WorkerId, now: Timestamp) -> Vec<Started> {
    let dispatch = Dispatch {
        claims: vec![agent.clone()],
        room: u32::try_from(EACH).unwrap(),
        ..Dispatch::default()
    };
    let started = ledger
        .dispatch(worker, dispatch, now)
        .await
        .unwrap()
        .started;
    assert_eq!(started.len(), EACH);
    started
}

fn ended(started: Started) -> Completion {
    Completion {
        claim: started.claim,
        outcome: completed(),
        usage: Usage::default(),
    }
}

fn assert_reads(when: &str, work: Vec<(&str, Reads)>) {
    for (what, reads) in work {
        // Each task is found, looked at again under its agent's lock, and written; what earlier rounds left in the
        // indexes may be met again until it is cleaned up. All of it stays far below what runs, waits or has ended.
        let total: i64 = reads.values().sum();
        let most = i64::from(RUNNING.min(QUEUED) / 2);
        assert!(total <= most, "{what} with {when} reads {reads:?}");
        for index in ["", "tasks_by_agent", "tasks_by_time"] {
            assert_eq!(reads.get(index), None, "{what} with {when} reads {reads:?}");
        }
        let own = match what {
            "claim" | "claim again" => Some("tasks_runnable"),
            "promote_due" => Some("tasks_due"),
            "expire" => Some("tasks_expiring"),
            "recover" => Some("tasks_running"),
            "to_cancel" => Some("tasks_to_cancel"),
            _ => None,
        };
        if let Some(own) = own {
            assert!(
                reads.contains_key(own),
                "{what} with {when} reads {reads:?}"
            );
        }
    }
}

/// Years of work: tasks that ended, all with due times, expiry and a worker; many that run and many that wait.
async fn fill(ledger: &Ledger, agent: &AgentId) {
    let worker = Uuid::new_v4();
    let instance = ledger.agent(agent).await.unwrap().unwrap().instances[0].instance_id;
    for (status, number) in [
        ("completed", ENDED),
        ("running", RUNNING),
        ("queued", QUEUED),
    ] {
        execute(
            ledger,
            &format!(
                "INSERT INTO tasks (task_id, agent_id, task_type, task_data, status, priority, timeout_seconds, \
                 max_attempts, attempt, claims, submitted_at, run_at, expires_at, started_at, worker_id, instance_id) \
                 SELECT gen_random_uuid(), '{agent}', 't', '{{}}', '{status}', 1 + n % 8, 300, 3, 1, 1, n, n, \
                 CASE WHEN '{status}' = 'completed' THEN n END, n, '{worker}', '{instance}' \
                 FROM generate_series(1, {number}) n"
            ),
        )
        .await;
    }
    for sql in [
        format!("UPDATE agents SET running = running + {RUNNING}, queued = queued + {QUEUED}"),
        format!("UPDATE agent_instances SET running = running + {RUNNING}"),
    ] {
        execute(ledger, &sql).await;
    }
}

async fn counts(ledger: &Ledger) -> Reads {
    // Counts reach the shared statistics when the connection is idle, and at once only when asked for.
    execute(ledger, "SELECT pg_stat_force_next_flush()").await;
    let sql = "SELECT indexrelname::text, idx_tup_read FROM pg_stat_user_indexes \
               WHERE schemaname = current_schema() AND relname = 'tasks' UNION ALL \
               SELECT '', seq_tup_read FROM pg_stat_user_tables \
               WHERE schemaname = current_schema() AND relname = 'tasks'";
    let connection = ledger.connection();
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let rows = connection.query_all_raw(statement).await.unwrap();
    rows.iter()
        .map(|row| {
            (
                row.try_get_by_index(0).unwrap(),
                row.try_get_by_index(1).unwrap(),
            )
        })
        .collect()
}

async fn execute(ledger: &Ledger, sql: &str) {
    ledger.connection().execute_unprepared(sql).await.unwrap();
}
