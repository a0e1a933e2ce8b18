//! One HTTP call with a deadline and a bounded answer, and the connections that all calls share.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri, http};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::percent_decode_str;
use tower_service::Service;
use url::Position::{AfterQuery, BeforePath};
use url::Url;

use super::error::ClientError;
use super::message::said;
use crate::http::{USER_AGENT_NAME, clip, retry_after, root_cause};

/// The largest answer that is read, in bytes. More is refused without reading on.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// The longest wish for a pause that is honoured.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// How much of an error's body is read, in bytes; a message needs no more.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How long it may take until a connection can be used, encryption included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Shorter than the five seconds after which uvicorn, the agents' usual server, closes an idle connection: a task
/// sent on a connection that is being closed counts as sent and can be lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// When TCP asks whether the host of a long task still lives, and how often before it is given up.
const KEEP_ALIVE: (Duration, u32) = (Duration::from_secs(15), 3);

/// Bytes that are read from a connection at once. Each call in flight holds as many.
const READ_BUFFER_BYTES: usize = 2 * 1024;

/// The one HTTP client of a process. Without the layers of a general client (redirects, cookies, retries), of which a
/// call to an agent wants none: ten thousand of them are in flight at a time, and each layer has its state for each.
pub(crate) type HttpClient = Client<Prompt<HttpsConnector<HttpConnector>>, Full<Bytes>>;

/// Idle connections are kept without a limit per host: there are never more than were in flight within
/// [`IDLE_TIMEOUT`].
pub(crate) fn http_client() -> Result<HttpClient, ClientError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEP_ALIVE.0));
    tcp.set_keepalive_interval(Some(KEEP_ALIVE.0));
    tcp.set_keepalive_retries(Some(KEEP_ALIVE.1));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(|error| ClientError(error.to_string()))?
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .http1_read_buf_exact_size(READ_BUFFER_BYTES)
        .build(Prompt(connector)))
}

/// Connects within [`CONNECT_TIMEOUT`], or not at all.
#[derive(Clone, Debug)]
pub(crate) struct Prompt<C>(C);

impl<C> Service<Uri> for Prompt<C>
where
    C: Service<Uri>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connecting = self.0.call(address);
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(connected) => connected.map_err(Into::into),
                Err(_elapsed) => {
                    Err(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()).into())
                }
            }
        })
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request to `path` below `base`, which may end with a slash and hold a login.
pub(crate) fn request(
    method: Method,
    base: &str,
    path: &str,
) -> Result<http::request::Builder, Broken> {
    let mut address = [base.trim_end_matches('/'), path].concat();
    let scheme = address.split_once("://").map(|(scheme, _)| scheme);
    if !scheme.is_some_and(|scheme| matches!(&*scheme.to_ascii_lowercase(), "http" | "https")) {
        let reason = "its address does not begin with http:// or https://";
        return Err(Broken::NotSent(reason.to_owned()));
    }
    let mut login = None;
    if base.contains('@') {
        (address, login) = without_login(&address)?;
    }
    let mut request = Request::builder()
        .method(method)
        .uri(address)
        .header(USER_AGENT, USER_AGENT_NAME);
    if let Some(login) = login {
        request = request.header(AUTHORIZATION, login);
    }
    Ok(request)
}

/// The address without its login, and the login as HTTP sends it.
fn without_login(address: &str) -> Result<(String, Option<HeaderValue>), Broken> {
    let not_sent = |reason: &str| Broken::NotSent(reason.to_owned());
    let mut url = Url::parse(address).map_err(|error| not_sent(&error.to_string()))?;
    if url.username().is_empty() && url.password().is_none() {
        return Ok((url.into(), None));
    }
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let mut login = decoded(url.username());
    login.push(b':');
    login.extend(decoded(url.password().unwrap_or_default()));
    let mut basic = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(login)))
        .map_err(|error| not_sent(&error.to_string()))?;
    basic.set_sensitive(true);
    url.set_username("")
        .and_then(|()| url.set_password(None))
        .map_err(|()| not_sent("it cannot have a login"))?;
    Ok((url.into(), Some(basic)))
}

