//! Listing tasks when few of many pass the filter, on SQLite and on PostgreSQL.

use orchestrator_common::domain::TaskStatus;
use orchestrator_common::ledger::TaskQuery;
use orchestrator_tests::ledger::{TestLedger, agent_id, default_options};
use orchestrator_tests::on_both_databases;
use sea_orm::{ConnectionTrait, DatabaseBackend};

on_both_databases!(default_options(); a_rare_task_is_found_behind_pages_that_look_at_many);

/// Writes 25,000 tasks of which only the oldest has failed.
async fn many_tasks(test: &TestLedger) {
    let connection = test.ledger.connection();
    let id = match connection.get_database_backend() {
        DatabaseBackend::Postgres => "gen_random_uuid()",
        _ => "randomblob(16)",
    };
    let sql = format!(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 25000) \
         INSERT INTO tasks (task_id, agent_id, task_type, task_data, status, priority, timeout_seconds, max_attempts, \
         submitted_at) SELECT {id}, 'a', 't', '{{}}', CASE WHEN n = 1 THEN 'failed' ELSE 'completed' END, 1, 1, 1, n FROM n"
    );
    connection.execute_unprepared(&sql).await.unwrap();
}

async fn a_rare_task_is_found_behind_pages_that_look_at_many(test: &TestLedger) {
    many_tasks(test).await;
    let mut query = TaskQuery {
        agent_id: Some(agent_id("a")),
        status: Some(TaskStatus::Failed),
        limit: 10,
        ..TaskQuery::default()
    };
    let mut found = Vec::new();
    let mut pages = 0;
    loop {
        let page = test.ledger.task_page(&query).await.unwrap();
        pages += 1;
        found.extend(page.tasks);
        let Some(next) = page.next else { break };
        query.before = Some(next);
    }
    assert_eq!((pages, found.len()), (3, 1));
    query.before = None;
    query.status = None;
    let page = test.ledger.task_page(&query).await.unwrap();
    assert_eq!(page.tasks.len(), 10);
    assert_eq!(page.tasks[0].submitted_at.as_micros(), 25_000);
}
