//! The JSON that the Brain Factory and its agents speak, as they really behave.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// `POST /generate-agent`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenerateAgentRequest {
    /// Whom to make, in the factory's own dialect.
    pub agent_config: Value,
    /// Passed through.
    #[serde(default)]
    pub deployment_options: Map<String, Value>,
    /// Passed through.
    #[serde(default)]
    pub validation_options: Map<String, Value>,
}

/// The factory's answer: 200 also when the agent could not be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenerateAgentAnswer {
    /// Whether there is an agent now.
    pub success: bool,
    /// The agent's identifier.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// Base address of the agent.
    #[serde(default)]
    pub agent_endpoint: Option<String>,
    /// `ready` or `failed`.
    #[serde(default)]
    pub status: Option<String>,
    /// What was checked.
    #[serde(default, deserialize_with = "null_as_default")]
    pub validation_results: Vec<ValidationResult>,
    /// Notes of the factory.
    #[serde(default, deserialize_with = "null_as_default")]
    pub creation_metadata: Map<String, Value>,
    /// Why there is none.
    #[serde(default)]
    pub error_message: Option<String>,
}

/// One check of an agent's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ValidationResult {
    /// Whether it passed.
    pub is_valid: bool,
    /// `info`, `warning` or `error`.
    #[serde(default)]
    pub severity: Option<String>,
    /// What was found.
    #[serde(default)]
    pub message: Option<String>,
    /// Where.
    #[serde(default)]
    pub field: Option<String>,
    /// What to do.
    #[serde(default)]
    pub suggestion: Option<String>,
}

/// `POST {endpoint}/execute`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecuteRequest {
    /// The task.
    pub task_id: String,
    /// The task in words.
    pub description: String,
    /// The task's data.
    #[serde(default = "empty_object")]
    pub input_data: Value,
    /// Passed through.
    #[serde(default)]
    pub constraints: Map<String, Value>,
    /// `low`, `normal` or `high`.
    #[serde(default)]
    pub priority: Option<String>,
    /// Seconds; 0 or absent means 300.
    #[serde(default)]
    pub timeout_seconds: Option<u32>,
    /// Not used by the orchestrator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
}

/// The platform's services write `null` for what they leave empty.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn empty_object() -> Value {
    Value::Object(Map::new())
}

/// The agent's answer: 200 also for every failure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecuteAnswer {
    /// The task.
    pub task_id: String,
    /// `completed` or `failed`.
    pub status: String,
    /// What the agent found.
    #[serde(default)]
    pub result: Option<Value>,
    /// Why it failed.
    #[serde(default)]
    pub error_message: Option<String>,
    /// Seconds.
    #[serde(default)]
    pub execution_time: Option<f64>,
    /// 0 to 1.
    #[serde(default)]
    pub confidence_score: Option<f64>,
    /// May carry `tokens_used` and `cost_estimate`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub metadata: Map<String, Value>,
}

/// `GET {endpoint}/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentStatusAnswer {
    /// `{state, …}` with a state of [`STATES`].
    pub status: Map<String, Value>,
    /// Tasks that run now.
    #[serde(default, deserialize_with = "null_as_default")]
    pub active_tasks: Vec<String>,
    /// Tasks that ended.
    #[serde(default)]
    pub task_history_count: u64,
    /// What the agent reports to use.
    #[serde(default)]
    pub memory_usage_mb: Option<f64>,
}

/// The states of an agent.
pub const STATES: [&str; 6] = [
    "initializing",
    "ready",
    "executing",
    "paused",
    "error",
    "terminated",
];

/// How the answer to an execute call on a busy agent begins; the agent's state follows.
pub const BUSY_PREFIX: &str = "Agent not ready for task execution. Current state:";

/// How the answer to an execute call begins that the agent itself gave up; `after N seconds` follows.
pub const TIMED_OUT_PREFIX: &str = "Task execution timed out";

/// `DELETE {endpoint}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TerminationAnswer {
    /// `success` or `not_found`.
    pub termination_status: String,
}
