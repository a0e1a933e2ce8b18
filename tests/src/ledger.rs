//! A ledger for one test: a SQLite file of its own, or a schema of its own in a real PostgreSQL.

use std::path::PathBuf;

use orchestrator_common::config::Secret;
use orchestrator_common::domain::{
    AgentId, NewTask, Submission, SubmissionDefaults, TaskId, Timestamp,
};
use orchestrator_common::ledger::{Ledger, LedgerOptions};
use orchestrator_migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, Database};
use serde_json::json;
use uuid::Uuid;

use crate::eventually;

/// Which database a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file in the temporary folder.
    Sqlite,
    /// A schema in the database of `TEST_DATABASE_URL`.
    Postgres,
}

/// A migrated ledger that is removed by [`TestLedger::remove`].
#[derive(Debug)]
pub struct TestLedger {
    /// The ledger.
    pub ledger: Ledger,
    /// Its address, for PostgreSQL.
    pub url: Option<String>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Schema(String),
}

/// The PostgreSQL server that tests use.
#[must_use]
pub fn postgres_url() -> String {
    std::env::var("TEST_DATABASE_URL")
        .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/test".to_owned())
}

impl TestLedger {
    /// Makes a ledger.
    ///
    /// # Panics
    /// When the database does not answer: tests need it.
    pub async fn create(backend: Backend, options: LedgerOptions) -> Self {
        let name = format!("ledger_{}", Uuid::new_v4().simple());
        let created = match backend {
            Backend::Sqlite => {
                let file = std::env::temp_dir().join(format!("{name}.db"));
                let ledger = Ledger::open_sqlite(&file, options)
                    .await
                    .expect("SQLite opens a new file");
                Self {
                    ledger,
                    url: None,
                    place: Place::File(file),
                }
            }
            Backend::Postgres => return Self::create_at(&postgres_url(), options).await,
        };
        created.migrated().await
    }

    /// Makes a ledger in a schema of its own in the PostgreSQL database at `server`.
    ///
    /// # Panics
    /// When the database does not answer.
    pub async fn create_at(server: &str, options: LedgerOptions) -> Self {
        let name = format!("ledger_{}", Uuid::new_v4().simple());
        let admin = Database::connect(server)
            .await
            .expect("PostgreSQL answers at TEST_DATABASE_URL");
        admin
            .execute_unprepared(&format!("CREATE SCHEMA {name}"))
            .await
            .expect("a schema can be made");
        admin.close().await.expect("the connection closes");
        let separator = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{separator}options=-c%20search_path%3D{name}");
        let ledger = Ledger::open_postgres(&Secret::new(url.clone()), 8, options)
            .await
            .expect("PostgreSQL answers");
        let created = Self {
            ledger,
            url: Some(url),
            place: Place::Schema(name),
        };
        created.migrated().await
    }

    async fn migrated(self) -> Self {
        Migrator::up(self.ledger.connection(), None)
            .await
            .expect("the migrations run");
        self
    }

    /// Removes the ledger with all that is in it.
    ///
    /// # Panics
    /// When the database no longer answers.
    pub async fn remove(self) {
        match self.place {
            Place::File(file) => {
                for suffix in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
                }
            }
            Place::Schema(name) => {
                // Again when it meets a transaction of a process that has not ended yet: dropping locks table after
                // table, and the two may wait for each other.
                let sql = format!("DROP SCHEMA IF EXISTS {name} CASCADE");
                eventually("the schema can be dropped", async || {
                    let dropped = self.ledger.connection().execute_unprepared(&sql).await;
                    dropped.is_ok()
                })
                .await;
            }
        }
    }
}

/// Options with the defaults of the service.
#[must_use]
pub fn default_options() -> LedgerOptions {
    LedgerOptions {
        max_concurrent_sessions: 10,
        auto_start: true,
        rules: Default::default(),
    }
}

/// A valid agent id.
///
/// # Panics
/// When it is not.
#[must_use]
pub fn agent_id(text: &str) -> AgentId {
    AgentId::parse(text).expect("a valid agent id")
}

/// A task for `agent`, with the fields of `more` on top of the least request.
///
/// # Panics
/// When `more` makes it invalid.
#[must_use]
pub fn task(agent: &AgentId, more: serde_json::Value, now: Timestamp) -> NewTask {
    let mut body =
        json!({"agent_id": agent.as_str(), "task_type": "risk_assessment", "task_data": {"n": 1}});
    for (field, value) in more.as_object().into_iter().flatten() {
        body[field] = value.clone();
    }
    let submission = Submission::parse(body, SubmissionDefaults::default()).expect("a valid task");
    submission.into_task(TaskId::generate(), now)
}

/// Makes every test of a file once per database: `on_both_databases!(name_of_a_function, …)` of
/// `async fn name(test: &TestLedger)`.
#[macro_export]
macro_rules! on_both_databases {
    ($options:expr; $($name:ident),* $(,)?) => {
        mod sqlite {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::ledger::run($crate::ledger::Backend::Sqlite, $options, super::$name).await;
            })*
        }
        mod postgres {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::ledger::run($crate::ledger::Backend::Postgres, $options, super::$name).await;
            })*
        }
    };
}

/// Runs one test on a new ledger and removes it when the test passed.
pub async fn run(backend: Backend, options: LedgerOptions, test: impl AsyncFnOnce(&TestLedger)) {
    let ledger = TestLedger::create(backend, options).await;
    test(&ledger).await;
    ledger.remove().await;
}
