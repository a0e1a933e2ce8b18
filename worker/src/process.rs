//! What the process `orchestrator-worker` does.

use std::io;

use anyhow::Context;
use orchestrator_common::config::{Settings, WorkerSettings};
use orchestrator_common::signals::cancel_on_signal;
use orchestrator_common::telemetry::{self, TelemetryOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Application;

/// Works until SIGINT or SIGTERM, as the environment says.
///
/// # Errors
/// When a setting cannot be used, a named health port is taken, or working fails.
pub async fn work() -> anyhow::Result<()> {
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
