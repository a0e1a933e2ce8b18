//! Conversations: the `session_id` that callers give to tasks that belong together.
//!
//! Rows from before have none. Of tasks and sessions without one no index knows, so that they cost nothing.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::text_null;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0003_sessions"
    }
}

const TABLES: [&str; 2] = ["tasks", "sessions"];

const INDEXES: [(&str, &str); 2] = [
    (
        "tasks_by_conversation",
        "ON tasks (session_id, submitted_at, task_id) WHERE session_id IS NOT NULL",
    ),
    (
        "sessions_by_conversation",
        "ON sessions (session_id, ended_at) WHERE session_id IS NOT NULL",
    ),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            let mut alter = Table::alter().table(Alias::new(table)).to_owned();
            alter.add_column(text_null("session_id"));
            manager.alter_table(alter).await?;
        }
        let connection = manager.get_connection();
        for (name, what) in INDEXES {
            let sql = format!("CREATE INDEX {name} {what}");
            connection.execute_unprepared(&sql).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        for (name, _) in INDEXES {
            let sql = format!("DROP INDEX {name}");
            connection.execute_unprepared(&sql).await?;
        }
        for table in TABLES {
            let mut alter = Table::alter().table(Alias::new(table)).to_owned();
            alter.drop_column(Alias::new("session_id"));
            manager.alter_table(alter).await?;
        }
        Ok(())
    }
}
