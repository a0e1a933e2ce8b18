//! What the broker brings: tasks and commands on them, commands on agents and workflows, doorbells, and signals for every worker.
//!
//! One loop per queue. A message is acknowledged once its effect is in the ledger, dead-lettered when it never can be,
//! and otherwise left with the broker, which gives it to another worker when this one goes away.

mod admission;
mod control;
mod doorbell;
mod lifecycle;
mod reception;
mod tasks;
mod workflows;

use std::sync::Arc;

use orchestrator_common::messaging::{Source, Supervisor};
use tokio_util::task::TaskTracker;

pub(crate) use admission::{Admission, Checks};
pub(crate) use reception::Reception;

/// Task messages in hand at the same time, each with one task or many: some at the ledger and some that wait for it.
const TASKS_PREFETCH: u16 = 256;
/// Commands on agents; they are carried out one after the other.
const LIFECYCLE_PREFETCH: u16 = 32;
/// One, since a bell in the hands of a full worker is one that nobody hears.
const DOORBELL_PREFETCH: u16 = 1;
/// Signals; they are only passed on.
const CONTROL_PREFETCH: u16 = 256;

/// Subscribes to every queue and starts its loop; the loops end after the shutdown of `supervisor`, once what they had in
/// hand is settled or let go.
pub(crate) fn start(reception: &Arc<Reception>, supervisor: &mut Supervisor) -> TaskTracker {
    let loops = TaskTracker::new();
    loops.spawn(tasks::run(
        Arc::clone(reception),
        supervisor.subscribe(Source::Tasks, TASKS_PREFETCH),
    ));
    loops.spawn(lifecycle::run(
        Arc::clone(reception),
        supervisor.subscribe(Source::Lifecycle, LIFECYCLE_PREFETCH),
    ));
    loops.spawn(doorbell::run(
        Arc::clone(reception),
        supervisor.subscribe(Source::Doorbell, DOORBELL_PREFETCH),
    ));
    loops.spawn(control::run(
        Arc::clone(reception),
        supervisor.subscribe(Source::Control, CONTROL_PREFETCH),
    ));
    loops.close();
    loops
}
