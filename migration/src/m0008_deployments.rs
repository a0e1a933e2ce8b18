//! How the deployments of agents stood when they were last looked at.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text, text_null};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0008_deployments"
    }
}

const TABLE: &str = "agent_deployments";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table(Alias::new(TABLE))
            .col(text("agent_id").primary_key())
            .col(text("deployment_id"))
            .col(text("status"))
            .col(text_null("stage"))
            .col(text_null("error"))
            .col(big_integer("checked_at"))
            .to_owned();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = Table::drop().table(Alias::new(TABLE)).to_owned();
        manager.drop_table(drop).await
    }
}
