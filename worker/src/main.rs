//! `orchestrator-worker`: takes tasks from RabbitMQ and runs them on their agents.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use orchestrator_common::config::Settings;
use orchestrator_common::health::probe;
use orchestrator_worker::process::work;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A worker of the Agent Orchestrator, configured by environment variables (see the README). More workers take on more.
#[derive(Debug, Parser)]
#[command(name = "orchestrator-worker", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Ask the worker that runs here how it is, at WORKER_HEALTH_PORT; fails when it cannot run tasks
    Health,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        None => work().await.map(|()| ExitCode::SUCCESS),
        Some(Command::Health) => health(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Before the runtime has anything else to do: asking blocks.
fn health() -> anyhow::Result<ExitCode> {
    let settings = Settings::from_process_environment()?.worker;
    let port = settings
        .health_port
        .context("WORKER_HEALTH_PORT must be a port: with 0 a worker says nowhere how it is")?
        .get();
    let answer = probe::ask(&settings.health_host, port)
        .with_context(|| format!("no worker answers at port {port}"))?;
    // Who closed standard output has the code.
    let _ = writeln!(io::stdout(), "{}", answer.report);
    Ok(ExitCode::from(u8::from(!answer.able)))
}

#[allow(
    clippy::print_stderr,
    reason = "the last words of a process that could not go on"
)]
fn complain(error: &anyhow::Error) {
    eprintln!("orchestrator-worker: {error:#}");
}
