//! Bringing the schema of the PostgreSQL ledger up to date, taking it back, or showing where it is, as a command.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use orchestrator_common::config::{Secret, Settings};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};

use crate::schema;

/// How long the server may take to accept the connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// Names the lock that lets one process migrate at a time.
const LOCK: i64 = 0x6f72_6368_6573_7472;

/// What to do with the schema.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum MigrateCommand {
    /// Apply every migration that is missing; what happens without a command, too
    Up,
    /// Take the latest migrations back, with all that is stored in what they made
    Down {
        /// How many
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        steps: u32,
    },
    /// Show every migration and whether it is applied, pending, or applied by a later version; changes nothing
    Status,
}

/// Does it with the ledger that DATABASE_URL or POSTGRES_* name, and shows every migration.
///
/// # Errors
/// When PostgreSQL does not answer, or the schema cannot be brought to where it is wanted.
pub async fn run(command: MigrateCommand) -> anyhow::Result<()> {
    let ledger = connect(&database_url()?).await?;
    match command {
        MigrateCommand::Up => {
            lock(&ledger).await?;
            schema::bring_up(&ledger).await?;
        }
        MigrateCommand::Down { steps } => {
            lock(&ledger).await?;
            schema::take_back(&ledger, steps).await?;
        }
        MigrateCommand::Status => {}
    }
    show(&ledger).await?;
    ledger.close().await?;
    Ok(())
}

/// Only the variables of the database are read: a migration needs no key and no broker.
fn database_url() -> anyhow::Result<Secret> {
    let of_the_database = |(name, _): &(String, String)| {
        name.starts_with("POSTGRES_") || name.starts_with("DATABASE_")
    };
    let variables: BTreeMap<_, _> = std::env::vars().filter(of_the_database).collect();
    Ok(Settings::from_variables(variables)?.database.url)
}

async fn connect(url: &Secret) -> anyhow::Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url.expose());
    // The lock belongs to a connection, so that there must be one only, for as long as this runs.
    options
        .max_connections(1)
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .acquire_timeout(PATIENCE)
        .sqlx_logging(false);
    Database::connect(options)
        .await
        .context("PostgreSQL (DATABASE_URL or POSTGRES_*) does not answer")
}

/// Waits until no other process migrates. The lock ends with the connection.
async fn lock(ledger: &DatabaseConnection) -> anyhow::Result<()> {
    let sql = format!("SELECT pg_advisory_lock({LOCK})");
    ledger.execute_unprepared(&sql).await?;
    Ok(())
}

async fn show(ledger: &DatabaseConnection) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    for migration in schema::list(ledger).await? {
        writeln!(out, "{:<8} {}", migration.state, migration.name)?;
    }
    Ok(())
}
