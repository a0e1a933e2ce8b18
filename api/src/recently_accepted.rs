//! The tasks that this process has handed to the broker in the last minutes.
//!
//! Between the broker's confirm and a worker's ingest the ledger does not know a task. Redis tells every API process of
//! it; while Redis is away, this memory keeps the process that accepted it from answering "no such task". (Another
//! process may then answer so until the task is ingested.)

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use orchestrator_common::domain::{NewTask, TaskDocument, TaskId, TaskStatus};

/// How long a task is remembered: ingest takes moments, unless every worker or the ledger is away.
const MEMORY: Duration = Duration::from_secs(600);
/// How many tasks are remembered, about half a kilobyte each.
const CAPACITY: u64 = 50_000;

/// A task that the broker has.
#[derive(Debug)]
pub(crate) struct Remembered {
    /// What readers get.
    pub(crate) document: TaskDocument,
    /// Tells the same request from another one under the same name.
    pub(crate) fingerprint: Option<[u8; 32]>,
}

/// Remembers tasks; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RecentlyAccepted(Cache<TaskId, Arc<Remembered>>);

impl RecentlyAccepted {
    pub(crate) fn new() -> Self {
        let tasks = Cache::builder()
            .max_capacity(CAPACITY)
            .time_to_live(MEMORY)
            .build();
        Self(tasks)
    }

    /// Remembers a task, and returns what readers get.
    pub(crate) async fn insert(&self, task: NewTask, status: TaskStatus) -> Arc<Remembered> {
        let fingerprint = task.fingerprint;
        let remembered = Arc::new(Remembered {
            document: task.into_record(status).into(),
            fingerprint,
        });
        let task_id = remembered.document.task_id;
        self.0.insert(task_id, remembered.clone()).await;
        remembered
    }

    pub(crate) async fn get(&self, task_id: TaskId) -> Option<Arc<Remembered>> {
        self.0.get(&task_id).await
    }
}
