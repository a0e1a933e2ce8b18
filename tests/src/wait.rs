//! Waiting for something to become true, instead of sleeping and hoping.

use std::time::{Duration, Instant};

/// How long anything may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds, and returns how long that took.
///
/// # Panics
/// When it does not hold within thirty seconds.
pub async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) -> Duration {
    eventually_within(PATIENCE, what, condition).await
}

/// As [`eventually`], within `patience`.
///
/// # Panics
/// When it does not hold within `patience`.
pub async fn eventually_within(
    patience: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> Duration {
    let begun = Instant::now();
    while !condition().await {
        if begun.elapsed() > patience {
            panic!("not within {patience:?}: {what}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}
