//! What the API can do, judged by which of its dependencies answer.

use std::time::Instant;

use orchestrator_common::auth::KeySet;
use orchestrator_common::health::{Board, Finding};

use super::report::{DependencyReport, DependencyState};
use super::{Carries, Dependency, Health, HealthReport};

/// Knows how the service is.
#[derive(Debug)]
pub(crate) struct HealthBoard {
    board: Board,
    /// In the order of the board.
    carries: Vec<Carries>,
    /// Without any of them nobody can be let in.
    keys: Option<KeySet>,
    started: Instant,
}

impl HealthBoard {
    pub(crate) fn new(dependencies: Vec<Dependency>, keys: Option<KeySet>) -> Self {
        let (checks, carries) = dependencies
            .into_iter()
            .chain(keys.clone().map(Dependency::token_keys))
            .map(|dependency| (dependency.check, dependency.carries))
            .unzip();
        Self {
            board: Board::new(checks),
            carries,
            keys,
            started: Instant::now(),
        }
    }

    /// How the service is, at most a second old.
    pub(crate) async fn report(&self) -> HealthReport {
        let findings = self.board.look().await;
        HealthReport {
            status: self.judge(&findings),
            service: "agent-orchestrator".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            dependencies: findings
                .iter()
                .map(|finding| (finding.name.to_owned(), report_of(finding)))
                .collect(),
        }
    }

    fn judge(&self, findings: &[Finding]) -> Health {
        let up = self.carries.iter().zip(findings);
        let carries_on = up
            .filter(|(_, finding)| finding.up)
            .any(|(carries, _)| carries.accepting || carries.reading)
            && self.keys.as_ref().is_none_or(KeySet::is_known);
        match (carries_on, findings.iter().all(|finding| finding.up)) {
            (true, true) => Health::Healthy,
            (true, false) => Health::Degraded,
            (false, _) => Health::Unhealthy,
        }
    }
}

fn report_of(finding: &Finding) -> DependencyReport {
    DependencyReport {
        status: if finding.up {
            DependencyState::Up
        } else {
            DependencyState::Down
        },
        latency_ms: finding.latency.as_secs_f64() * 1_000.0,
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
