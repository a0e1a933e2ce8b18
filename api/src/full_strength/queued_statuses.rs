//! Tells Redis of tasks that have just been accepted, as many at once as have come while the last round trip ran.
//!
//! Callers wait for it only a moment, so that whoever is answered finds the task also through another API process; a
//! Redis that is slow or gone costs no more than that moment.

use std::time::Duration;

use orchestrator_common::cache::{Cache, CachedStatus};
use tokio::sync::{mpsc, oneshot};

/// How long a caller waits.
const PATIENCE: Duration = Duration::from_millis(100);
/// Statuses that may wait for the next round trip; more are not written.
const MAX_WAITING: usize = 4_096;
/// Statuses of one round trip.
const MAX_BATCH: usize = 500;

type Written = oneshot::Sender<bool>;

/// Writes the statuses of accepted tasks.
#[derive(Clone, Debug)]
pub(super) struct QueuedStatuses {
    waiting: mpsc::Sender<(CachedStatus, Written)>,
}

impl QueuedStatuses {
    /// Starts the task that writes; it ends when this and every clone are gone.
    pub(super) fn start(cache: Cache) -> Self {
        let (waiting, arriving) = mpsc::channel(MAX_WAITING);
        tokio::spawn(write(cache, arriving));
        Self { waiting }
    }

    /// Writes a status, if Redis takes it soon; returns whether it did.
    pub(super) async fn put(&self, status: CachedStatus) -> bool {
        let (written, told) = oneshot::channel();
        if self.waiting.try_send((status, written)).is_err() {
            return false;
        }
        matches!(tokio::time::timeout(PATIENCE, told).await, Ok(Ok(true)))
    }
}

async fn write(cache: Cache, mut arriving: mpsc::Receiver<(CachedStatus, Written)>) {
    let mut batch = Vec::new();
    while arriving.recv_many(&mut batch, MAX_BATCH).await > 0 {
        let (statuses, waiting): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        let taken = cache.put_accepted(&statuses).await;
        if let Err(error) = &taken {
            tracing::debug!(%error, "accepted tasks are not in the cache");
        }
        for written in waiting {
            let _gone = written.send(taken.is_ok());
        }
    }
}
