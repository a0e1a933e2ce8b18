//! Every setting, read from the environment once and checked before anything starts.
//!
//! The names and defaults are those of the service description; what goes beyond it follows its style.

mod audit_service;
mod auth;
mod callbacks;
mod deployment_pipeline;
mod http;
mod key_pair;
mod operator;
mod reader;
mod retention;
mod secret;
mod servers;
mod tls;

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

pub use audit_service::AuditServiceSettings;
pub use auth::{AuthSettings, TokenKeys};
pub use callbacks::CallbackSettings;
pub use deployment_pipeline::DeploymentPipelineSettings;
pub use http::{AllowedOrigins, HttpSettings, RateLimit};
pub use key_pair::KeyPairAlgorithm;
pub use operator::OperatorSettings;
pub use reader::{ConfigError, Reader};
pub use retention::RetentionSettings;
pub use secret::Secret;
pub use servers::{DatabaseSettings, RabbitMqSettings, RedisSettings};
pub use tls::Tls;

/// The settings of one process.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the API listens.
    pub http: HttpSettings,
    /// Who may call it.
    pub auth: AuthSettings,
    /// PostgreSQL; used by the embedded default only when it was named.
    pub database: DatabaseSettings,
    /// The status cache.
    pub redis: RedisSettings,
    /// The broker.
    pub rabbitmq: RabbitMqSettings,
    /// What holds for agents that say nothing else.
    pub agents: AgentSettings,
    /// How much one worker takes on.
    pub worker: WorkerSettings,
    /// Who is told outcomes.
    pub callbacks: CallbackSettings,
    /// To whom the audit log is forwarded, if to anybody.
    pub audit_service: Option<AuditServiceSettings>,
    /// How long what has ended is kept.
    pub retention: RetentionSettings,
    /// Who makes the agents.
    pub brain_factory: BrainFactorySettings,
    /// Who knows how deployments of agents stand; nobody is asked when `None`.
    pub deployment_pipeline: Option<DeploymentPipelineSettings>,
    /// The language model of the built-in Brain Factory; without one it runs the agent's graph.
    pub llm: Option<LlmSettings>,
    /// Folder of the embedded ledger.
    pub data_dir: PathBuf,
    /// How long a stopping process waits for what it runs.
    pub shutdown_grace: Duration,
}

/// What holds for every agent that says nothing else.
#[derive(Clone, Copy, Debug)]
pub struct AgentSettings {
    /// Sessions of one agent at the same time, across all workers.
    pub max_concurrent_sessions: u32,
    /// Conversations that were idle this long end.
    pub session_timeout: Duration,
    /// Whether metrics are collected.
    pub metrics_enabled: bool,
    /// Whether a task starts an agent that was never started.
    pub auto_start: bool,
    /// Tasks of one agent that may wait; the API refuses further ones.
    pub max_queue_depth: u64,
    /// How often each instance of an agent is asked how it is.
    pub probe_interval: Duration,
}

/// How much one worker takes on, and where it says how it is.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Tasks in flight at the same time.
    pub concurrency: u32,
    /// Address of its health endpoints and metrics.
    pub health_host: String,
    /// Port of the same; `None` when it has none.
    pub health_port: Option<NonZeroU16>,
    /// Whether that port was named: without it, several workers of one machine would want the same.
    pub health_port_named: bool,
}

/// Who makes the agents.
#[derive(Clone, Debug)]
pub struct BrainFactorySettings {
    /// Base address, for example `http://brain-factory:8301`.
    pub url: Url,
    /// Whether it was named; the embedded default brings its own when not.
    pub configured: bool,
    /// How long making an agent may take.
    pub generate_timeout: Duration,
    /// Whether the built-in factory simulates what a task asks it to; for tests only.
    pub simulation: bool,
}

/// An OpenAI-compatible chat endpoint.
#[derive(Clone, Debug)]
pub struct LlmSettings {
    /// Base address up to and including the version, for example `http://localhost:11434/v1`.
    pub base_url: Url,
    /// Model name.
    pub model: String,
    /// Key, if the endpoint wants one.
    pub api_key: Option<Secret>,
    /// What it costs, if that is known.
    pub prices: Option<LlmPrices>,
}

/// Prices of a language model, in US dollars.
#[derive(Clone, Copy, Debug)]
pub struct LlmPrices {
    /// Of a million tokens that the model reads.
    pub input: f64,
    /// Of a million tokens that the model writes.
    pub output: f64,
}

impl Settings {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// The first variable with an unacceptable value, and what it accepts.
    pub fn from_process_environment() -> Result<Self, ConfigError> {
        Self::from_variables(std::env::vars().collect())
    }

