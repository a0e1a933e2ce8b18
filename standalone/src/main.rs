//! `agent-orchestrator`: the whole orchestrator in one process.

use std::io::Write as _;
use std::process::ExitCode;

use agent_orchestrator::{Embedded, brain_factory_alone, welcome};
use anyhow::Context;
use clap::{Parser, Subcommand};
use orchestrator_common::config::Settings;
use orchestrator_common::health::probe;
use orchestrator_common::signals::cancel_on_signal;
use orchestrator_common::telemetry::{self, TelemetryOptions};
use reqwest::Url;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The control plane for AI agents: API, worker, ledger and Brain Factory in one process, configured by environment
/// variables (see the README).
#[derive(Debug, Parser)]
#[command(name = "agent-orchestrator", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Start the orchestrator; what happens without a command, too
    Up,
    /// Start the built-in Brain Factory alone, on BRAIN_FACTORY_HOST and BRAIN_FACTORY_PORT (127.0.0.1:8301)
    BrainFactory,
    /// Ask an orchestrator, or a Brain Factory, how it is; fails when it cannot do its job
    Health {
        /// Its address; without one, what runs here at AGENT_ORCHESTRATOR_PORT
        #[arg(long)]
        url: Option<Url>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command.unwrap_or(Command::Up) {
        Command::Up => up().await.map(|()| ExitCode::SUCCESS),
        Command::BrainFactory => brain_factory().await.map(|()| ExitCode::SUCCESS),
        Command::Health { url } => health(url.as_ref()),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn up() -> anyhow::Result<()> {
    let settings = Settings::from_process_environment()?;
    let telemetry = TelemetryOptions::from_process_environment()?;
    let _telemetry = telemetry::init("agent-orchestrator", &telemetry)?;
    let embedded = Embedded::build(settings).await?;
    greet(&welcome(&embedded));
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

/// Before the runtime has anything else to do: asking blocks.
fn health(url: Option<&Url>) -> anyhow::Result<ExitCode> {
    let http = Settings::from_process_environment()?.http;
    let named = url.and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    let (host, port) = named.unwrap_or((&http.host, http.port));
    let answer =
        probe::ask(host, port).with_context(|| format!("nobody answers at {host}:{port}"))?;
    // Who closed standard output has the code.
    let _ = writeln!(std::io::stdout(), "{}", answer.report);
    Ok(ExitCode::from(u8::from(!answer.able)))
}

/// Prints the greeting; who closed standard output goes without it.
fn greet(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[allow(
    clippy::print_stderr,
    reason = "the last words of a process that could not start"
)]
fn complain(error: &anyhow::Error) {
    eprintln!("agent-orchestrator: {error:#}");
}
