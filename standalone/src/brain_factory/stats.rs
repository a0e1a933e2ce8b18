//! What the server has done: for `GET /metrics` and for tests that check limits and repetitions from outside.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::agents::Agents;

/// A handle on the counters of a running server.
#[derive(Clone)]
pub struct Stats {
    counters: Arc<Counters>,
    agents: Arc<Agents>,
}

#[derive(Default)]
pub(super) struct Counters {
    executing: AtomicU32,
    max_executing: AtomicU32,
    pub(super) generated: AtomicU64,
    pub(super) completed: AtomicU64,
    pub(super) failed: AtomicU64,
    /// Calls that got the answer of an execution that ran already.
    pub(super) joined: AtomicU64,
    /// Calls that got the stored answer of one that had ended.
    pub(super) replayed: AtomicU64,
    /// Per task, and only in simulation: it would grow without bound.
    tasks: Option<Mutex<HashMap<String, TaskCounts>>>,
}

#[derive(Clone, Copy, Default)]
struct TaskCounts {
    calls: u32,
    executions: u32,
}

/// What one agent has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AgentStats {
    /// Executions that run now.
    pub executing: u32,
    /// The most that ever ran at the same time.
    pub max_executing: u32,
    /// Executions that ended.
    pub ended: u64,
}

/// The body of `GET /metrics`.
#[derive(Serialize)]
pub(super) struct Metrics {
    agents: usize,
    agents_generated: u64,
    executing: u32,
    max_executing: u32,
    executions_completed: u64,
    executions_failed: u64,
    calls_joined: u64,
    calls_replayed: u64,
    per_agent: BTreeMap<String, AgentStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    executions_per_task: Option<BTreeMap<String, u32>>,
}

impl Stats {
    pub(super) fn new(counters: Arc<Counters>, agents: Arc<Agents>) -> Self {
        Self { counters, agents }
    }

    /// What the agent has done; zeroes when it is unknown.
    #[must_use]
    pub fn agent(&self, agent_id: &str) -> AgentStats {
        let live = self.agents.live(agent_id);
        live.map_or_else(AgentStats::default, |live| AgentStats {
            executing: live.running(),
            max_executing: live.max_running(),
            ended: live.ended(),
        })
    }

    /// Executions of all agents that run now.
    #[must_use]
    pub fn executing(&self) -> u32 {
        self.counters.executing.load(Ordering::Relaxed)
    }

    /// The most executions of all agents that ever ran at the same time.
    #[must_use]
    pub fn max_executing(&self) -> u32 {
        self.counters.max_executing.load(Ordering::Relaxed)
    }

    /// How often the task was executed, without refused, joined and replayed calls. Always 0 without simulation.
    #[must_use]
    pub fn executions_of_task(&self, task_id: &str) -> u32 {
        let tasks = self.counters.tasks();
        let counts = tasks.and_then(|tasks| tasks.get(task_id).copied());
        counts.unwrap_or_default().executions
    }

    pub(super) fn metrics(&self) -> Metrics {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let ids = self.agents.lives().into_iter().map(|(id, _)| id);
        let tasks = self.counters.tasks().map(|tasks| {
            let tasks = tasks.iter();
            tasks
                .map(|(id, counts)| (id.clone(), counts.executions))
                .collect()
        });
        Metrics {
            agents: self.agents.count(),
            agents_generated: load(&self.counters.generated),
            executing: self.executing(),
            max_executing: self.max_executing(),
            executions_completed: load(&self.counters.completed),
            executions_failed: load(&self.counters.failed),
            calls_joined: load(&self.counters.joined),
            calls_replayed: load(&self.counters.replayed),
            per_agent: ids.map(|id| (id.clone(), self.agent(&id))).collect(),
            executions_per_task: tasks,
        }
    }
}

impl Counters {
    pub(super) fn new(per_task: bool) -> Self {
        Self {
            tasks: per_task.then(Mutex::default),
            ..Self::default()
        }
    }

    /// Notes a call for `task_id`; which one of its calls it is, counted from 1.
    pub(super) fn call(&self, task_id: &str) -> u32 {
        self.tasks().map_or(1, |mut tasks| {
            let counts = tasks.entry(task_id.to_owned()).or_default();
            counts.calls += 1;
            counts.calls
        })
    }

    /// Notes that an execution begins; it ends when the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, task_id: &str) -> Executing {
        if let Some(mut tasks) = self.tasks() {
            tasks.entry(task_id.to_owned()).or_default().executions += 1;
        }
        let now = self.executing.fetch_add(1, Ordering::Relaxed) + 1;
        self.max_executing.fetch_max(now, Ordering::Relaxed);
        Executing(Arc::clone(self))
    }

    fn tasks(&self) -> Option<MutexGuard<'_, HashMap<String, TaskCounts>>> {
        let tasks = self.tasks.as_ref()?;
        Some(tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One execution that runs.
pub(super) struct Executing(Arc<Counters>);

impl Drop for Executing {
    fn drop(&mut self) {
        self.0.executing.fetch_sub(1, Ordering::Relaxed);
    }
}
