//! The round trips that prove a loop that would otherwise sit still without work.

use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::messaging::{Broker, Consuming, Topology};
use tokio_util::sync::CancellationToken;

use super::Pulse;
use crate::intake::Intake;

/// Time between two questions to the dispatcher.
const DISPATCHER_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two questions to the broker.
const BROKER_INTERVAL: Duration = Duration::from_secs(5);

/// Has the dispatcher answer now and then, until it has ended.
pub(crate) async fn prove_dispatching(intake: Intake, pulse: Pulse) {
    pulse.beat();
    while intake.answers().await {
        pulse.beat();
        tokio::time::sleep(DISPATCHER_INTERVAL).await;
    }
}

/// Has the broker answer over the connection that consumes, until `stop`.
///
/// When it does not, a connection of `fresh` tells whose fault that is: while the broker answers nobody, there is
/// nothing to prove, and the supervisor notices by itself when the connection is gone.
pub(crate) async fn prove_subscription(
    consuming: Consuming,
    fresh: Broker,
    topology: Arc<Topology>,
    pulse: Pulse,
    stop: CancellationToken,
) {
    let mut was_well = true;
    pulse.beat();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(BROKER_INTERVAL) => {}
        }
        let error = match consuming.probe().await {
            Ok(took) => {
                if !was_well {
                    tracing::info!(?took, "the broker answers again");
                }
                was_well = true;
                pulse.beat();
                continue;
            }
            Err(error) => error,
        };
        let is_away = fresh.probe(&topology).await.is_err();
        if was_well {
            tracing::warn!(%error, is_away, "the broker does not answer over the connection that consumes");
        }
        was_well = false;
        if is_away {
            pulse.beat();
        }
    }
}
