//! Whether the service can do its job, and which of the services it leans on answer.

mod board;
mod check;
mod report;

pub(crate) use board::HealthBoard;
pub use check::{Carries, DependencyCheck, LedgerCheck};
pub(crate) use report::{Health, HealthReport};
