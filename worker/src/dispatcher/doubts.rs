//! Tasks that were started without this worker's knowing: their dispatch was committed and its answer lost.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use orchestrator_common::domain::{TaskId, Timestamp};

use super::Dispatcher;

/// When a dispatch failed, it may have been committed all the same: after these times, the tasks that it started
/// without this worker's knowing are looked for. The server has given up everything that is older than the last.
const DOUBTS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
];

impl Dispatcher {
    /// Has the ledger asked later what runs here; see [`DOUBTS`].
    pub(super) fn doubt(&mut self) {
        if self.doubted_at.is_some_and(|at| at.elapsed() < DOUBTS[0]) {
            return;
        }
        self.doubted_at = Some(Instant::now());
        for delay in DOUBTS {
            let intake = self.intake.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                intake.doubt();
            });
        }
    }

    /// Hands back what the ledger has running here and this worker knows nothing of.
    pub(super) async fn settle_doubts(&mut self) {
        if !std::mem::take(&mut self.in_doubt) {
            return;
        }
        let ended = self.completions.iter();
        let mut known: HashSet<TaskId> =
            ended.map(|ended| ended.completion.claim.task_id).collect();
        known.extend(self.running.keys());
        let (worker_id, now) = (self.context.worker_id, Timestamp::now());
        match self
            .context
            .ledger
            .hand_back_unknown(worker_id, &known, now)
            .await
        {
            Ok(handed_back) => {
                for recorded in handed_back {
                    tracing::warn!(task_id = %recorded.claim.task_id, "a task had been started unheard; it runs again");
                    self.hungry.insert(recorded.claim.agent_id);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the ledger could not be asked what runs here");
                self.doubt();
            }
        }
    }
}
