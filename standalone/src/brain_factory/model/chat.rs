//! The client of an OpenAI-compatible chat endpoint.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use orchestrator_common::config::LlmSettings;
use reqwest::{StatusCode, Url, header, redirect};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use super::tool::{cause, read_bounded};
use super::usage::{Reported, Usage};

/// The most that is read of an answer, in bytes.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// How often a call that met a passing failure is repeated; the task's time-out bounds it too.
const MAX_RETRIES: usize = 6;
/// The longest wait that the endpoint's `Retry-After` may ask for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Why the model did not answer. Never carries the key.
#[derive(Debug, Error)]
pub(in super::super) enum ChatError {
    #[error("the model endpoint refused the key ({0}); check LLM_API_KEY")]
    KeyRefused(u16),
    #[error("the model endpoint refused the request ({status}): {message}")]
    Refused { status: u16, message: String },
    #[error("the model endpoint is not available ({status})")]
    Unavailable {
        status: u16,
        retry_after: Option<Duration>,
    },
    #[error("the model endpoint cannot be reached: {0}")]
    Unreachable(String),
    #[error("the model endpoint answered something else than a chat completion: {0}")]
    NotAChat(String),
}

impl ChatError {
    /// Whether another call may succeed.
    const fn passes(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Unreachable(_))
    }
}

pub(super) struct Chat {
    client: reqwest::Client,
    url: Url,
    settings: LlmSettings,
}

/// What the model said.
pub(super) struct Reply {
    /// The message as it came, to be sent back with the next call.
    pub(super) message: Value,
    /// Its text, trimmed.
    pub(super) text: String,
    /// The tools that it wants called.
    pub(super) tool_calls: Vec<ToolCall>,
}

/// A tool that the model wants called.
#[derive(Deserialize)]
pub(super) struct ToolCall {
    #[serde(default)]
    pub(super) id: String,
    pub(super) function: FunctionCall,
}

#[derive(Deserialize)]
pub(super) struct FunctionCall {
    pub(super) name: String,
    /// JSON as text; some servers send it unquoted.
    #[serde(default)]
    pub(super) arguments: Value,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Reported>,
}

#[derive(Deserialize)]
struct Choice {
    message: Value,
}

impl Chat {
    pub(super) fn new(settings: LlmSettings) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            // The key goes to the configured endpoint and to nobody it points to.
            .redirect(redirect::Policy::none())
            .build()?;
        let mut url = settings.base_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["chat", "completions"]);
        }
        Ok(Self {
            client,
            url,
            settings,
        })
    }

    pub(super) fn model(&self) -> &str {
        &self.settings.model
    }

    /// One completion of `messages`, tried again while the endpoint is busy or away.
    pub(super) async fn complete(
        &self,
        messages: &[Value],
        tools: &[Value],
        usage: &Usage,
    ) -> Result<Reply, ChatError> {
        let mut body = json!({"model": self.settings.model, "messages": messages});
        if !tools.is_empty() {
            body["tools"] = tools.into();
        }
        let patience = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(250))
            .with_max_delay(Duration::from_secs(20))
            .with_max_times(MAX_RETRIES)
            .with_jitter();
        let completion = (|| self.attempt(&body))
            .retry(patience)
            .when(ChatError::passes)
            .adjust(|error, delay| match error {
                ChatError::Unavailable {
                    retry_after: Some(wish),
                    ..
                } => delay.map(|_| (*wish).min(MAX_WAIT)),
                _ => delay,
            })
            .notify(|error, delay| tracing::info!(%error, ?delay, "calling the model again"))
            .await?;
        usage.add(completion.usage);
        let choice = completion.choices.into_iter().next();
        reply(
            choice
                .ok_or_else(|| ChatError::NotAChat("no choices".to_owned()))?
                .message,
        )
    }

    async fn attempt(&self, body: &Value) -> Result<Completion, ChatError> {
        let mut request = self.client.post(self.url.clone()).json(body);
        if let Some(key) = &self.settings.api_key {
            request = request.bearer_auth(key.expose());
        }
        let unreachable = |error| ChatError::Unreachable(cause(error));
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let (bytes, whole) = read_bounded(response, MAX_ANSWER_BYTES)
            .await
            .map_err(unreachable)?;
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return Err(ChatError::KeyRefused(status.as_u16()));
        }
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            return Err(ChatError::Unavailable {
                status: status.as_u16(),
                retry_after,
            });
        }
        if !status.is_success() {
            let message = self.shown(&bytes);
            return Err(ChatError::Refused {
                status: status.as_u16(),
                message,
            });
        }
        if !whole {
            return Err(ChatError::NotAChat("it is over 8 MiB".to_owned()));
        }
        serde_json::from_slice(&bytes).map_err(|error| ChatError::NotAChat(error.to_string()))
    }

    /// The beginning of the endpoint's own message, without the key should it repeat it.
    fn shown(&self, body: &[u8]) -> String {
        let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = parsed
            .pointer("/error/message")
            .or_else(|| parsed.get("error"));
        let mut text = match message {
            Some(Value::String(text)) => text.clone(),
            Some(_) | None => String::from_utf8_lossy(body).into_owned(),
        };
        if let Some(key) = &self.settings.api_key {
            let key = key.expose();
            if !key.is_empty() {
                text = text.replace(key, "[hidden]");
            }
        }
        text.chars().take(300).collect()
    }
}

fn reply(message: Value) -> Result<Reply, ChatError> {
    let tool_calls = match message.get("tool_calls") {
        None | Some(Value::Null) => Vec::new(),
        Some(calls) => {
            Vec::deserialize(calls).map_err(|error| ChatError::NotAChat(error.to_string()))?
        }
    };
    let text = message
        .get("content")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let text = text.trim().to_owned();
    Ok(Reply {
        message,
        text,
        tool_calls,
    })
}
