//! The client of the Brain Factory and of the agents that it makes.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use url::Url;

use super::contract::{
    AgentStatusAnswer, GenerateAgentAnswer, TerminationAnswer, ValidationResult,
};
use super::error::{ClientError, GenerateError, ProbeError};
use super::transport::{Answer, HttpClient, StatusClass, call, call_with, http_client, request};
use crate::config::BrainFactorySettings;
use crate::http::clip;

/// How long a status, health or removal may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(8);

/// Talks to the Brain Factory and to agents. Clones share their connections.
#[derive(Clone, Debug)]
pub struct BrainFactoryClient {
    pub(super) http: HttpClient,
    factory: Arc<str>,
    generate_timeout: Duration,
}

/// An agent that the Brain Factory made.
#[derive(Clone, Debug)]
pub struct GeneratedAgent {
    /// Base address of the agent, without a slash at its end.
    pub endpoint: String,
    /// Notes of the factory.
    pub metadata: Map<String, Value>,
}

/// What an agent says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentHealth {
    /// One of [`super::contract::STATES`], when the agent keeps to its contract.
    pub state: String,
    /// The tasks that it runs now.
    pub active_tasks: Vec<String>,
    /// What it reports to use.
    pub memory_usage_mb: Option<f64>,
    /// Whether a task that is sent to it twice runs once: it says so in its status.
    pub honours_idempotency_key: bool,
}

impl BrainFactoryClient {
    /// A client of the Brain Factory that `settings` name.
    ///
    /// # Errors
    /// When the system offers no certificates to trust.
    pub fn new(settings: &BrainFactorySettings) -> Result<Self, ClientError> {
        Self::at(&settings.url, settings.generate_timeout)
    }

    /// A client of the Brain Factory at `base`, where making an agent may take `generate_timeout`.
    ///
    /// # Errors
    /// When the system offers no certificates to trust.
    pub fn at(base: &Url, generate_timeout: Duration) -> Result<Self, ClientError> {
        Ok(Self {
            http: http_client()?,
            factory: base.as_str().into(),
            generate_timeout,
        })
    }

    /// Has the factory make the agent of `agent_config` (see [`super::agent_config()`]).
    ///
    /// The factory calls the orchestrator back meanwhile: hold no lock on the agent.
    ///
    /// # Errors
    /// See [`GenerateError`].
    pub async fn generate_agent(
        &self,
        agent_config: &Value,
    ) -> Result<GeneratedAgent, GenerateError> {
        #[derive(Serialize)]
        struct Body<'a> {
            agent_config: &'a Value,
            deployment_options: Value,
            validation_options: Value,
        }
        let body = serde_json::to_vec(&Body {
            agent_config,
            deployment_options: json!({}),
            validation_options: json!({}),
        })
        .map_err(|error| GenerateError::Refused(error.to_string()))?;
        let request = request(Method::POST, &self.factory, "/generate-agent")?;
        let answer = call_with(&self.http, request, body, self.generate_timeout).await?;
        match answer.class() {
            StatusClass::Success => {
                generated(decoded(&answer).map_err(GenerateError::InvalidAnswer)?)
            }
            failure => Err(GenerateError::of_status(failure, &answer)),
        }
    }

    /// Asks the agent at `endpoint` how it is.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub async fn status(&self, endpoint: &str) -> Result<AgentHealth, ProbeError> {
        let answer = self.probe(Method::GET, endpoint, "/status").await?;
        let said: AgentStatusAnswer = decoded(&answer).map_err(ProbeError::InvalidAnswer)?;
        let state = said.status.get("state").and_then(Value::as_str);
        let Some(state) = state else {
            let message = "its status has no state".to_owned();
            return Err(ProbeError::InvalidAnswer(message));
        };
        let memory = || said.status.get("memory_usage_mb").and_then(Value::as_f64);
        Ok(AgentHealth {
            state: clip(state).to_ascii_lowercase(),
            active_tasks: said.active_tasks,
            memory_usage_mb: said
                .memory_usage_mb
                .or_else(memory)
                .filter(|megabytes| *megabytes >= 0.0),
            honours_idempotency_key: said.status.get("honours_idempotency_key")
                == Some(&Value::Bool(true)),
        })
    }

    /// Removes the agent at `endpoint`; one that is already gone is a success.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub async fn delete(&self, endpoint: &str) -> Result<(), ProbeError> {
        let answer = match self.probe(Method::DELETE, endpoint, "").await {
            Ok(answer) => answer,
            Err(ProbeError::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        };
        let said: TerminationAnswer = decoded(&answer).map_err(ProbeError::InvalidAnswer)?;
        match said.termination_status.as_str() {
            "success" | "not_found" => Ok(()),
            other => Err(ProbeError::InvalidAnswer(clip(&format!(
                "its termination status is {other:?}"
            )))),
        }
    }

    /// Asks the factory whether it is there.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub async fn health(&self) -> Result<(), ProbeError> {
        let answer = self.probe(Method::GET, &self.factory, "/health").await;
        answer.map(|_| ())
    }

    async fn probe(&self, method: Method, base: &str, path: &str) -> Result<Answer, ProbeError> {
        let answer = call(&self.http, request(method, base, path)?, PROBE_TIMEOUT).await?;
        match answer.class() {
            StatusClass::Success => Ok(answer),
            failure => Err(ProbeError::of_status(failure, &answer)),
        }
    }
}

fn decoded<T: DeserializeOwned>(answer: &Answer) -> Result<T, String> {
    serde_json::from_slice(&answer.body).map_err(|error| clip(&error.to_string()))
}

fn generated(answer: GenerateAgentAnswer) -> Result<GeneratedAgent, GenerateError> {
    if !answer.success {
        return Err(GenerateError::Refused(refusal(&answer)));
    }
    let endpoint = answer.agent_endpoint.as_deref().unwrap_or_default();
    let usable = Url::parse(endpoint)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !usable {
        let message = clip(&format!("{endpoint:?} is no address of an agent"));
        return Err(GenerateError::InvalidAnswer(message));
    }
    Ok(GeneratedAgent {
        endpoint: endpoint.trim_end_matches('/').to_owned(),
        metadata: answer.creation_metadata,
    })
}

/// The factory's words, then every check that failed and is not among them: the field, what was found and what to do.
fn refusal(answer: &GenerateAgentAnswer) -> String {
    let mut message = answer.error_message.clone().unwrap_or_default();
    for failed in answer
        .validation_results
        .iter()
        .filter(|check| !check.is_valid)
        .map(finding)
    {
        if !message.contains(&failed) {
            let separator = if message.is_empty() { "" } else { "; " };
            message = format!("{message}{separator}{failed}");
        }
    }
    let message = clip(&message);
    if message.is_empty() {
        "it gave no reason".to_owned()
    } else {
        message
    }
}

fn finding(check: &ValidationResult) -> String {
    let mut text = String::new();
    if let Some(field) = &check.field {
        text.push_str(field);
        text.push_str(": ");
    }
    text.push_str(check.message.as_deref().unwrap_or("is not valid"));
    if let Some(suggestion) = &check.suggestion {
        text.push_str(" (");
        text.push_str(suggestion);
        text.push(')');
    }
    text
}
