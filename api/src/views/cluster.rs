//! The cluster as a whole, as operators and monitoring see it.

use std::collections::BTreeMap;

use orchestrator_common::domain::{Timestamp, WorkerId};
use orchestrator_common::ledger::{Cluster, Load, TaskTally, WorkerSeen};
use poem_openapi::Object;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use serde::Serialize;

use super::{Wire, WireSchema};

/// A worker process.
#[derive(Debug, Object, Serialize)]
pub(crate) struct WorkerView {
    /// Its identifier; a restarted process has another.
    worker_id: Wire<WorkerId>,
    /// Where it runs.
    host: String,
    /// How many tasks it runs at once.
    capacity: u32,
    /// When it started.
    started_at: Wire<Timestamp>,
    /// When it last said that it is alive; it does so every few seconds.
    last_heartbeat: Wire<Timestamp>,
}

impl From<WorkerSeen> for WorkerView {
    fn from(seen: WorkerSeen) -> Self {
        Self {
            worker_id: Wire(seen.worker.worker_id),
            host: seen.worker.host,
            capacity: seen.worker.capacity,
            started_at: Wire(seen.started_at),
            last_heartbeat: Wire(seen.heartbeat_at),
        }
    }
}

/// The cluster as a whole.
#[derive(Debug, Object, Serialize)]
pub(crate) struct ClusterStatus {
    /// Its workers, oldest first.
    workers: Vec<WorkerView>,
    /// How many tasks the workers run at once, together.
    capacity: u64,
    /// How many agents are in which state.
    agents: Wire<Counts>,
    /// Tasks that wait for a slot of their agent.
    queued_tasks: u64,
    /// Tasks that run.
    running_tasks: u64,
    /// Tasks that completed so far.
    completed_tasks: u64,
    /// Tasks that failed or timed out so far.
    failed_tasks: u64,
    /// Attempts that ended so far.
    total_sessions: u64,
}

impl ClusterStatus {
    pub(crate) fn new(cluster: Cluster, load: Load) -> Self {
        let capacity = cluster.workers.iter();
        let capacity = capacity.map(|seen| u64::from(seen.worker.capacity)).sum();
        Self {
            capacity,
            workers: cluster.workers.into_iter().map(Into::into).collect(),
            agents: Wire(cluster.agents),
            queued_tasks: load.runnable,
            running_tasks: load.running,
            completed_tasks: load.completed,
            failed_tasks: load.failed,
            total_sessions: load.sessions,
        }
    }
}

/// Counts of tasks.
#[derive(Debug, Object, Serialize)]
pub(crate) struct TaskCounts {
    /// Tasks that run.
    running_tasks: u64,
    /// Tasks that completed so far.
    completed_tasks: u64,
    /// Tasks that failed or timed out so far.
    failed_tasks: u64,
    /// Tasks that completed since the last call, by type.
    completions_by_type: Wire<Counts>,
    /// Tasks that failed or timed out since the last call, by the code of their error.
    errors_by_type: Wire<Counts>,
}

impl TaskCounts {
    pub(crate) fn new(load: &Load, tally: TaskTally) -> Self {
        Self {
            running_tasks: load.running,
            completed_tasks: load.completed,
            failed_tasks: load.failed,
            completions_by_type: Wire(tally.completions),
            errors_by_type: Wire(tally.errors),
        }
    }
}

/// Counts by name.
pub(crate) type Counts = BTreeMap<String, u64>;

impl WireSchema for Counts {
    fn schema() -> MetaSchema {
        let count = MetaSchema::new_with_format("integer", "uint64");
        MetaSchema {
            additional_properties: Some(Box::new(MetaSchemaRef::Inline(Box::new(count)))),
            ..MetaSchema::new("object")
        }
    }
}
