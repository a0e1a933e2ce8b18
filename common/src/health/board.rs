//! Asks every dependency at once and remembers the answers for a moment, so that a flood of probes is harmless.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::Mutex;

use super::{DependencyCheck, Finding};

/// How long a dependency may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long answers are remembered.
const MEMORY: Duration = Duration::from_secs(1);

/// Knows which dependencies answer.
#[derive(Debug)]
pub struct Board {
    checks: Vec<Arc<dyn DependencyCheck>>,
    latest: Mutex<Option<Look>>,
}

#[derive(Debug)]
struct Look {
    at: Instant,
    findings: Vec<Finding>,
}

impl Board {
    /// Asks nothing yet.
    #[must_use]
    pub fn new(checks: Vec<Arc<dyn DependencyCheck>>) -> Self {
        Self {
            checks,
            latest: Mutex::new(None),
        }
    }

    /// What the dependencies answer, in the order of the checks, at most a second old. Callers who ask at the same time
    /// share one round of checks, and none waits longer than two seconds for it.
    pub async fn look(&self) -> Vec<Finding> {
        let mut latest = self.latest.lock().await;
        match latest.as_ref() {
            Some(known) if known.at.elapsed() < MEMORY => known.findings.clone(),
            known => {
                let before = known.map_or(&[][..], |known| known.findings.as_slice());
                let findings = self.ask_all(before).await;
                log_changes(before, &findings);
                *latest = Some(Look {
                    at: Instant::now(),
                    findings: findings.clone(),
                });
                findings
            }
        }
    }

    async fn ask_all(&self, before: &[Finding]) -> Vec<Finding> {
        let asked = self.checks.iter().enumerate();
        let answers = asked.map(async |(index, check)| {
            let (up, latency) = ask(check.as_ref()).await;
            let proven_before = before.get(index).and_then(|finding| finding.proven_at);
            Finding {
                name: check.name(),
                up,
                latency,
                proven_at: if up {
                    Some(Instant::now())
                } else {
                    proven_before
                },
            }
        });
        join_all(answers).await
    }
}

async fn ask(check: &dyn DependencyCheck) -> (bool, Duration) {
    let asked = Instant::now();
    let answer = tokio::time::timeout(PATIENCE, check.check()).await;
    let latency = asked.elapsed();
    let reason = match answer {
        Ok(Ok(())) => return (true, latency),
        Ok(Err(reason)) => reason,
        Err(_elapsed) => "no answer in time".to_owned(),
    };
    tracing::debug!(dependency = check.name(), %reason, "a dependency does not answer");
    (false, latency)
}

/// A dependency counts as up before it was asked first.
fn log_changes(before: &[Finding], now: &[Finding]) {
    for (index, finding) in now.iter().enumerate() {
        let was_up = before.get(index).is_none_or(|finding| finding.up);
        let dependency = finding.name;
        match (was_up, finding.up) {
            (true, false) => tracing::warn!(dependency, "a dependency is down"),
            (false, true) => tracing::info!(dependency, "a dependency is up again"),
            (true, true) | (false, false) => {}
        }
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
