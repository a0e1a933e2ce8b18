//! Processes on a ledger that a later version has changed, as it is while an upgrade rolls through, and on one that lacks
//! migrations.

use orchestrator_common::domain::TaskStatus;
use orchestrator_migration::{Migrator, MigratorTrait};
use orchestrator_tests::eventually;
use orchestrator_tests::full_api::FullApi;
use orchestrator_tests::full_worker::FullStrength;
use sea_orm::ConnectionTrait;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Leaves behind what a later version's orchestrator-migrate would.
async fn apply_later(full: &FullStrength, name: &str, change: &str) {
    let ledger = full.ledger.connection();
    let record = format!("INSERT INTO seaql_migrations (version, applied_at) VALUES ('{name}', 0)");
    for sql in [change, &record] {
        ledger.execute_unprepared(sql).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_and_worker_work_on_a_ledger_that_a_later_version_has_added_to() {
    let full = FullStrength::start().await.unwrap();
    let more = "ALTER TABLE tasks ADD COLUMN later BIGINT NOT NULL DEFAULT 0; \
                ALTER TABLE agents ADD COLUMN later TEXT; CREATE TABLE later (id BIGINT)";
    apply_later(&full, "m9000_added", more).await;
    let worker = full.worker(10).await.unwrap();
    let api = FullApi::start(full.settings.clone()).await;
    let agent_id = full.agent("a", 10).await.unwrap();
    let accepted = api.submit().await;
    assert_eq!(accepted.status, 200, "{}", accepted.body);
    let accepted: Uuid = accepted.body["task_id"].as_str().unwrap().parse().unwrap();
    let task = full.send_task(&agent_id, json!({})).await.unwrap();
    let tasks = [task, accepted.into()];
    eventually("both tasks are completed", async || {
        let found = full.ledger.tasks(&tasks).await.unwrap();
        found.len() == 2
            && found
                .iter()
                .all(|task| task.status == TaskStatus::Completed)
    })
    .await;
    worker.stop().await.unwrap();
    full.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_and_worker_end_on_a_ledger_that_a_later_version_has_taken_from() {
    let full = FullStrength::start().await.unwrap();
    apply_later(&full, "m9001_dropped_needs_9000", "SELECT 1").await;
    let expected =
        "the ledger has the migration m9001_dropped_needs_9000, which this version does not know";
    let worker = orchestrator_worker::Application::build(full.settings.clone()).unwrap();
    let ended = worker.run_until_stopped(CancellationToken::new()).await;
    let why = ended.unwrap_err().to_string();
    assert!(why.starts_with(expected), "{why}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = orchestrator_api::FullStrength::build(full.settings.clone(), listener).await;
    let ended = api
        .unwrap()
        .run_until_stopped(CancellationToken::new())
        .await;
    let why = ended.unwrap_err().to_string();
    assert!(why.starts_with(expected), "{why}");
    full.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_on_a_ledger_that_lacks_migrations_starts_with_the_last_of_them() {
    let full = FullStrength::start().await.unwrap();
    let ledger = full.ledger.connection();
    Migrator::down(ledger, None).await.unwrap();
    let worker = orchestrator_worker::Application::build(full.settings.clone()).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run_until_stopped(stop.clone()));
    let workers = async || {
        let cluster = full.ledger.cluster().await;
        cluster.map_or(0, |cluster| cluster.workers.len())
    };
    assert_eq!(workers().await, 0);
    Migrator::up(ledger, None).await.unwrap();
    eventually("the worker signs on", async || workers().await == 1).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    full.remove().await;
}
