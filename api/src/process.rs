//! What the process `orchestrator-api` does.

use anyhow::Context;
use orchestrator_common::config::Settings;
use orchestrator_common::signals::cancel_on_signal;
use orchestrator_common::telemetry::{self, TelemetryOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::FullStrength;

/// Serves until SIGINT or SIGTERM, as the environment says.
///
/// # Errors
/// When a setting cannot be used, the address is taken, or serving fails.
pub async fn serve() -> anyhow::Result<()> {
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
