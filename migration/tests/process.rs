//! The built binary on a real PostgreSQL, in a schema of the test's own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may panic, in its helpers too"
)]

use std::process::{Command, Output, Stdio};

use orchestrator_migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, Database};

fn server() -> String {
    std::env::var("TEST_DATABASE_URL")
        .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/test".to_owned())
}

fn migrate(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator-migrate"));
    command
        .env_clear()
        .env("DATABASE_URL", url)
        // A migration needs no key.
        .env("REQUIRE_AUTH", "true")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What is said when every migration is `state`.
fn all(state: &str) -> String {
    let migrations = Migrator::migrations();
    assert_eq!(migrations[0].name(), "m0001_ledger");
    let lines = migrations
        .iter()
        .map(|migration| format!("{state:<8} {}\n", migration.name()));
    lines.collect()
}

/// Runs `test` with the address of a fresh schema.
async fn in_a_schema(name: &str, test: impl FnOnce(&str)) {
    let name = format!("{name}_{}", std::process::id());
    let admin = Database::connect(server()).await.unwrap();
    let sql = format!("CREATE SCHEMA {name}");
    admin.execute_unprepared(&sql).await.unwrap();
    let separator = if server().contains('?') { '&' } else { '?' };
    test(&format!(
        "{}{separator}options=-c%20search_path%3D{name}",
        server()
    ));
    let sql = format!("DROP SCHEMA {name} CASCADE");
    admin.execute_unprepared(&sql).await.unwrap();
}

#[tokio::test]
async fn the_schema_goes_up_and_down_and_status_changes_nothing() {
    in_a_schema("migrate_up_down", |url| {
        let run = |arguments: &[&str]| said(&migrate(url, arguments).output().unwrap());
        assert_eq!(run(&["status"]), all("pending"));
        assert_eq!(run(&["status"]), all("pending"));
        assert_eq!(run(&[]), all("applied"));
        assert_eq!(run(&["up"]), all("applied"));
        let steps = Migrator::migrations().len().to_string();
        assert_eq!(run(&["down", "--steps", &steps]), all("pending"));
    })
    .await;
}

#[tokio::test]
async fn processes_that_migrate_at_the_same_time_wait_for_each_other() {
    in_a_schema("migrate_together", |url| {
        let children: Vec<_> = (0..4)
            .map(|_| migrate(url, &["up"]).spawn().unwrap())
            .collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert_eq!(said(&output), all("applied"));
        }
    })
    .await;
}

#[test]
fn a_bad_address_is_named() {
    let output = migrate("mysql://x", &["up"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("orchestrator-migrate: DATABASE_URL must be"),
        "{said}"
    );
}
