//! Asks every dependency at once and remembers the answers for a moment, so that a flood of probes is harmless.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::Mutex;

use super::report::{DependencyReport, DependencyState};
use super::{Carries, DependencyCheck, Health, HealthReport};

/// How long a dependency may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long answers are remembered.
const MEMORY: Duration = Duration::from_secs(1);

/// Knows how the service is.
#[derive(Debug)]
pub(crate) struct HealthBoard {
    checks: Vec<Arc<dyn DependencyCheck>>,
    started: Instant,
    latest: Mutex<Option<Findings>>,
}

#[derive(Clone, Debug)]
struct Findings {
    found_at: Instant,
    health: Health,
    dependencies: Vec<(&'static str, DependencyReport)>,
}

impl HealthBoard {
    pub(crate) fn new(checks: Vec<Arc<dyn DependencyCheck>>) -> Self {
        Self {
            checks,
            started: Instant::now(),
            latest: Mutex::new(None),
        }
    }

    /// How the service is, at most a second old. Callers who ask at the same time share one round of checks.
    pub(crate) async fn report(&self) -> HealthReport {
        let mut latest = self.latest.lock().await;
        let findings = match latest.as_ref() {
            Some(known) if known.found_at.elapsed() < MEMORY => known.clone(),
            before => {
                let new = self.find().await;
                log_changes(before, &new);
                latest.insert(new).clone()
            }
        };
        drop(latest);
        HealthReport {
            status: findings.health,
            service: "agent-orchestrator".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            dependencies: findings
                .dependencies
                .into_iter()
                .map(|(name, report)| (name.to_owned(), report))
                .collect(),
        }
    }

    async fn find(&self) -> Findings {
        let answers = join_all(self.checks.iter().map(|check| ask(check.as_ref()))).await;
        let mut carried = Carries::default();
        for (check, (_, report)) in self.checks.iter().zip(&answers) {
            if report.status == DependencyState::Up {
                carried.accepting |= check.carries().accepting;
                carried.reading |= check.carries().reading;
            }
        }
        let all_up = answers
            .iter()
            .all(|(_, report)| report.status == DependencyState::Up);
        Findings {
            found_at: Instant::now(),
            health: match (carried.accepting || carried.reading, all_up) {
                (true, true) => Health::Healthy,
                (true, false) => Health::Degraded,
                (false, _) => Health::Unhealthy,
            },
            dependencies: answers,
        }
    }
}

async fn ask(check: &dyn DependencyCheck) -> (&'static str, DependencyReport) {
    let started = Instant::now();
    let answer = tokio::time::timeout(PATIENCE, check.check()).await;
    let latency_ms = started.elapsed().as_secs_f64() * 1_000.0;
    let status = match answer {
        Ok(Ok(())) => DependencyState::Up,
        Ok(Err(reason)) => {
            tracing::debug!(dependency = check.name(), %reason, "a dependency does not answer");
            DependencyState::Down
        }
        Err(_elapsed) => DependencyState::Down,
    };
    (check.name(), DependencyReport { status, latency_ms })
}

fn log_changes(before: Option<&Findings>, now: &Findings) {
    let was_up = |name: &str| {
        before.is_none_or(|before| {
            before
                .dependencies
                .iter()
                .any(|(known, report)| *known == name && report.status == DependencyState::Up)
        })
    };
    for (dependency, report) in &now.dependencies {
        match (was_up(dependency), report.status) {
            (true, DependencyState::Down) => tracing::warn!(dependency, "a dependency is down"),
            (false, DependencyState::Up) => tracing::info!(dependency, "a dependency is up again"),
            (true, DependencyState::Up) | (false, DependencyState::Down) => {}
        }
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
