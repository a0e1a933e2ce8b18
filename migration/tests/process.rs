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

/// What is shown when the first `applied` migrations are applied and the others are not.
fn status(applied: usize) -> String {
    let lines = Migrator::migrations().into_iter().enumerate();
    let lines = lines.map(|(n, migration)| {
        let state = if n < applied { "applied" } else { "pending" };
        format!("{state}  {}\n", migration.name())
    });
    lines.collect()
}

/// Leaves behind what a later version's orchestrator-migrate would.
fn apply_later(url: &str, name: &str) {
    let (url, name) = (url.to_owned(), name.to_owned());
    let insert = async move {
        let ledger = Database::connect(url).await.unwrap();
        let sql =
            format!("INSERT INTO seaql_migrations (version, applied_at) VALUES ('{name}', 0)");
        ledger.execute_unprepared(&sql).await.unwrap();
    };
    // The test itself is inside a runtime.
    let thread = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(insert);
    });
    thread.join().unwrap();
}

#[tokio::test]
async fn the_schema_of_a_later_version_is_left_as_it_is() {
    in_a_schema("migrate_later", |url| {
        let run = |arguments: &[&str]| migrate(url, arguments).output().unwrap();
        let up = said(&run(&["up"]));
        apply_later(url, "m9000_added");
        let with_later = format!("{up}later    m9000_added\n");
        assert_eq!(said(&run(&["status"])), with_later);
        assert_eq!(said(&run(&["up"])), with_later, "nothing is missing");
        let down = run(&["down"]);
        assert_eq!(down.status.code(), Some(1));
        let words = String::from_utf8(down.stderr).unwrap();
        let expected = "orchestrator-migrate: the ledger has migrations of a later version (m9000_added): use that \
                        version's orchestrator-migrate\n";
        assert_eq!(words, expected);
        apply_later(url, "m9001_dropped_needs_9000");
        assert_eq!(run(&["status"]).status.code(), Some(0));
        let up = run(&["up"]);
        assert_eq!(up.status.code(), Some(1));
        let words = String::from_utf8(up.stderr).unwrap();
        assert!(words.contains("m9001_dropped_needs_9000") && words.lines().count() == 1, "{words}");
    })
    .await;
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
        let all = Migrator::migrations().len();
        assert_eq!(run(&["status"]), status(0));
        assert_eq!(run(&["status"]), status(0));
        assert_eq!(run(&[]), status(all));
        assert_eq!(run(&["up"]), status(all));
        assert_eq!(run(&["down"]), status(all - 1));
        let steps = (all - 1).max(1).to_string();
        assert_eq!(run(&["down", "--steps", &steps]), status(0));
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
            assert_eq!(said(&output), status(Migrator::migrations().len()));
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
