//! `orchestrator-migrate`: brings the schema of the PostgreSQL ledger up to date, takes it back, or shows where it is.

use std::process::ExitCode;

use clap::Parser;
use orchestrator_migration::command::{MigrateCommand, run};

/// Migrates the ledger that DATABASE_URL or POSTGRES_* name.
#[derive(Debug, Parser)]
#[command(name = "orchestrator-migrate", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<MigrateCommand>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let command = Cli::parse().command.unwrap_or(MigrateCommand::Up);
    match run(command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[allow(
    clippy::print_stderr,
    reason = "the last words of a process that could not do its work"
)]
fn complain(error: &anyhow::Error) {
    eprintln!("orchestrator-migrate: {error:#}");
}
