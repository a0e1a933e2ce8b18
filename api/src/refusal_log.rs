//! Writes refused requests into the audit log: in batches beside the requests, and no more than the ledger bears when
//! somebody sends nothing but bad ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use orchestrator_common::domain::{AuditEntry, AuditOutcome, Origin, Timestamp};
use orchestrator_common::ledger::Ledger;
use orchestrator_common::metrics::Metrics;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Refusals that are written in one interval; of further ones only the number.
const MAX_BATCH: usize = 200;
/// Time between two batches.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the ledger may take for a batch.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes refusals; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RefusalLog {
    entries: mpsc::Sender<AuditEntry>,
    left_out: Arc<AtomicU64>,
}

/// What has been taken and is not yet written.
#[derive(Debug)]
pub(crate) struct Unwritten {
    entries: mpsc::Receiver<AuditEntry>,
    left_out: Arc<AtomicU64>,
}

impl RefusalLog {
    pub(crate) fn new() -> (Self, Unwritten) {
        let (entries, arriving) = mpsc::channel(MAX_BATCH);
        let left_out = Arc::<AtomicU64>::default();
        let log = Self {
            entries,
            left_out: Arc::clone(&left_out),
        };
        let unwritten = Unwritten {
            entries: arriving,
            left_out,
        };
        (log, unwritten)
    }

    /// Takes a refusal; it is only counted when too many wait already.
    pub(crate) fn take(&self, entry: AuditEntry) {
        if self.entries.try_send(entry).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Unwritten {
    /// Writes until `stop`, and then what is left.
    pub(crate) async fn write(
        mut self,
        ledger: Ledger,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                _received = self.entries.recv_many(&mut batch, MAX_BATCH) => {}
                () = stop.cancelled() => {
                    while let Ok(entry) = self.entries.try_recv() {
                        batch.push(entry);
                    }
                }
            }
            if !batch.is_empty() {
                self.write_batch(&ledger, &metrics, std::mem::take(&mut batch))
                    .await;
            }
            tokio::select! {
                () = sleep(INTERVAL) => {}
                () = stop.cancelled() => if self.entries.is_empty() { return },
            }
        }
    }

    async fn write_batch(&self, ledger: &Ledger, metrics: &Metrics, mut batch: Vec<AuditEntry>) {
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        let refusals = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        if left_out > 0 {
            batch.push(AuditEntry {
                at: Timestamp::now(),
                origin: Origin {
                    actor: "orchestrator-api".to_owned(),
                    request_id: None,
                },
                action: "audit.left_out".to_owned(),
                resource: "audit".to_owned(),
                outcome: AuditOutcome::Refused,
                detail: Some(format!("{left_out} further refusals")),
            });
        }
        let written = timeout(PATIENCE, ledger.note_refusals(&batch)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::warn!(
                refusals,
                "the ledger did not take refusals for the audit log"
            );
            metrics.error("audit_left_out");
            self.left_out
                .fetch_add(left_out + refusals, Ordering::Relaxed);
        }
    }
}