/// What came back.
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// `Retry-After` in seconds, capped.
    pub(crate) retry_after: Option<Duration>,
    /// The body; of an error's body nothing when it is very long or breaks off.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// What the status means by itself.
    pub(crate) fn class(&self) -> StatusClass {
        match self.status {
            200..=299 => StatusClass::Success,
            404 => StatusClass::NotFound,
            408 | 429 | 500..=599 => StatusClass::ComeBackLater,
            400..=499 => StatusClass::Refused,
            _ => StatusClass::OutOfContract,
        }
    }

    /// The message of an error's body.
    pub(crate) fn said(&self) -> String {
        said(&self.body)
    }

    /// The status and the message of an error's body.
    pub(crate) fn status_and_said(&self) -> String {
        format!("status {}: {}", self.status, self.said())
    }
}

/// What a status means by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusClass {
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
pub(crate) enum Broken {
    /// No connection came about, so nothing was sent.
    NotSent(String),
    /// The connection broke after it had come about.
    Lost(String),
    /// The deadline passed.
    TimedOut(Duration),
    /// The answer is larger than it may be.
    TooLarge,
}

/// Sends a request without a body and reads the answer, all within `deadline`.
pub(crate) async fn call(
    client: &HttpClient,
    request: http::request::Builder,
    deadline: Duration,
) -> Result<Answer, Broken> {
    exchange(client, request, Bytes::new(), MAX_ANSWER_BYTES, deadline).await
}

/// The document at `address`, of at most `limit` bytes, all within `deadline`; else why there is none. Redirects are
/// not followed.
pub(crate) async fn document(
    client: &HttpClient,
    address: &Url,
    limit: usize,
    deadline: Duration,
) -> Result<Vec<u8>, String> {
    let read = async {
        let (base, path) = (&address[..BeforePath], &address[BeforePath..AfterQuery]);
        let request = request(Method::GET, base, path)?;
        exchange(client, request, Bytes::new(), limit, deadline).await
    };
    match read.await {
        Ok(answer) if answer.class() == StatusClass::Success => Ok(answer.body),
        Ok(answer) => Err(format!("status {}", answer.status)),
        Err(Broken::NotSent(reason) | Broken::Lost(reason)) => Err(reason),
        Err(Broken::TimedOut(deadline)) => {
            Err(format!("no answer within {} s", deadline.as_secs()))
        }
        Err(Broken::TooLarge) => Err(format!("more than {limit} bytes")),
    }
}

/// Sends a request with a JSON body and reads the answer, all within `deadline`.
pub(super) async fn call_with(
    client: &HttpClient,
    request: http::request::Builder,
    json: Vec<u8>,
    deadline: Duration,
) -> Result<Answer, Broken> {
    let json_type = HeaderValue::from_static("application/json");
    let request = request.header(CONTENT_TYPE, json_type);
    exchange(client, request, json.into(), MAX_ANSWER_BYTES, deadline).await
}

async fn exchange(
    client: &HttpClient,
    request: http::request::Builder,
    body: Bytes,
    limit: usize,
    deadline: Duration,
) -> Result<Answer, Broken> {
    let request = request
        .body(Full::new(body))
        .map_err(|error| Broken::NotSent(clip(&error.to_string())))?;
    match tokio::time::timeout(deadline, send(client, request, limit)).await {
        Ok(answer) => answer,
        Err(_) => Err(Broken::TimedOut(deadline)),
    }
}

async fn send(
    client: &HttpClient,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<Answer, Broken> {
    let response = client.request(request).await.map_err(|error| {
        let message = root_cause(&error);
        if error.is_connect() {
            Broken::NotSent(message)
        } else {
            Broken::Lost(message)
        }
    })?;
    let status = response.status();
    let retry_after = retry_after(response.headers()).map(|wish| wish.min(MAX_RETRY_AFTER));
    let body = if status.is_success() {
        body(response.into_body(), limit).await?
    } else {
        // The status alone says what to do; its explanation is welcome, not needed.
        body(response.into_body(), MAX_ERROR_BYTES)
            .await
            .unwrap_or_default()
    };
    Ok(Answer {
        status: status.as_u16(),
        retry_after,
        body,
    })
}

async fn body(mut incoming: Incoming, limit: usize) -> Result<Vec<u8>, Broken> {
    let announced = usize::try_from(incoming.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Broken::TooLarge);
    }
    // What is announced is not yet there: memory is only given for what thousands of calls can claim at once.
    let mut body = Vec::with_capacity(announced.min(MAX_ERROR_BYTES));
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| Broken::Lost(root_cause(&error)))?;
        let Ok(chunk) = frame.into_data() else {
            continue;
        };
        if body.len() + chunk.len() > limit {
            return Err(Broken::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
