//! What an agent is doing now: its running tasks, counted against its limit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The running tasks of one agent. It outlives a change of the agent's configuration.
pub(super) struct Live {
    /// Tells this agent from one of the same id that was made after this was removed.
    pub(super) incarnation: u64,
    activity: Mutex<Activity>,
    ended: AtomicU64,
}

#[derive(Default)]
struct Activity {
    running: u32,
    max_running: u32,
    /// How often each task runs; more than once only when a caller asked twice without a key.
    tasks: HashMap<Arc<str>, u32>,
}

impl Live {
    pub(super) fn new(incarnation: u64) -> Self {
        Self {
            incarnation,
            activity: Mutex::default(),
            ended: AtomicU64::new(0),
        }
    }

    /// Begins an execution, unless `limit` others run; it ends when the slot is dropped.
    pub(super) fn begin(self: &Arc<Self>, task_id: &str, limit: Option<u32>) -> Option<Slot> {
        let mut activity = self.activity();
        if limit.is_some_and(|limit| activity.running >= limit) {
            return None;
        }
        let task_id: Arc<str> = task_id.into();
        activity.running += 1;
        activity.max_running = activity.max_running.max(activity.running);
        *activity.tasks.entry(Arc::clone(&task_id)).or_default() += 1;
        Some(Slot {
            live: Arc::clone(self),
            task_id,
        })
    }

    pub(super) fn running(&self) -> u32 {
        self.activity().running
    }

    pub(super) fn max_running(&self) -> u32 {
        self.activity().max_running
    }

    /// The tasks that run now.
    pub(super) fn tasks(&self) -> Vec<String> {
        let activity = self.activity();
        activity.tasks.keys().map(ToString::to_string).collect()
    }

    /// Executions that ended.
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    fn activity(&self) -> std::sync::MutexGuard<'_, Activity> {
        // Counters are whole after every line above, so a panic elsewhere does not spoil them.
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One running execution.
pub(super) struct Slot {
    live: Arc<Live>,
    task_id: Arc<str>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut activity = self.live.activity();
        activity.running -= 1;
        if let Some(count) = activity.tasks.get_mut(&self.task_id) {
            *count -= 1;
            if *count == 0 {
                activity.tasks.remove(&self.task_id);
            }
        }
        self.live.ended.fetch_add(1, Ordering::Relaxed);
    }
}
