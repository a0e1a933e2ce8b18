//! Whether the service can do its job, and which of the services it leans on answer.

mod board;
mod dependency;
mod report;

pub(crate) use board::HealthBoard;
pub use dependency::{Carries, Dependency};
pub(crate) use report::{Health, HealthReport};
