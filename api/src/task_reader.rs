//! Reading a task: from Redis, from the ledger, or from what this process has just handed to the broker.

use std::time::Duration;

use orchestrator_common::cache::Cache;
use orchestrator_common::domain::{CallbackRecord, TaskDocument, TaskId, Timestamp};
use orchestrator_common::ledger::Ledger;
use orchestrator_common::waiting::Wake;
use tokio::sync::Semaphore;

use crate::problem::ApiError;
use crate::recently_accepted::RecentlyAccepted;
use crate::rest::Rest;
use crate::service::patiently;

/// For how long after it was accepted or started an unfinished task is read from Redis alone. A worker's update that did
/// not reach Redis would hide the outcome for as long.
const TRUST: Duration = Duration::from_secs(10);
/// How long the ledger may take when there is something else to answer with.
const SHORT_PATIENCE: Duration = Duration::from_millis(500);
/// Looks that are taken at the same time for readers who wait: thousands of them may be woken, or give up, in one moment, and
/// each look needs more memory than its waiting.
const MAX_LOOKS: usize = 256;

/// A task, and its place in the queue where that is known.
pub(crate) type FoundTask = (TaskDocument, Option<u64>);

/// Reads tasks.
#[derive(Debug)]
pub(crate) struct TaskReader {
    ledger: Ledger,
    beside: Option<BesideLedger>,
    looks: Semaphore,
}

/// Where tasks are found beside the ledger.
#[derive(Debug)]
pub(crate) struct BesideLedger {
    pub(crate) cache: Cache,
    pub(crate) recent: RecentlyAccepted,
    pub(crate) rest: Rest,
}

impl TaskReader {
    pub(crate) fn new(ledger: Ledger, beside: Option<BesideLedger>) -> Self {
        Self {
            ledger,
            beside,
            looks: Semaphore::new(MAX_LOOKS),
        }
    }

    /// The task, unless nobody knows it.
    ///
    /// # Errors
    /// When the ledger does not answer and nobody else knows the task.
    pub(crate) async fn read(&self, task_id: TaskId) -> Result<Option<FoundTask>, ApiError> {
        let Some(beside) = &self.beside else {
            return patiently(self.look_up(task_id)).await;
        };
        let cached = beside.cached(task_id).await;
        if cached.as_ref().is_some_and(is_to_be_trusted) {
            return Ok(cached.map(without_position));
        }
        let known = match cached {
            Some(document) => Some(document),
            None => {
                let recent = beside.recent.get(task_id);
                recent.map(|recent| recent.document.clone())
            }
        };
        let Some(known) = known else {
            return patiently(self.look_up(task_id)).await;
        };
        if beside.rest.is_on() {
            return Ok(Some(without_position(known)));
        }
        match tokio::time::timeout(SHORT_PATIENCE, self.look_up(task_id)).await {
            Ok(Ok(Some(found))) => return Ok(Some(found)),
            Ok(Ok(None)) => {}
            Ok(Err(_)) | Err(_) => beside.rest.begin(),
        }
        Ok(Some(without_position(known)))
    }

    /// As [`Self::read`], for readers who wait: after those who came before.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) async fn read_in_turn(
        &self,
        task_id: TaskId,
        wake: Option<Wake>,
    ) -> Result<Option<FoundTask>, ApiError> {
        // Never closed, so that there is always a turn in the end.
        let _turn = self.looks.acquire().await;
        // Boxed: else everybody who waits for a turn would keep room for a look.
        match wake {
            Some(wake) => Box::pin(self.read_after(task_id, wake)).await,
            None => Box::pin(self.read(task_id)).await,
        }
    }

    /// The task after `wake`: from where the news is.
    ///
    /// # Errors
    /// As [`Self::read`].
    async fn read_after(&self, task_id: TaskId, wake: Wake) -> Result<Option<FoundTask>, ApiError> {
        match wake {
            Wake::Announced => self.read(task_id).await,
            Wake::Recorded => match patiently(self.look_up(task_id)).await {
                Ok(Some(found)) => Ok(Some(found)),
                Ok(None) | Err(_) => self.read(task_id).await,
            },
        }
    }

    /// How far the callback of a task is; `None` also when the ledger does not say so soon, as the task can be shown
    /// without.
    pub(crate) async fn callback(&self, document: &TaskDocument) -> Option<CallbackRecord> {
        let rest = self.beside.as_ref().map(|beside| &beside.rest);
        if !document.calls_back || !document.status.is_terminal() || rest.is_some_and(Rest::is_on) {
            return None;
        }
        let reading = self.ledger.callback(document.task_id);
        let read = tokio::time::timeout(SHORT_PATIENCE, reading).await;
        read.ok()?.ok()?
    }

    /// Whether a task that the ledger does not know is on its way into it.
    pub(crate) async fn is_on_its_way(&self, task_id: TaskId) -> bool {
        let Some(beside) = &self.beside else {
            return false;
        };
        if beside.recent.get(task_id).is_some() {
            return true;
        }
        let cached = beside.cached(task_id).await;
        cached.is_some_and(|document| !document.status.is_terminal())
    }

    async fn look_up(
        &self,
        task_id: TaskId,
    ) -> Result<Option<FoundTask>, orchestrator_common::ledger::LedgerError> {
        let Some(record) = self.ledger.task(task_id).await? else {
            return Ok(None);
        };
        let queue_position = self.ledger.queue_position(&record).await?;
        Ok(Some((record.into(), queue_position)))
    }
}

impl BesideLedger {
    async fn cached(&self, task_id: TaskId) -> Option<TaskDocument> {
        let document = self.cache.get(task_id).await.ok()??;
        // What another version wrote and this one cannot read is as good as absent.
        serde_json::from_str(&document).ok()
    }
}

fn is_to_be_trusted(document: &TaskDocument) -> bool {
    let since = document.started_at.unwrap_or(document.submitted_at);
    document.status.is_terminal() || Timestamp::now().since(since) < TRUST
}

fn without_position(document: TaskDocument) -> FoundTask {
    (document, None)
}
