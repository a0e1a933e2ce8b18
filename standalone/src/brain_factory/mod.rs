//! The built-in Brain Factory: makes agents and runs them, over the same HTTP contract as the platform's own.
//!
//! With a language model its agents reason; without one they run their graph of rules, decisions and templates.
//! `docs/brain-factory.md` is its user's page.

mod acceptor;
mod agents;
mod answer;
mod blueprint;
mod execution;
mod findings;
mod flights;
mod graph;
mod live;
mod model;
mod options;
mod routes;
mod server;
mod simulation;
mod stats;
#[cfg(test)]
mod tests;

pub use options::{BrainFactoryOptions, TokenPrices};
pub use server::{BrainFactory, BuildError};
pub use stats::{AgentStats, Stats};
