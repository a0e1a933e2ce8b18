//! Waiting for the outcome of a task: woken by signals, and by a slow look at the ledger for signals that were lost.

use std::time::Duration;

use orchestrator_common::domain::{TaskDocument, TaskId};
use orchestrator_common::ledger::Ledger;
use orchestrator_common::waiting::{Standing, WaitingReader, WaitingReaders, Wake};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::problem::ApiError;
use crate::service::Service;
use crate::task_reader::FoundTask;

/// Time between two looks at everything that is waited for: what a lost signal costs.
const INTERVAL: Duration = Duration::from_secs(3);
/// How long the last look may take, when the time is over.
const LAST_LOOK: Duration = Duration::from_secs(3);
/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl Service {
    /// The task with its outcome, or as it stands when `patience` is over; `None` when nobody knows it.
    pub(crate) async fn outcome(
        &self,
        task_id: TaskId,
        reader: &mut WaitingReader,
        patience: Duration,
    ) -> Result<Option<FoundTask>, ApiError> {
        let deadline = Instant::now() + patience;
        let mut found = self.tasks.read_in_turn(task_id, None).await?;
        loop {
            let Some((document, _)) = &found else {
                return Ok(None);
            };
            reader.saw(standing(document));
            if document.status.is_terminal() {
                return Ok(found);
            }
            let Ok(Some(wake)) = timeout_at(deadline, reader.woken()).await else {
                break;
            };
            // Whoever cannot read now waits for the next wake-up.
            let reading = self.tasks.read_in_turn(task_id, Some(wake));
            if let Ok(Some(news)) = reading.await {
                found = Some(news);
            }
        }
        let last = timeout(LAST_LOOK, self.tasks.read_in_turn(task_id, None)).await;
        match last {
            Ok(Ok(Some(news))) => Ok(Some(news)),
            Ok(Ok(None) | Err(_)) | Err(_) => Ok(found),
        }
    }

    /// Wakes the readers of this process after a change to a task that was made here.
    pub(crate) fn wake(&self, task_id: TaskId) {
        self.readers.wake(task_id, Wake::Recorded);
    }
}

/// What of a task tells that there is news.
pub(crate) const fn standing(document: &TaskDocument) -> Standing {
    (document.status, document.attempt)
}

/// Compares what waiting readers have seen with the ledger every few seconds until `stop`, and wakes whom a signal has
/// not reached.
pub(crate) async fn look_after(readers: WaitingReaders, ledger: Ledger, stop: CancellationToken) {
    while timeout(INTERVAL, stop.cancelled()).await.is_err() {
        let waited = readers.standings();
        if waited.is_empty() {
            continue;
        }
        let task_ids: Vec<TaskId> = waited.iter().map(|(task_id, _)| *task_id).collect();
        let looked = timeout(PATIENCE, ledger.standings(&task_ids)).await;
        // Signals go on arriving while the ledger does not answer.
        let Ok(Ok(recorded)) = looked else { continue };
        let recorded: std::collections::HashMap<TaskId, Standing> = recorded.into_iter().collect();
        for (task_id, seen) in waited {
            if recorded.get(&task_id).is_some_and(|now| *now != seen) {
                readers.wake(task_id, Wake::Recorded);
            }
        }
    }
}
