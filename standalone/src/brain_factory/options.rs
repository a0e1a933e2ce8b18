//! What can be chosen about the built-in Brain Factory.

use std::time::Duration;

use orchestrator_common::config::LlmSettings;
use reqwest::Url;

/// What can be chosen about the built-in Brain Factory.
#[derive(Clone, Debug)]
pub struct BrainFactoryOptions {
    /// The chat endpoint that its agents think with; without one they run their graph.
    pub llm: Option<LlmSettings>,
    /// What its tokens cost; without prices no `cost_estimate` is reported.
    pub prices: Option<TokenPrices>,
    /// Whether `input_data._simulate` is honoured and executions are counted per task. For tests only.
    pub simulation: bool,
    /// The address that callers reach it at, when it is not the one that it listens on.
    pub advertised_url: Option<Url>,
    /// The largest request body, in bytes.
    pub max_body_bytes: usize,
    /// How long a stopping server waits for the executions that callers wait for.
    pub shutdown_grace: Duration,
}

impl Default for BrainFactoryOptions {
    fn default() -> Self {
        Self {
            llm: None,
            prices: None,
            simulation: false,
            advertised_url: None,
            max_body_bytes: 64 * 1024 * 1024,
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// What a million tokens cost, in US dollars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenPrices {
    /// Of what the model reads.
    pub input_per_million: f64,
    /// Of what it writes.
    pub output_per_million: f64,
}
