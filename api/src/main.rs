//! `orchestrator-api`: the HTTP API between PostgreSQL, RabbitMQ and Redis.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use orchestrator_api::FullStrength;
use orchestrator_common::config::Settings;
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
struct Cli {}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli {} = Cli::parse();
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
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

#[allow(
    clippy::print_stderr,
    reason = "the last words of a process that could not start"
)]
fn complain(error: &anyhow::Error) {
    eprintln!("orchestrator-api: {error:#}");
}
