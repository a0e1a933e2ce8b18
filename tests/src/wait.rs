//! Waiting for something to become true, instead of sleeping and hoping.

use std::time::{Duration, Instant};

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not hold within ten seconds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        if Instant::now() > deadline {
            panic!("not within ten seconds: {what}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
