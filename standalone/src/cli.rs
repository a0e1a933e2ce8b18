//! The command line of `agent-orchestrator`: every process of the orchestrator, and operators' commands.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use orchestrator_common::config::Settings;
use orchestrator_common::signals::cancel_on_signal;
use orchestrator_common::telemetry::{self, TelemetryOptions};
use orchestrator_migration::command::MigrateCommand;
use tokio_util::sync::CancellationToken;

use crate::operator::{
    self, Access, AgentsCommand, DeadLettersCommand, Failure, TasksCommand, Wish,
};
use crate::{Embedded, brain_factory_alone, welcome};

/// The control plane for AI agents. Without a command it starts API, worker, ledger and Brain Factory in one process,
/// configured by environment variables (see the README); agents, tasks, dead-letters and others speak to one that runs.
#[derive(Debug, Parser)]
#[command(
    name = "agent-orchestrator",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no API answers, 4 refused by the API, 5 the task did not \
                  complete."
)]
struct Cli {
    #[command(flatten)]
    access: Access,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Start the orchestrator in one process; what happens without a command, too
    Up,
    /// Start an API of the full strength, as orchestrator-api does
    Api,
    /// Start a worker of the full strength, as orchestrator-worker does
    Worker,
    /// Start the built-in Brain Factory alone, on BRAIN_FACTORY_HOST and BRAIN_FACTORY_PORT (127.0.0.1:8301)
    BrainFactory,
    /// Migrate the ledger in PostgreSQL, as orchestrator-migrate does
    Migrate {
        #[command(subcommand)]
        command: Option<MigrateCommand>,
    },
    /// Look at agents and change them
    #[command(subcommand)]
    Agents(AgentsCommand),
    /// Look at tasks and change them
    #[command(subcommand)]
    Tasks(TasksCommand),
    /// Look at messages that were put aside, and decide what becomes of them
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Show the state of the cluster: workers, agents and tasks together
    Status,
    /// Ask an orchestrator, a worker or a Brain Factory how it is; fails when it cannot do its job
    Health,
    /// Print the OpenAPI document of the API
    Openapi,
    /// Print a script that completes commands in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write manual pages
    Man {
        /// Folder to write them to
        folder: PathBuf,
    },
}

/// Does what the command line says.
pub async fn run() -> ExitCode {
    let Cli { access, command } = Cli::parse();
    let wish = match command.unwrap_or(Command::Up) {
        Command::Up => return ended(up().await),
        Command::Api => return ended(orchestrator_api::process::serve().await),
        Command::Worker => return ended(orchestrator_worker::process::work().await),
        Command::BrainFactory => return ended(brain_factory().await),
        Command::Migrate { command } => {
            let command = command.unwrap_or(MigrateCommand::Up);
            return ended(orchestrator_migration::command::run(command).await);
        }
        Command::Completions { shell } => return ended(completions(shell)),
        Command::Man { folder } => return ended(manual(&folder)),
        Command::Agents(command) => Wish::Agents(command),
        Command::Tasks(command) => Wish::Tasks(command),
        Command::DeadLetters(command) => Wish::DeadLetters(command),
        Command::Status => Wish::Status,
        Command::Health => Wish::Health,
        Command::Openapi => Wish::OpenApi,
    };
    match operator::carry_out(wish, &access).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            ExitCode::from(Failure::exit_code(&failure))
        }
    }
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn up() -> anyhow::Result<()> {
    let settings = Settings::from_process_environment()?;
    let telemetry = TelemetryOptions::from_process_environment()?;
    let _telemetry = telemetry::init("agent-orchestrator", &telemetry)?;
    let embedded = Embedded::build(settings).await?;
    print(&welcome(&embedded));
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    embedded.run_until_stopped(shutdown).await
}

async fn brain_factory() -> anyhow::Result<()> {
    let settings = Settings::from_process_environment()?;
    let telemetry = TelemetryOptions::from_process_environment()?;
    let _telemetry = telemetry::init("brain-factory", &telemetry)?;
    let brain_factory = brain_factory_alone(&settings).await?;
    tracing::info!(url = brain_factory.url(), "listening");
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    brain_factory.run_until_stopped(shutdown).await?;
    Ok(())
}

fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        shell,
        &mut Cli::command(),
        "agent-orchestrator",
        &mut script,
    );
    std::io::stdout().write_all(&script)?;
    Ok(())
}

fn manual(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .with_context(|| format!("{} must be a folder that can be written", folder.display()))
}

/// Prints the greeting; who closed standard output goes without it.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[allow(
    clippy::print_stderr,
    reason = "the last words of a process that could not do its work"
)]
fn complain(what: &dyn std::fmt::Display) {
    eprintln!("agent-orchestrator: {what}");
}
