//! `orchestrator-worker`: takes tasks from RabbitMQ and runs them on their agents.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use orchestrator_common::config::{Settings, WorkerSettings};
use orchestrator_common::health::probe;
use orchestrator_common::signals::cancel_on_signal;
use orchestrator_common::telemetry::{self, TelemetryOptions};
use orchestrator_worker::Application;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

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

async fn work() -> anyhow::Result<()> {
    let settings = Settings::from_process_environment()?;
    let telemetry = TelemetryOptions::from_process_environment()?;
    let _telemetry = telemetry::init("orchestrator-worker", &telemetry)?;
    let health = bind_health(&settings.worker).await?;
    let mut application = Application::build(settings)?;
    if let Some(listener) = health {
        application = application.with_health_on(listener);
    }
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    // Among the runtime's own threads: on this one, every message between the two would wake a thread.
    tokio::spawn(application.run_until_stopped(shutdown)).await??;
    Ok(())
}

/// Where the worker says how it is. The default port may be another worker's of this machine: then this one does without.
async fn bind_health(settings: &WorkerSettings) -> anyhow::Result<Option<TcpListener>> {
    let (host, Some(port)) = (settings.health_host.as_str(), settings.health_port) else {
        return Ok(None);
    };
    match TcpListener::bind((host, port.get())).await {
        Ok(listener) => {
            let address = listener.local_addr()?;
            tracing::info!(%address, "health and metrics");
            Ok(Some(listener))
        }
        Err(error) if !settings.health_port_named && error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!(
                %port,
                "the default port is in use: this worker has no health endpoints; name another with WORKER_HEALTH_PORT"
            );
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| {
            format!(
                "WORKER_HEALTH_HOST and WORKER_HEALTH_PORT must name an address that is free on this machine; \
                 {host}:{port} is not"
            )
        }),
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
