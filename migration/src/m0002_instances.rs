//! Several instances per agent: how many are wanted, who they are, how tasks are shared out among them, and what is
//! learnt of each.
//!
//! Instances that are there already were made for their agents, unless those were registered with an address.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, boolean, double, integer, integer_null, text, text_null,
};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0002_instances"
    }
}

fn columns() -> [(&'static str, Vec<ColumnDef>); 4] {
    [
        (
            "agents",
            vec![
                integer("instances_wanted").default(1).to_owned(),
                text("load_balancing").default("least_loaded").to_owned(),
            ],
        ),
        ("agent_profiles", vec![text_null("instances").to_owned()]),
        (
            "agent_instances",
            vec![
                integer_null("ordinal").to_owned(),
                text_null("made_as").to_owned(),
                integer("weight").default(100).to_owned(),
                boolean("draining").default(false).to_owned(),
                big_integer("turn").default(0).to_owned(),
                integer_null("learnt_limit").to_owned(),
                big_integer("limit_lowered_at").default(0).to_owned(),
                double("latency_short").default(0.0).to_owned(),
                double("latency_long").default(0.0).to_owned(),
                integer("latency_samples").default(0).to_owned(),
                text("circuit").default("closed").to_owned(),
                big_integer("circuit_since").default(0).to_owned(),
                big_integer_null("circuit_until").to_owned(),
                integer("circuit_failures").default(0).to_owned(),
                double("failure_rate").default(0.0).to_owned(),
                integer("circuit_openings").default(0).to_owned(),
                big_integer_null("probe_at").to_owned(),
                integer("probe_failures").default(0).to_owned(),
            ],
        ),
        ("tasks", vec![big_integer_null("may_run_until").to_owned()]),
    ]
}

const INDEXES: [&str; 2] = [
    "CREATE UNIQUE INDEX agent_instances_by_name ON agent_instances (made_as) WHERE made_as IS NOT NULL",
    "CREATE INDEX agent_instances_to_probe ON agent_instances (probe_at) WHERE probe_at IS NOT NULL",
];

const FILL: [&str; 2] = [
    "UPDATE agent_instances SET ordinal = 1, made_as = agent_id \
     WHERE agent_id IN (SELECT agent_id FROM agent_profiles WHERE endpoint IS NULL)",
    "UPDATE agent_instances SET probe_at = 0",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, columns) in columns() {
            // SQLite adds one column at a time.
            for mut column in columns {
                let change = Table::alter()
                    .table(Alias::new(table))
                    .add_column(&mut column)
                    .to_owned();
                manager.alter_table(change).await?;
            }
        }
        for statement in FILL.into_iter().chain(INDEXES) {
            manager
                .get_connection()
                .execute_unprepared(statement)
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        for index in ["agent_instances_by_name", "agent_instances_to_probe"] {
            connection
                .execute_unprepared(&format!("DROP INDEX {index}"))
                .await?;
        }
        // The schema before knows one instance of each agent; tasks of the others are put back when their workers go.
        for (table, columns) in columns() {
            for column in columns {
                let change = Table::alter()
                    .table(Alias::new(table))
                    .drop_column(Alias::new(column.get_column_name()))
                    .to_owned();
                manager.alter_table(change).await?;
            }
        }
        Ok(())
    }
}
