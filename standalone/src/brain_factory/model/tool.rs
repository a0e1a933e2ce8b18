//! The HTTP tools of an agent: checked when it is made, bounded in time and size when they are called.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, Url, redirect};
use serde_json::{Map, Value, json};

use super::super::findings::Fault;

/// The most that is read of a tool's answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// An HTTP tool. Its headers may hold credentials, so it cannot be shown.
pub(in super::super) struct Tool {
    name: String,
    description: String,
    url: Url,
    method: Method,
    /// JSON schema of the arguments.
    parameters: Value,
    headers: HeaderMap,
}

/// Why a tool gave nothing; told to the model.
#[derive(Debug, thiserror::Error)]
pub(super) enum ToolError {
    #[error("the tool did not answer: {0}")]
    Unreachable(String),
    #[error("the tool answered {status}: {body}")]
    Refused { status: u16, body: String },
}

impl Tool {
    pub(in super::super) fn name(&self) -> &str {
        &self.name
    }

    /// Reads a tool of `plugin_config`.
    pub(in super::super) fn read(from: &Value, field: &str) -> Result<Self, Fault> {
        let name = from.get("name").and_then(Value::as_str).unwrap_or_default();
        Self::named(name, from, field)
    }

    /// Reads a tool among the components: its name may be that of the component.
    pub(in super::super) fn read_component(
        component: &Value,
        settings: &Value,
        field: &str,
    ) -> Result<Self, Fault> {
        let mut names = [
            settings.get("name"),
            component.get("name"),
            component.get("id"),
        ]
        .into_iter();
        let name = names.find_map(|name| name?.as_str()).unwrap_or_default();
        Self::named(name, settings, field)
    }

    fn named(name: &str, from: &Value, field: &str) -> Result<Self, Fault> {
        let fault = |part: &str, message: &str| Fault::new(format!("{field}.{part}"), message);
        let text = |part: &str| from.get(part).and_then(Value::as_str);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !(1..=64).contains(&name.len()) || !name.bytes().all(allowed) {
            return Err(fault(
                "name",
                "A tool's name has 1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'",
            ));
        }
        let url = text("url")
            .and_then(|url| Url::parse(url).ok())
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| fault("url", "A tool needs an http or https address"))?;
        let method = match text("method")
            .unwrap_or("GET")
            .to_ascii_uppercase()
            .as_str()
        {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            _ => return Err(fault("method", "Use GET, POST, PUT, PATCH or DELETE")),
        };
        let parameters = match from.get("parameters") {
            None | Some(Value::Null) => json!({"type": "object", "properties": {}}),
            Some(schema @ Value::Object(_)) => schema.clone(),
            Some(_) => return Err(fault("parameters", "Parameters are a JSON schema")),
        };
        let headers = headers(from.get("headers"))
            .ok_or_else(|| fault("headers", "Headers are an object of texts"))?;
        Ok(Self {
            name: name.to_owned(),
            description: text("description").unwrap_or_default().to_owned(),
            url,
            method,
            parameters,
            headers,
        })
    }

    /// The tool as the model is told of it: without its address and headers.
    pub(super) fn describe(&self) -> Value {
        json!({
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": self.parameters,
            },
        })
    }
}

fn headers(from: Option<&Value>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    match from {
        None | Some(Value::Null) => {}
        Some(Value::Object(named)) => {
            for (name, value) in named {
                let mut value = HeaderValue::from_str(value.as_str()?).ok()?;
                value.set_sensitive(true);
                headers.insert(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
            }
        }
        Some(_) => return None,
    }
    Some(headers)
}

/// Calls tools.
pub(super) struct ToolCaller(reqwest::Client);

impl ToolCaller {
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // A tool is the address that was configured, not one that it points to.
            .redirect(redirect::Policy::none())
            .build()?;
        Ok(Self(client))
    }

    /// Calls `tool`: the arguments are the query of a GET or DELETE, and else the JSON body.
    pub(super) async fn call(
        &self,
        tool: &Tool,
        arguments: &Map<String, Value>,
    ) -> Result<String, ToolError> {
        let request = self
            .0
            .request(tool.method.clone(), tool.url.clone())
            .headers(tool.headers.clone());
        let request = if matches!(tool.method, Method::GET | Method::DELETE) {
            let query: Vec<(&str, String)> = arguments
                .iter()
                .map(|(name, value)| match value {
                    Value::String(text) => (name.as_str(), text.clone()),
                    other => (name.as_str(), other.to_string()),
                })
                .collect();
            request.query(&query)
        } else {
            request.json(arguments)
        };
        let unreachable = |error| ToolError::Unreachable(cause(error));
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let (bytes, whole) = read_bounded(response, MAX_ANSWER_BYTES)
            .await
            .map_err(unreachable)?;
        let mut body = String::from_utf8_lossy(&bytes).into_owned();
        if !whole {
            body.push_str("\n[cut: the answer is over 64 KiB]");
        }
        if status.is_success() {
            Ok(body)
        } else {
            let status = status.as_u16();
            Err(ToolError::Refused { status, body })
        }
    }
}

/// What went wrong, down to its cause, without the address: that may carry credentials.
pub(super) fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// At most `limit` bytes of the body, and whether that is all of it.
pub(super) async fn read_bounded(
    mut response: Response,
    limit: usize,
) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = limit - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((bytes, false));
        }
    }
    Ok((bytes, true))
}
