//! The HTTP API: it validates, checks who calls, hands commands on, and reads. It decides nothing about tasks.

mod agent_catalogue;
mod agent_directory;
mod application;
mod auth;
mod body;
mod document;
mod edge;
mod full_strength;
mod health;
mod idempotency;
mod preferences;
mod problem;
pub mod process;
mod recently_accepted;
mod refusal_log;
mod rest;
mod routes;
mod server;
mod service;
mod submitting;
mod task_changes;
mod task_reader;
mod task_waiting;
#[cfg(test)]
mod testing;
mod views;
mod workflows;

pub use application::{ApiContext, Application, Limits};
pub use auth::Level;
pub use full_strength::{BuildError, FullStrength, RunError};
pub use health::{Carries, Dependency};
pub use problem::{ApiError, FieldFault, Problem};
pub use routes::openapi_document;
