//! One HTTP call with a deadline and a bounded answer, and the connections that all calls share.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{RequestBuilder, Response, StatusCode, redirect};

use super::error::ClientError;
use super::message::{clip, said};

/// The largest answer that is read, in bytes. More is refused without reading on.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// The longest wish for a pause that is honoured.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// How much of an error's body is read, in bytes; a message needs no more.
const MAX_ERROR_BYTES: usize = 64 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Shorter than the five seconds after which uvicorn, the agents' usual server, closes an idle connection: a task
/// sent on a connection that is being closed counts as sent and can be lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// The one HTTP client of a process.
///
/// Idle connections are kept without a limit per host: there are never more than were in flight within
/// [`IDLE_TIMEOUT`]. TCP keep-alive (15 s, three probes) is on by default and finds dead hosts during long tasks.
pub(super) fn http_client() -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .user_agent(concat!("agent-orchestrator/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(usize::MAX)
        .tcp_nodelay(true)
        .build()
        .map_err(|error| ClientError(root_cause(error)))
}

/// What came back.
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// `Retry-After` in seconds, capped.
    pub(super) retry_after: Option<Duration>,
    /// The body; of an error's body nothing when it is very long or breaks off.
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// What the status means by itself.
    pub(super) fn class(&self) -> StatusClass {
        match self.status {
            200..=299 => StatusClass::Success,
            404 => StatusClass::NotFound,
            408 | 429 | 500..=599 => StatusClass::ComeBackLater,
            400..=499 => StatusClass::Refused,
            _ => StatusClass::OutOfContract,
        }
    }

    /// The message of an error's body.
    pub(super) fn said(&self) -> String {
        said(&self.body)
    }

    /// The status and the message of an error's body.
    pub(super) fn status_and_said(&self) -> String {
        format!("status {}: {}", self.status, self.said())
    }
}

/// What a status means by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusClass {
    /// 2xx.
    Success,
    /// 404.
    NotFound,
    /// 408, 429 and 5xx.
    ComeBackLater,
    /// Every other 4xx.
    Refused,
    /// Redirects and what HTTP does not know.
    OutOfContract,
}

/// Why nothing came back.
pub(super) enum Broken {
    /// No connection came about, so nothing was sent.
    NotSent(String),
    /// The connection broke after it had come about.
    Lost(String),
    /// The deadline passed.
    TimedOut(Duration),
    /// The answer is larger than [`MAX_ANSWER_BYTES`].
    TooLarge,
}

/// Sends `request` and reads the answer, all within `deadline`.
pub(super) async fn call(request: RequestBuilder, deadline: Duration) -> Result<Answer, Broken> {
    match tokio::time::timeout(deadline, send(request)).await {
        Ok(answer) => answer,
        Err(_) => Err(Broken::TimedOut(deadline)),
    }
}

async fn send(request: RequestBuilder) -> Result<Answer, Broken> {
    let mut response = request.send().await.map_err(broken)?;
    let status = response.status();
    let retry_after = retry_after(&response);
    let body = if status.is_success() {
        body(&mut response, MAX_ANSWER_BYTES).await?
    } else {
        // The status alone says what to do; its explanation is welcome, not needed.
        body(&mut response, MAX_ERROR_BYTES)
            .await
            .unwrap_or_default()
    };
    Ok(Answer {
        status: StatusCode::as_u16(&status),
        retry_after,
        body,
    })
}

async fn body(response: &mut Response, limit: usize) -> Result<Vec<u8>, Broken> {
    let announced = response
        .content_length()
        .map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced > limit {
        return Err(Broken::TooLarge);
    }
    // What is announced is not yet there: memory is only given for what thousands of calls can claim at once.
    let mut body = Vec::with_capacity(announced.min(MAX_ERROR_BYTES));
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > limit {
            return Err(Broken::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = seconds.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

fn broken(error: reqwest::Error) -> Broken {
    let not_sent = error.is_connect() || error.is_builder();
    let message = root_cause(error);
    if not_sent {
        Broken::NotSent(message)
    } else {
        Broken::Lost(message)
    }
}

/// The innermost cause in words; the outer ones repeat the address, which may hold credentials.
fn root_cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut innermost: &dyn std::error::Error = &error;
    let mut source = error.source();
    while let Some(cause) = source {
        innermost = cause;
        source = cause.source();
    }
    clip(&innermost.to_string())
}
