//! What the chart has KEDA ask the ledger: the work that more workers would help with.

use orchestrator_common::domain::{Timestamp, WorkerId};
use orchestrator_tests::ledger::{Backend, TestLedger, default_options, task};
use orchestrator_tests::ledger_steps::{active_agent, bring};
use sea_orm::{ConnectionTrait, DatabaseBackend, Statement};
use serde_json::json;

const QUERY: &str = include_str!("../../../charts/agent-orchestrator/files/work.sql");

async fn work(test: &TestLedger) -> i64 {
    let sql = QUERY.replace(":sessions", "10");
    let statement = Statement::from_string(DatabaseBackend::Postgres, sql);
    let row = test.ledger.connection().query_one_raw(statement).await;
    row.unwrap().unwrap().try_get("", "work").unwrap()
}

#[tokio::test]
async fn work_is_what_runs_and_what_could_run_and_not_what_waits_for_its_agent() {
    let test = TestLedger::create(Backend::Postgres, default_options()).await;
    let change = async |sql: &str| {
        let done = test.ledger.connection().execute_unprepared(sql).await;
        done.unwrap();
    };
    assert_eq!(work(&test).await, 0);
    let now = Timestamp::now();
    let agent = active_agent(&test.ledger, "a", 2).await;
    let tasks = (0..5).map(|_| task(&agent, json!({}), now)).collect();
    let brought = bring(&test.ledger, WorkerId::generate(), tasks).await;
    assert_eq!(brought.started.len(), 2);
    assert_eq!(work(&test).await, 2, "three wait for a slot of their agent");
    change("UPDATE agents SET max_concurrent_sessions = 4").await;
    assert_eq!(work(&test).await, 4);
    change("UPDATE agents SET max_concurrent_sessions = NULL").await;
    assert_eq!(work(&test).await, 5, "without a limit of its own: ten");
    change("UPDATE agents SET desired = 'paused'").await;
    assert_eq!(work(&test).await, 2);
    change("UPDATE agents SET desired = 'running', status = 'failed'").await;
    assert_eq!(work(&test).await, 2);
    test.remove().await;
}