    /// Reads `variables`.
    ///
    /// # Errors
    /// The first variable with an unacceptable value, and what it accepts.
    pub fn from_variables(variables: BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let env = Reader::new(variables);
        Ok(Self {
            http: http::http(&env)?,
            auth: auth::auth(&env)?,
            database: servers::database(&env)?,
            redis: servers::redis(&env)?,
            rabbitmq: servers::rabbitmq(&env)?,
            agents: AgentSettings {
                max_concurrent_sessions: env.number(
                    "MAX_CONCURRENT_AGENT_SESSIONS",
                    10,
                    1,
                    100_000,
                )?,
                session_timeout: env.minutes("AGENT_SESSION_TIMEOUT_MINUTES", 60, 1, 525_600)?,
                metrics_enabled: env.boolean("AGENT_METRICS_ENABLED", true)?,
                auto_start: env.boolean("AGENT_AUTO_START", true)?,
                max_queue_depth: env.number(
                    "MAX_QUEUE_DEPTH_PER_AGENT",
                    1_000_000,
                    1,
                    1_000_000_000,
                )?,
                probe_interval: env.seconds("DEPLOYMENT_HEALTH_CHECK_INTERVAL", 30, 1, 3_600)?,
            },
            worker: WorkerSettings {
                concurrency: env.number("WORKER_CONCURRENCY", 1_000, 1, 100_000)?,
                health_host: env.text("WORKER_HEALTH_HOST", "0.0.0.0")?,
                health_port: NonZeroU16::new(env.number("WORKER_HEALTH_PORT", 8201, 0, 65_535)?),
                health_port_named: env.optional("WORKER_HEALTH_PORT").is_some(),
            },
            callbacks: CallbackSettings::read(&env)?,
            audit_service: AuditServiceSettings::read(&env)?,
            retention: RetentionSettings::read(&env)?,
            brain_factory: brain_factory(&env)?,
            deployment_pipeline: DeploymentPipelineSettings::read(&env)?,
            llm: llm(&env)?,
            data_dir: PathBuf::from(env.text("ORCHESTRATOR_DATA_DIR", "./data")?),
            shutdown_grace: env.seconds("SHUTDOWN_GRACE_SECONDS", 30, 0, 86_400)?,
        })
    }
}

fn brain_factory(env: &Reader) -> Result<BrainFactorySettings, ConfigError> {
    let host = env.text("BRAIN_FACTORY_HOST", "brain-factory")?;
    let port: u16 = env.number("BRAIN_FACTORY_PORT", 8301, 1, 65_535)?;
    let url = Url::parse(&format!("http://{host}:{port}"))
        .map_err(|_| ConfigError::new("BRAIN_FACTORY_HOST", "must be a host name"))?;
    Ok(BrainFactorySettings {
        url,
        configured: env.optional("BRAIN_FACTORY_HOST").is_some(),
        generate_timeout: env.seconds("BRAIN_FACTORY_TIMEOUT_SECONDS", 180, 1, 3_600)?,
        simulation: env.boolean("BRAIN_FACTORY_SIMULATION", false)?,
    })
}

fn llm(env: &Reader) -> Result<Option<LlmSettings>, ConfigError> {
    let Some(base_url) = env.optional("LLM_BASE_URL") else {
        return Ok(None);
    };
    let base_url = Url::parse(&base_url)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| {
            ConfigError::new(
                "LLM_BASE_URL",
                "must be an address such as http://localhost:11434/v1",
            )
        })?;
    let model = env.optional("LLM_MODEL").ok_or_else(|| {
        ConfigError::new("LLM_MODEL", "must name a model when LLM_BASE_URL is set")
    })?;
    Ok(Some(LlmSettings {
        base_url,
        model,
        api_key: env.optional("LLM_API_KEY").map(Secret::new),
        prices: prices(env)?,
    }))
}

/// Both or none: a price that is missing is not zero, and a cost that leaves half out is wrong.
fn prices(env: &Reader) -> Result<Option<LlmPrices>, ConfigError> {
    let needed = |missing: &str, other: &str| {
        ConfigError::new(
            missing,
            format!("must be set when {other} is; 0 is for free"),
        )
    };
    match (env.price("LLM_INPUT_COST")?, env.price("LLM_OUTPUT_COST")?) {
        (Some(input), Some(output)) => Ok(Some(LlmPrices { input, output })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(needed("LLM_OUTPUT_COST", "LLM_INPUT_COST")),
        (None, Some(_)) => Err(needed("LLM_INPUT_COST", "LLM_OUTPUT_COST")),
    }
}

#[cfg(test)]
mod tests;
