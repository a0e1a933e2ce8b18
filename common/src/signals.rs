//! Stopping on request: SIGINT and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status of a process that did not wait for its own end.
const IMPATIENT: i32 = 130;

/// The first signal asks for an orderly stop by cancelling `shutdown`; a second one ends the process at once, which
/// loses nothing: what was running is put back by whoever recovers it.
pub async fn cancel_on_signal(shutdown: CancellationToken) {
    let signals =
        signal(SignalKind::interrupt()).and_then(|int| Ok((int, signal(SignalKind::terminate())?)));
    let (mut interrupt, mut terminate) = match signals {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "signals cannot be listened to: the process can only be killed");
            return;
        }
    };
    for patient in [true, false] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if patient {
            tracing::info!("stopping: what runs is finished first; a second signal stops at once");
            shutdown.cancel();
        } else {
            std::process::exit(IMPATIENT);
        }
    }
}
