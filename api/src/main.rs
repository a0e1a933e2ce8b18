//! `orchestrator-api`: the HTTP API between PostgreSQL, RabbitMQ and Redis.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use orchestrator_api::process::serve;
use orchestrator_common::config::Settings;
use orchestrator_common::health::probe;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The HTTP API of the agent orchestrator, configured by environment variables (see the README). It starts while
/// PostgreSQL, RabbitMQ or Redis are down, and accepts tasks while any one of them is.
#[derive(Debug, Parser)]
#[command(name = "orchestrator-api", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Ask the API that runs here how it is, at AGENT_ORCHESTRATOR_PORT; fails when it cannot do its job
    Health,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        None => serve().await.map(|()| ExitCode::SUCCESS),
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
    let http = Settings::from_process_environment()?.http;
    let answer = probe::ask(&http.host, http.port)
        .with_context(|| format!("no API answers at port {}", http.port))?;
    // Who closed standard output has the code.
    let _ = writeln!(std::io::stdout(), "{}", answer.report);
    Ok(ExitCode::from(u8::from(!answer.able)))
}

#[allow(
    clippy::print_stderr,
    reason = "the last words of a process that could not start"
)]
fn complain(error: &anyhow::Error) {
    eprintln!("orchestrator-api: {error:#}");
}
