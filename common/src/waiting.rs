//! Readers who wait for news of a task: one map per process, woken by whoever hears that a task has changed.
//!
//! A wake-up carries no news: who is woken reads again. One that is lost costs no more than the time until
//! [`WaitingReaders::standings`] is compared with the ledger.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::{TaskId, TaskStatus};

/// Where the news of a task can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Wherever tasks are read: the cache was written first.
    Announced,
    /// In the ledger; the cache may be behind.
    Recorded,
}

/// A status and the number of attempts so far: enough to tell whether there is news.
pub type Standing = (TaskStatus, u32);

/// Everybody who waits in this process; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct WaitingReaders {
    tasks: Arc<Mutex<HashMap<TaskId, Waited>>>,
    closed: CancellationToken,
}

/// A task that somebody waits for.
#[derive(Debug)]
struct Waited {
    wakes: watch::Sender<Wake>,
    readers: usize,
    /// What its latest reader saw.
    seen: Option<Standing>,
}

impl WaitingReaders {
    /// Begins to wait for news of a task. Register first and read then: what happens in between wakes the reader.
    #[must_use]
    pub fn register(&self, task_id: TaskId) -> WaitingReader {
        let mut tasks = self.locked();
        let waited = tasks.entry(task_id).or_insert_with(|| Waited {
            wakes: watch::Sender::new(Wake::Announced),
            readers: 0,
            seen: None,
        });
        waited.readers += 1;
        WaitingReader {
            task_id,
            wakes: waited.wakes.subscribe(),
            all: self.clone(),
        }
    }

    /// Wakes whoever waits for news of a task.
    pub fn wake(&self, task_id: TaskId, wake: Wake) {
        if let Some(waited) = self.locked().get(&task_id) {
            waited.wakes.send_replace(wake);
        }
    }

    /// The tasks that are waited for, with what their readers have seen of them.
    #[must_use]
    pub fn standings(&self) -> Vec<(TaskId, Standing)> {
        let tasks = self.locked();
        let seen = tasks
            .iter()
            .filter_map(|(id, waited)| Some((*id, waited.seen?)));
        seen.collect()
    }

    /// Ends all waiting, now and from now on: the process stops.
    pub fn close(&self) {
        self.closed.cancel();
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<TaskId, Waited>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for news of a task, until it is dropped.
#[derive(Debug)]
pub struct WaitingReader {
    task_id: TaskId,
    wakes: watch::Receiver<Wake>,
    all: WaitingReaders,
}

impl WaitingReader {
    /// Returns when there may be news since the last time, or since the reader was registered; `None` when the process
    /// stops. Cancelling the wait loses nothing.
    pub async fn woken(&mut self) -> Option<Wake> {
        tokio::select! {
            biased;
            () = self.all.closed.cancelled() => None,
            changed = self.wakes.changed() => {
                changed.ok()?;
                Some(*self.wakes.borrow_and_update())
            }
        }
    }

    /// Notes what was read.
    pub fn saw(&self, standing: Standing) {
        if let Some(waited) = self.all.locked().get_mut(&self.task_id) {
            waited.seen = Some(standing);
        }
    }
}

impl Drop for WaitingReader {
    fn drop(&mut self) {
        if let Entry::Occupied(mut waited) = self.all.locked().entry(self.task_id) {
            waited.get_mut().readers -= 1;
            if waited.get().readers == 0 {
                waited.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn every_reader_of_a_task_is_woken_and_no_other() {
        let readers = WaitingReaders::default();
        let (one, other) = (TaskId::generate(), TaskId::generate());
        let mut waiting = [one, one, other].map(|task_id| readers.register(task_id));
        readers.wake(one, Wake::Recorded);
        let woken = waiting
            .each_mut()
            .map(|reader| reader.woken().now_or_never());
        assert_eq!(
            woken,
            [Some(Some(Wake::Recorded)), Some(Some(Wake::Recorded)), None]
        );
        assert_eq!(waiting[0].woken().now_or_never(), None);
    }

    #[tokio::test]
    async fn who_registered_before_the_news_does_not_miss_it() {
        let readers = WaitingReaders::default();
        let task_id = TaskId::generate();
        let mut reader = readers.register(task_id);
        readers.wake(task_id, Wake::Announced);
        reader.saw((TaskStatus::Queued, 0));
        assert_eq!(reader.woken().await, Some(Wake::Announced));
    }

    #[test]
    fn nothing_is_kept_of_readers_that_are_gone() {
        let readers = WaitingReaders::default();
        let task_id = TaskId::generate();
        let (one, other) = (readers.register(task_id), readers.register(task_id));
        one.saw((TaskStatus::Running, 1));
        drop(one);
        assert_eq!(readers.standings(), [(task_id, (TaskStatus::Running, 1))]);
        drop(other);
        assert!(readers.locked().is_empty());
    }

    #[tokio::test]
    async fn a_stopping_process_lets_everybody_go() {
        let readers = WaitingReaders::default();
        let mut before = readers.register(TaskId::generate());
        readers.close();
        assert_eq!(before.woken().await, None);
        assert_eq!(readers.register(TaskId::generate()).woken().await, None);
    }
}
