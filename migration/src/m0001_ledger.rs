//! The first schema: agents, their profiles and instances, tasks, sessions, callbacks, workers, dead letters, audit
//! log.
//!
//! Times are microseconds since the Unix epoch. `agents` is narrow because every dispatch locks and rewrites the rows
//! of its agents; what is long and rarely changes is in `agent_profiles`.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, big_pk_auto, binary, binary_null, boolean, double, double_null,
    integer, integer_null, text, text_null, uuid, uuid_null,
};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0001_ledger"
    }
}

/// Indexes of which only some rows are part: they stay small however many tasks have ended.
const PARTIAL_INDEXES: [&str; 8] = [
    "CREATE INDEX tasks_runnable ON tasks (agent_id, priority DESC, submitted_at, task_id) WHERE status = 'queued'",
    "CREATE INDEX tasks_due ON tasks (run_at) WHERE status IN ('scheduled', 'retrying')",
    "CREATE INDEX tasks_expiring ON tasks (expires_at) \
     WHERE expires_at IS NOT NULL AND status IN ('queued', 'scheduled', 'retrying')",
    "CREATE INDEX tasks_running ON tasks (worker_id) WHERE status = 'running'",
    "CREATE INDEX tasks_to_cancel ON tasks (worker_id) WHERE cancel_requested AND status = 'running'",
    "CREATE INDEX callbacks_due ON callbacks (target, due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX callbacks_leased ON callbacks (lease_worker) WHERE lease_worker IS NOT NULL",
    "CREATE INDEX agents_to_reconcile ON agents (reconcile_at) WHERE reconcile_at IS NOT NULL",
];

/// What the audit log says stays as it is.
const KEEP_AUDIT_POSTGRES: &str =
    "CREATE RULE audit_is_append_only AS ON UPDATE TO audit DO INSTEAD NOTHING";
const KEEP_AUDIT_SQLITE: &str = "CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit \
     BEGIN SELECT RAISE(IGNORE); END";

/// Tasks end nearly in the order in which they are stored: what a range of pages holds is enough to know.
const TASKS_ENDED_POSTGRES: &str =
    "CREATE INDEX tasks_ended ON tasks USING brin (completed_at) WITH (autosummarize = on)";
const TASKS_ENDED_SQLITE: &str =
    "CREATE INDEX tasks_ended ON tasks (completed_at) WHERE completed_at IS NOT NULL";

const TABLES: [&str; 10] = [
    "tallies",
    "audit",
    "dead_letters",
    "callbacks",
    "sessions",
    "tasks",
    "agent_instances",
    "agent_profiles",
    "agents",
    "workers",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [
            agents(),
            agent_profiles(),
            agent_instances(),
            tasks(),
            sessions(),
            callbacks(),
            workers(),
            dead_letters(),
            audit(),
            tallies(),
        ] {
            manager.create_table(table).await?;
        }
        for index in [
            index("agent_instances", "agent_instances_by_agent", &["agent_id"]),
            index(
                "tasks",
                "tasks_by_agent",
                &["agent_id", "submitted_at", "task_id"],
            ),
            index("tasks", "tasks_by_time", &["submitted_at", "task_id"]),
            index(
                "dead_letters",
                "dead_letters_by_time",
                &["received_at", "letter_id"],
            ),
        ] {
            manager.create_index(index).await?;
        }
        for statement in PARTIAL_INDEXES {
            manager
                .get_connection()
                .execute_unprepared(statement)
                .await?;
        }
        let connection = manager.get_connection();
        let own = match manager.get_database_backend() {
            sea_orm::DatabaseBackend::Postgres => [KEEP_AUDIT_POSTGRES, TASKS_ENDED_POSTGRES],
            _ => [KEEP_AUDIT_SQLITE, TASKS_ENDED_SQLITE],
        };
        for statement in own {
            connection.execute_unprepared(statement).await?;
        }
        if manager.get_database_backend() == sea_orm::DatabaseBackend::Postgres {
            // Room on each page for new versions of rows that every dispatch rewrites (heap-only updates).
            for table in ["agents", "agent_instances"] {
                let statement = format!(
                    "ALTER TABLE {table} SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)"
                );
                manager
                    .get_connection()
                    .execute_unprepared(&statement)
                    .await?;
            }
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            manager
                .drop_table(Table::drop().table(Alias::new(table)).to_owned())
                .await?;
        }
        Ok(())
    }
}

fn table(name: &str) -> TableCreateStatement {
    Table::create().table(Alias::new(name)).to_owned()
}

fn index(table: &str, name: &str, columns: &[&str]) -> IndexCreateStatement {
    let mut index = Index::create()
        .table(Alias::new(table))
        .name(name)
        .to_owned();
    for column in columns {
        index.col(Alias::new(*column));
    }
    index
}

