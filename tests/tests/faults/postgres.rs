//! A ledger that crashes and starts again, takes no writes, or has a full disk.

use std::time::Instant;

use orchestrator_tests::deployment::{Deployment, Load, Places};
use orchestrator_tests::eventually;
use orchestrator_tests::private_servers::PrivatePostgres;
use sea_orm::ConnectionTrait;

use super::{BOUND, deployment, is_healthy};

const TASKS: &str = "SELECT count(*) FROM tasks";

/// Asserts that after a fault, which is over now, everything is finished within the bound, and so is what comes then.
async fn recovers(deployment: &Deployment, mut load: Load, fault: &str, then: &str) {
    let over = Instant::now();
    let took = deployment.recovered(fault, over, load.accepted()).await;
    assert!(took < BOUND);
    load.more(50, then).await;
    let submitted = load.stop().await;
    deployment.audit(&submitted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_postgresql_under_load_loses_nothing() {
    let Some(mut postgres) = PrivatePostgres::start().await.unwrap() else {
        return;
    };
    let places = Places {
        database_url: postgres.url(),
        ..Places::shared()
    };
    let (deployment, options) = deployment(&places).await;
    let api = deployment.api().await.unwrap();
    let one = deployment.worker(100).await.unwrap();
    let other = deployment.worker(100).await.unwrap();
    let mut load = Load::start(options, &[&api]);
    load.more(100, "in good weather").await;
    postgres.crash();
    load.more(100, "without PostgreSQL").await;
    postgres.start_again().await.unwrap();
    recovers(
        &deployment,
        load,
        "restarted PostgreSQL",
        "with PostgreSQL again",
    )
    .await;
    eventually("everything is healthy", async || is_healthy(&api).await).await;
    deployment.end(vec![api], vec![one, other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_becomes_read_only_under_load_loses_nothing() {
    let Some(postgres) = PrivatePostgres::start().await.unwrap() else {
        return;
    };
    let places = Places {
        database_url: postgres.url(),
        ..Places::shared()
    };
    let (deployment, options) = deployment(&places).await;
    let api = deployment.api().await.unwrap();
    let one = deployment.worker(100).await.unwrap();
    let other = deployment.worker(100).await.unwrap();
    let mut load = Load::start(options, &[&api]);
    load.more(100, "in good weather").await;
    let end_sessions =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test'";
    let read_only = "ALTER DATABASE test SET default_transaction_read_only = on";
    postgres.execute(read_only).await.unwrap();
    postgres.execute(end_sessions).await.unwrap();
    let stored = deployment.count(TASKS).await;
    load.more(150, "while the ledger is read-only").await;
    assert_eq!(deployment.count(TASKS).await, stored, "it takes nothing");
    let writable = "ALTER DATABASE test RESET default_transaction_read_only";
    postgres.execute(writable).await.unwrap();
    postgres.execute(end_sessions).await.unwrap();
    recovers(
        &deployment,
        load,
        "read-only ledger",
        "with the ledger again",
    )
    .await;
    deployment.end(vec![api], vec![one, other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_whose_disk_is_full_under_load_loses_nothing() {
    let (deployment, options) = deployment(&Places::shared()).await;
    let api = deployment.api().await.unwrap();
    let worker = deployment.worker(100).await.unwrap();
    let mut load = Load::start(options, &[&api]);
    load.more(100, "in good weather").await;
    // New tasks are refused at the commit, outcomes at once.
    let fill = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$; \
                CREATE CONSTRAINT TRIGGER full_disk AFTER INSERT ON tasks DEFERRABLE INITIALLY DEFERRED \
                FOR EACH ROW EXECUTE FUNCTION refuse(); \
                CREATE TRIGGER full_disk BEFORE INSERT ON sessions \
                FOR EACH STATEMENT EXECUTE FUNCTION refuse()";
    let ledger = deployment.ledger.connection();
    ledger.execute_unprepared(fill).await.unwrap();
    let stored = deployment.count(TASKS).await;
    load.more(150, "while the disk is full").await;
    assert_eq!(deployment.count(TASKS).await, stored, "it takes nothing");
    let free = "DROP FUNCTION refuse() CASCADE";
    ledger.execute_unprepared(free).await.unwrap();
    recovers(
        &deployment,
        load,
        "full disk",
        "with room on the disk again",
    )
    .await;
    deployment.end(vec![api], vec![worker]).await;
}
