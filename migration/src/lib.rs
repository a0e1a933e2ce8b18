//! The ledger's schema, one migration a file; the same ones build PostgreSQL and SQLite.

use sea_orm_migration::prelude::*;

pub use sea_orm_migration::MigratorTrait;

pub mod command;
mod m0001_ledger;
mod m0002_instances;
mod m0003_sessions;
mod m0004_audit;
mod m0005_workflows;
mod m0007_performance;
mod m0008_deployments;
pub mod readiness;
pub mod schema;

/// Every migration, oldest first.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_ledger::Migration),
            Box::new(m0002_instances::Migration),
            Box::new(m0003_sessions::Migration),
            Box::new(m0004_audit::Migration),
            Box::new(m0005_workflows::Migration),
            Box::new(m0007_performance::Migration),
            Box::new(m0008_deployments::Migration),
        ]
    }
}
