//! The worker: takes tasks in, runs them on their agents, records what came of them, and keeps agents alive.
//!
//! One loop (`dispatcher`) speaks to the ledger for all tasks of the process; `executor` runs one task, `lifecycle`
//! brings agents to what is wanted of them, `sweep` finds what nobody announced, `presence` sees to it that a lost
//! worker's tasks run elsewhere, and only there, `workflows` advances runs, `callbacks` tells outcomes to those who asked
//! for that, and `roll_up` has summed up how agents do. At full strength, `consume` brings what the broker has, and
//! `announce` tells Redis and the broker what was recorded.

mod announce;
mod application;
mod audit_forwarding;
mod callbacks;
mod consume;
mod deployment;
mod dispatcher;
mod executor;
mod health;
mod intake;
mod lifecycle;
mod outward;
mod presence;
mod probes;
pub mod process;
mod retention;
mod roll_up;
mod schedule;
mod sweep;
mod watch;
mod worker;
mod workflows;

pub use application::{Application, BuildError, RunError};
pub use intake::Intake;
pub use outward::Outward;
pub use worker::{Worker, WorkerContext};
