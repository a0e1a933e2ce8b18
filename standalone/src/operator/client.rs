//! A small client of the API.

use std::time::Duration;

use clap::Args;
use orchestrator_common::config::OperatorSettings;
use reqwest::{Method, RequestBuilder, Url};
use serde_json::Value;

use super::Failure;

/// How long an answer may take; longer than the API holds one back.
const PATIENCE: Duration = Duration::from_secs(90);
/// Entries of one page of a list.
const PAGE: u32 = 200;
/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Where the API is, who asks, and how answers are shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct Access {
    /// The API's address [env: ORCHESTRATOR_URL] [default: http://127.0.0.1:8200, or AGENT_ORCHESTRATOR_PORT]
    #[arg(long, global = true)]
    pub(crate) url: Option<Url>,
    /// Token for the API; the variable keeps it out of lists of processes [env: ORCHESTRATOR_TOKEN]
    #[arg(long, global = true)]
    pub(crate) token: Option<String>,
    /// Print the API's JSON instead of text for people
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

impl Client {
    pub(super) fn new(access: &Access) -> Result<Self, Failure> {
        let settings = OperatorSettings::from_process_environment();
        let settings = settings.map_err(|error| Failure::Usage(error.to_string()))?;
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .connect_timeout(CONNECT_PATIENCE)
            .user_agent(concat!("agent-orchestrator/", env!("CARGO_PKG_VERSION")));
        let http = http
            .build()
            .map_err(|error| Failure::Unfit(error.to_string()))?;
        let token = settings.token.map(|token| token.expose().to_owned());
        Ok(Self {
            http,
            base: access.url.clone().unwrap_or(settings.url),
            token: access.token.clone().or(token),
        })
    }

    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Failure> {
        self.send(self.request(Method::GET, path).query(query))
            .await
    }

    pub(super) async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.send(request).await
    }

    /// Submits a task; with a key, repeating it is harmless.
    pub(super) async fn submit(&self, task: &Value, key: Option<&str>) -> Result<Value, Failure> {
        let request = self
            .request(Method::POST, "/orchestrator/execute-task")
            .json(task);
        let request = match key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        };
        self.send(request).await
    }

    pub(super) async fn delete(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Value, Failure> {
        self.send(self.request(Method::DELETE, path).query(query))
            .await
    }

    /// The entries of a list, page after page, up to `limit` of them.
    pub(super) async fn pages(
        &self,
        path: &str,
        query: &[(&str, String)],
        entries: &str,
        limit: Option<u32>,
    ) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let left = limit.map_or(u32::MAX, |limit| {
                limit.saturating_sub(u32::try_from(all.len()).unwrap_or(limit))
            });
            let mut query = query.to_vec();
            query.push(("limit", left.min(PAGE).to_string()));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let mut page = self.get(path, &query).await?;
            if let Value::Array(more) = page[entries].take() {
                all.extend(more);
            }
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            let enough = limit
                .is_some_and(|limit| all.len() >= usize::try_from(limit).unwrap_or(usize::MAX));
            if cursor.is_none() || enough {
                return Ok(all);
            }
        }
    }

    /// The status of an answer and its body, whatever it says.
    pub(super) async fn look(&self, path: &str) -> Result<(u16, Value), Failure> {
        self.answer(self.request(Method::GET, path)).await
    }

    /// The address of `path`, below whatever path the API is published at.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let base = self.base.as_str().trim_end_matches('/');
        let request = self.http.request(method, format!("{base}{path}"));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, Failure> {
        match self.answer(request).await? {
            (200..=299, Value::Null) => Err(Failure::Unfit(format!(
                "what answers at {} is no orchestrator's API",
                self.base
            ))),
            (200..=299, body) => Ok(body),
            (status, body) => Err(Failure::refused(status, &body)),
        }
    }

    async fn answer(&self, request: RequestBuilder) -> Result<(u16, Value), Failure> {
        let unreachable = |error: reqwest::Error| Failure::Unreachable {
            url: self.base.to_string(),
            reason: innermost(&error),
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(unreachable)?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }
}

/// The reason behind an error: what is around it only says that there was one.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
