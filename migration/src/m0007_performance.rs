//! What is read of sessions: by agent, and summed up by minute and by hour.
//!
//! Sessions from before know neither how long their task waited nor, where it failed with them, why.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, text, text_null};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0007_performance"
    }
}

const BY_AGENT: &str =
    "CREATE INDEX sessions_by_agent ON sessions (agent_id, ended_at, task_id, claim)";
const TABLES: [&str; 3] = [
    "performance_minutes",
    "performance_hours",
    "agent_experience",
];
const COLUMNS: [&str; 2] = ["error_code", "waited_micros"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [text_null("error_code"), big_integer_null("waited_micros")] {
            let mut alter = sessions();
            alter.add_column(column);
            manager.alter_table(alter).await?;
        }
        for table in ["performance_minutes", "performance_hours"] {
            manager.create_table(performance(table)).await?;
        }
        manager.create_table(experience()).await?;
        let minutes = "CREATE INDEX performance_minutes_by_time ON performance_minutes (at)";
        for statement in [BY_AGENT, minutes] {
            let connection = manager.get_connection();
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            let drop = Table::drop().table(Alias::new(table)).to_owned();
            manager.drop_table(drop).await?;
        }
        let connection = manager.get_connection();
        connection
            .execute_unprepared("DROP INDEX sessions_by_agent")
            .await?;
        for column in COLUMNS {
            let mut alter = sessions();
            alter.drop_column(Alias::new(column));
            manager.alter_table(alter).await?;
        }
        Ok(())
    }
}

fn sessions() -> TableAlterStatement {
    Table::alter().table(Alias::new("sessions")).to_owned()
}

/// What an agent did from `at` on, written once when the time is over.
fn performance(name: &str) -> TableCreateStatement {
    Table::create()
        .table(Alias::new(name))
        .col(text("agent_id"))
        .col(big_integer("at"))
        .col(text("figures"))
        .primary_key(
            Index::create()
                .col(Alias::new("agent_id"))
                .col(Alias::new("at")),
        )
        .to_owned()
}

/// How an agent did with tasks of a type so far.
fn experience() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("agent_experience"))
        .col(text("task_type"))
        .col(text("agent_id"))
        .col(big_integer("completed"))
        .col(big_integer("failed"))
        .col(big_integer("busy_micros"))
        .primary_key(
            Index::create()
                .col(Alias::new("task_type"))
                .col(Alias::new("agent_id")),
        )
        .to_owned()
}
