//! `orchestrator-api`: the HTTP API between PostgreSQL, RabbitMQ and Redis.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use orchestrator_api::FullStrength;
use orchestrator_common::config::Settings;
use orchestrator_common::health::probe;
use orchestrator_common::signals::cancel_on_signal;
use orchestrator_common::telemetry::{self, TelemetryOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

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

async fn serve() -> anyhow::Result<()> {
    let settings = Settings::from_process_environment()?;
    let telemetry = TelemetryOptions::from_process_environment()?;
    let _telemetry = telemetry::init("orchestrator-api", &telemetry)?;
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    let address = (settings.http.host.clone(), settings.http.port);
    let listener = TcpListener::bind(&address).await.with_context(|| {
        format!(
            "AGENT_ORCHESTRATOR_HOST and AGENT_ORCHESTRATOR_PORT must name an address that is free on this machine; \
             {}:{} is not",
            address.0, address.1
        )
    })?;
    let api = FullStrength::build(settings, listener).await?;
    tracing::info!(address = %api.local_address(), "listening");
    api.run_until_stopped(shutdown).await?;
    Ok(())
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
