//! Whether a worker can run tasks, and which of what it needs answers.

use std::sync::Arc;
use std::time::Instant;

use orchestrator_common::domain::WorkerId;
use orchestrator_common::health::{Board, Finding};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::Vitals;

/// Without it a worker runs nothing; without the other servers it runs what the ledger has.
const NEEDED: &str = "ledger";

/// Knows whether the worker is ready.
#[derive(Debug)]
pub(crate) struct Readiness {
    pub(crate) worker_id: WorkerId,
    pub(crate) board: Board,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) started: Instant,
    /// Begins with the shutdown.
    pub(crate) stopping: CancellationToken,
}

impl Readiness {
    /// Whether the worker starts tasks, and the answer of the readiness probe.
    pub(super) async fn report(&self) -> (bool, Value) {
        let findings = self.board.look().await;
        let standing = self.vitals.standing.get();
        let present = standing.is_some_and(|standing| standing.may_claim());
        let needed = findings.iter().filter(|finding| finding.name == NEEDED);
        let able = present && needed.clone().all(|finding| finding.up);
        let status = if self.stopping.is_cancelled() {
            "stopping"
        } else if standing.is_none() {
            "starting"
        } else if !able {
            "unhealthy"
        } else if findings.iter().all(|finding| finding.up) {
            "healthy"
        } else {
            "degraded"
        };
        let mut parts: Map<String, Value> = findings.iter().map(part_of).collect();
        let presence = json!({
            "status": up_or_down(present),
            "age_seconds": standing.map(|standing| standing.seen_ago().as_secs_f64()),
        });
        parts.insert("presence".to_owned(), presence);
        let report = json!({
            "status": status,
            "service": "orchestrator-worker",
            "version": env!("CARGO_PKG_VERSION"),
            "worker_id": self.worker_id,
            "uptime_seconds": self.started.elapsed().as_secs_f64(),
            "parts": parts,
        });
        (able && !self.stopping.is_cancelled(), report)
    }
}

fn part_of(finding: &Finding) -> (String, Value) {
    let part = json!({
        "status": up_or_down(finding.up),
        "age_seconds": finding.proven_at.map(|at| at.elapsed().as_secs_f64()),
        "latency_ms": finding.latency.as_secs_f64() * 1_000.0,
    });
    (finding.name.to_owned(), part)
}

fn up_or_down(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}
