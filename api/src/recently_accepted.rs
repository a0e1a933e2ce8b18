//! The tasks that this process has handed to the broker in the last minutes.
//!
//! Between the broker's confirm and a worker's ingest the ledger does not know a task. Redis tells every API process of
//! it; while Redis is away, this memory keeps the process that accepted it from answering "no such task". (Another
//! process may then answer so until the task is ingested.)

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use orchestrator_common::domain::{NewTask, TaskDocument, TaskId, TaskStatus};

/// For how long a task is remembered at least: ingest takes moments, unless every worker or the ledger is away.
const MEMORY: Duration = Duration::from_secs(300);
/// How many tasks are remembered at least, about half a kilobyte each; twice as many at most.
const CAPACITY: usize = 25_000;

/// A task that the broker has.
#[derive(Debug)]
pub(crate) struct Remembered {
    /// What readers get.
    pub(crate) document: TaskDocument,
    /// Tells the same request from another one under the same name.
    pub(crate) fingerprint: Option<[u8; 32]>,
}

/// Remembers tasks; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecentlyAccepted {
    tasks: Arc<Mutex<Generations<Arc<Remembered>>>>,
    /// What the names stand for that callers chose, from before the task is accepted.
    names: Arc<Mutex<Generations<[u8; 32]>>>,
}

/// What is remembered is forgotten a generation at a time: that costs an insertion next to nothing.
#[derive(Debug)]
struct Generations<V> {
    young: HashMap<TaskId, V>,
    old: HashMap<TaskId, V>,
    young_since: Instant,
}

impl<V> Default for Generations<V> {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            young_since: Instant::now(),
        }
    }
}

impl<V: Clone> Generations<V> {
    fn insert(&mut self, task_id: TaskId, remembered: V) {
        if self.young.len() >= CAPACITY || self.young_since.elapsed() >= MEMORY {
            self.old = std::mem::take(&mut self.young);
            self.young_since = Instant::now();
        }
        self.young.insert(task_id, remembered);
    }

    fn get(&self, task_id: TaskId) -> Option<V> {
        let found = self.young.get(&task_id);
        found.or_else(|| self.old.get(&task_id)).cloned()
    }
}

impl RecentlyAccepted {
    /// Remembers a task, and returns what readers get.
    pub(crate) fn insert(&self, task: NewTask, status: TaskStatus) -> Arc<Remembered> {
        let fingerprint = task.fingerprint;
        let remembered = Arc::new(Remembered {
            document: task.into_record(status).into(),
            fingerprint,
        });
        let task_id = remembered.document.task_id;
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.insert(task_id, Arc::clone(&remembered));
        remembered
    }

    pub(crate) fn get(&self, task_id: TaskId) -> Option<Arc<Remembered>> {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.get(task_id)
    }

    /// Notes what a name stands for, unless it stands for something already; returns what it stands for.
    pub(crate) fn name(&self, task_id: TaskId, fingerprint: [u8; 32]) -> [u8; 32] {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(task_id).unwrap_or_else(|| {
            names.insert(task_id, fingerprint);
            fingerprint
        })
    }
}

#[cfg(test)]
mod tests {
    use orchestrator_common::domain::{Submission, SubmissionDefaults, Timestamp};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_latest_tasks_are_remembered_and_the_number_of_all_is_bounded() {
        let recent = RecentlyAccepted::default();
        let body = json!({"agent_id": "a", "task_type": "t", "task_data": {}});
        let submission = Submission::parse(body, SubmissionDefaults::default()).unwrap();
        let ids: Vec<TaskId> = (0..3 * CAPACITY).map(|_| TaskId::generate()).collect();
        for id in &ids {
            let task = submission.clone().into_task(*id, Timestamp::now());
            recent.insert(task, TaskStatus::Queued);
        }
        let known = |id: &&TaskId| recent.get(**id).is_some();
        assert!(ids.iter().rev().take(CAPACITY).all(|id| known(&id)));
        assert!(ids.iter().filter(known).count() <= 2 * CAPACITY);
        assert!(!known(&&ids[0]));
    }
}
