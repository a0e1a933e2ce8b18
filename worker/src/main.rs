//! `orchestrator-worker`: takes tasks from RabbitMQ and runs them on their agents.

use std::process::ExitCode;

use clap::Parser;
use orchestrator_common::config::Settings;
use orchestrator_common::signals::cancel_on_signal;
use orchestrator_common::telemetry::{self, LogOptions};
use orchestrator_worker::Application;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A worker of the Agent Orchestrator, configured by environment variables (see the README). More workers take on more.
#[derive(Debug, Parser)]
#[command(name = "orchestrator-worker", version)]
struct Cli {}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli {} = Cli::parse();
    match work().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn work() -> anyhow::Result<()> {
    let settings = Settings::from_process_environment()?;
    telemetry::init(
        "orchestrator-worker",
        &LogOptions::from_process_environment()?,
    );
    let application = Application::build(settings)?;
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    // Among the runtime's own threads: on this one, every message between the two would wake a thread.
    tokio::spawn(application.run_until_stopped(shutdown)).await??;
    Ok(())
}

#[allow(
    clippy::print_stderr,
    reason = "the last words of a process that could not go on"
)]
fn complain(error: &anyhow::Error) {
    eprintln!("orchestrator-worker: {error:#}");
}
