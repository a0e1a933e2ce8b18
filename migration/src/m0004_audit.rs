//! Who submitted each task and who refused each dead letter; indexes by which the audit log is read now that every accepted
//! task has an entry in it; and what deleting and forwarding need, which one worker at a time does for all.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text, uuid};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0004_audit"
    }
}

const COLUMNS: [(&str, &str); 3] = [
    ("tasks", "submitted_by"),
    ("tasks", "request_id"),
    ("dead_letters", "refused_by"),
];

/// Accepted tasks are nearly all of the log: who looks for one of them knows the task or the caller, and who looks for
/// anything else finds it in indexes that they are not part of.
const INDEXES: [(&str, &str); 6] = [
    (
        "audit_by_resource",
        "CREATE INDEX audit_by_resource ON audit (resource, seq)",
    ),
    (
        "audit_by_actor",
        "CREATE INDEX audit_by_actor ON audit (actor, seq)",
    ),
    (
        "audit_by_action",
        "CREATE INDEX audit_by_action ON audit (action, seq) WHERE action <> 'task.accept'",
    ),
    (
        "audit_refused",
        "CREATE INDEX audit_refused ON audit (seq) WHERE outcome = 'refused'",
    ),
    (
        "sessions_ended",
        "CREATE INDEX sessions_ended ON sessions (ended_at, task_id)",
    ),
    (
        "callbacks_ended",
        "CREATE INDEX callbacks_ended ON callbacks (ended_at, task_id) WHERE ended_at IS NOT NULL",
    ),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        for (table, column) in COLUMNS {
            let sql = format!("ALTER TABLE {table} ADD COLUMN {column} text");
            connection.execute_unprepared(&sql).await?;
        }
        for (_, sql) in INDEXES {
            connection.execute_unprepared(sql).await?;
        }
        manager.create_table(leases()).await?;
        manager.create_table(audit_forwarding()).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["leases", "audit_forwarding"] {
            manager
                .drop_table(Table::drop().table(Alias::new(table)).to_owned())
                .await?;
        }
        let connection = manager.get_connection();
        for (name, _) in INDEXES {
            connection
                .execute_unprepared(&format!("DROP INDEX {name}"))
                .await?;
        }
        for (table, column) in COLUMNS {
            let sql = format!("ALTER TABLE {table} DROP COLUMN {column}");
            connection.execute_unprepared(&sql).await?;
        }
        Ok(())
    }
}

/// Who does what one worker at a time does, and for how long.
fn leases() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("leases"))
        .col(text("name").primary_key())
        .col(uuid("holder"))
        .col(big_integer("held_until"))
        .to_owned()
}

/// The number of the last entry of a log that was forwarded.
fn audit_forwarding() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("audit_forwarding"))
        .col(text("log").primary_key())
        .col(big_integer("forwarded"))
        .to_owned()
}
