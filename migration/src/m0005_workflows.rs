//! Workflows: their definitions, their runs, and which tasks of them have ended.
//!
//! `workflow_inbox` has a row for each task of a run from the transaction in which the task ends to the one that advances
//! the run: who records outcomes only adds rows there, and never waits for a run's row.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, binary_null, integer, integer_null, text, text_null, uuid,
    uuid_null,
};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0005_workflows"
    }
}

/// Runs that something is to be done for even if nothing happens: few at any time.
const DUE: &str =
    "CREATE INDEX workflow_runs_due ON workflow_runs (wake_at) WHERE wake_at IS NOT NULL";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [definitions(), runs(), inbox()] {
            manager.create_table(table).await?;
        }
        let by_time = Index::create()
            .table(Alias::new("workflow_runs"))
            .name("workflow_runs_by_time")
            .col(Alias::new("created_at"))
            .col(Alias::new("run_id"))
            .to_owned();
        manager.create_index(by_time).await?;
        manager.get_connection().execute_unprepared(DUE).await?;
        let tasks = Table::alter()
            .table(Alias::new("tasks"))
            .add_column(uuid_null("workflow_run_id"))
            .to_owned();
        manager.alter_table(tasks).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tasks = Table::alter()
            .table(Alias::new("tasks"))
            .drop_column(Alias::new("workflow_run_id"))
            .to_owned();
        manager.alter_table(tasks).await?;
        for table in ["workflow_inbox", "workflow_runs", "workflow_definitions"] {
            manager
                .drop_table(Table::drop().table(Alias::new(table)).to_owned())
                .await?;
        }
        Ok(())
    }
}

fn definitions() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("workflow_definitions"))
        .col(text("name"))
        .col(integer("version"))
        .col(text("definition"))
        .col(big_integer("created_at"))
        .col(text_null("created_by"))
        .primary_key(
            Index::create()
                .col(Alias::new("name"))
                .col(Alias::new("version")),
        )
        .to_owned()
}

/// A run keeps the text of what it follows: a newer version of a definition does not change it.
fn runs() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("workflow_runs"))
        .col(uuid("run_id").primary_key())
        .col(text_null("name"))
        .col(integer_null("version"))
        .col(text("status"))
        .col(text("definition"))
        .col(text("input"))
        .col(text("state"))
        .col(text_null("output"))
        .col(text_null("error"))
        .col(big_integer("created_at"))
        .col(big_integer_null("ended_at"))
        .col(big_integer_null("wake_at"))
        .col(binary_null("fingerprint"))
        .col(text_null("traceparent"))
        .to_owned()
}

fn inbox() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("workflow_inbox"))
        .col(uuid("run_id"))
        .col(uuid("task_id"))
        .col(text("status"))
        .col(text_null("error_code"))
        .col(text_null("error_message"))
        .primary_key(
            Index::create()
                .col(Alias::new("run_id"))
                .col(Alias::new("task_id")),
        )
        .to_owned()
}
