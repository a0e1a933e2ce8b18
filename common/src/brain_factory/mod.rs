//! The Brain Factory and the agents that it makes: wire contract, mapping of configurations, client.

mod agent_config;
mod client;
pub mod contract;
mod error;
mod execute;
mod execution;
mod message;
mod outcome;
mod spelling;
mod transport;

#[cfg(test)]
mod tests;

pub use agent_config::agent_config;
pub use client::{AgentHealth, BrainFactoryClient, GeneratedAgent};
pub use error::{ClientError, ExecuteError, GenerateError, ProbeError};
pub use execute::{EXECUTE_GRACE, ExecuteCall};
pub use execution::Execution;
pub use outcome::{BUSY_DELAY, RECREATE_DELAY, outcome_of};
pub(crate) use transport::{
    Answer, Broken, HttpClient, StatusClass, call, document, http_client, request,
};
pub use transport::{MAX_ANSWER_BYTES, MAX_RETRY_AFTER};