fn agents() -> TableCreateStatement {
    table("agents")
        .col(text("agent_id").primary_key())
        .col(text("desired"))
        .col(text("status"))
        .col(text_null("status_reason"))
        .col(integer_null("max_concurrent_sessions"))
        .col(integer("running").default(0))
        .col(big_integer("queued").default(0))
        .col(big_integer("sessions").default(0))
        .col(big_integer("completed").default(0))
        .col(big_integer("failed").default(0))
        .col(big_integer("busy_micros").default(0))
        .col(big_integer("tokens").default(0))
        .col(double("cost").default(0.0))
        .col(big_integer("registered_at"))
        .col(big_integer_null("started_at"))
        .col(big_integer_null("reconcile_at"))
        .col(integer("start_failures").default(0))
        .col(uuid_null("lease_worker"))
        .col(big_integer_null("lease_until"))
        .to_owned()
}

fn agent_profiles() -> TableCreateStatement {
    table("agent_profiles")
        .col(text("agent_id").primary_key())
        .col(text_null("agent_name"))
        .col(text_null("domain"))
        .col(text_null("brain_config"))
        .col(text_null("deployment_id"))
        .col(text_null("endpoint"))
        .col(text("extra"))
        .col(big_integer("updated_at"))
        .to_owned()
}

fn agent_instances() -> TableCreateStatement {
    table("agent_instances")
        .col(uuid("instance_id").primary_key())
        .col(text("agent_id"))
        .col(text("endpoint"))
        .col(text("state"))
        .col(integer_null("capacity"))
        .col(integer("running").default(0))
        .col(big_integer("created_at"))
        .col(big_integer_null("last_health_check"))
        .col(double_null("memory_usage_mb"))
        .to_owned()
}

fn tasks() -> TableCreateStatement {
    table("tasks")
        .col(uuid("task_id").primary_key())
        .col(text("agent_id"))
        .col(text("task_type"))
        .col(text("task_data"))
        .col(text("status"))
        .col(integer("priority"))
        .col(integer("timeout_seconds"))
        .col(text_null("callback_url"))
        .col(integer("max_attempts"))
        .col(integer("attempt").default(0))
        .col(integer("claims").default(0))
        .col(integer("crashes").default(0))
        .col(big_integer("submitted_at"))
        .col(big_integer_null("run_at"))
        .col(big_integer_null("expires_at"))
        .col(big_integer_null("started_at"))
        .col(big_integer_null("completed_at"))
        .col(uuid_null("worker_id"))
        .col(uuid_null("instance_id"))
        .col(boolean("cancel_requested").default(false))
        .col(text_null("result"))
        .col(text_null("error_code"))
        .col(text_null("error_message"))
        .col(big_integer_null("tokens_used"))
        .col(double_null("cost_estimate"))
        .col(uuid_null("parent_task_id"))
        .col(text_null("metadata"))
        .col(text_null("correlation_id"))
        .col(text_null("reply_to"))
        .col(text_null("traceparent"))
        .col(binary_null("fingerprint"))
        .to_owned()
}

fn sessions() -> TableCreateStatement {
    table("sessions")
        .col(uuid("task_id"))
        .col(integer("claim"))
        .col(integer("attempt"))
        .col(text("agent_id"))
        .col(uuid_null("instance_id"))
        .col(uuid("worker_id"))
        .col(big_integer("started_at"))
        .col(big_integer("ended_at"))
        .col(text("outcome"))
        .col(big_integer_null("tokens_used"))
        .col(double_null("cost_estimate"))
        .primary_key(
            Index::create()
                .col(Alias::new("task_id"))
                .col(Alias::new("claim")),
        )
        .to_owned()
}

/// A row for each outcome that somebody is to be told, written with the outcome.
fn callbacks() -> TableCreateStatement {
    table("callbacks")
        .col(uuid("task_id").primary_key())
        .col(big_integer("outcome_at"))
        .col(text("target"))
        .col(text("status"))
        .col(integer("attempts").default(0))
        .col(big_integer_null("due_at"))
        .col(uuid_null("lease_worker"))
        .col(text_null("last_error"))
        .col(big_integer_null("ended_at"))
        .to_owned()
}

fn workers() -> TableCreateStatement {
    table("workers")
        .col(uuid("worker_id").primary_key())
        .col(text("host"))
        .col(integer("capacity"))
        .col(big_integer("started_at"))
        .col(big_integer("heartbeat_at"))
        .to_owned()
}

fn dead_letters() -> TableCreateStatement {
    table("dead_letters")
        .col(uuid("letter_id").primary_key())
        .col(big_integer("received_at"))
        .col(text("reason"))
        .col(text_null("problem"))
        .col(text("routing_key"))
        .col(text_null("message_id"))
        .col(text_null("correlation_id"))
        .col(text_null("reply_to"))
        .col(text_null("content_type"))
        .col(text("headers"))
        .col(binary("body"))
        .col(big_integer("body_size"))
        .col(integer("times").default(1))
        .col(big_integer_null("replayed_at"))
        .col(text_null("replayed_by"))
        .to_owned()
}

fn audit() -> TableCreateStatement {
    table("audit")
        .col(big_pk_auto("seq"))
        .col(big_integer("at"))
        .col(text("actor"))
        .col(text_null("request_id"))
        .col(text("action"))
        .col(text("resource"))
        .col(text("outcome"))
        .col(text_null("detail"))
        .to_owned()
}

/// How far what pollers add up is counted.
fn tallies() -> TableCreateStatement {
    table("tallies")
        .col(text("name").primary_key())
        .col(big_integer("counted_until"))
        .to_owned()
}
