//! Making one attempt at a callback: signed, to an address that may be called, and bounded in time and size.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::Url;
use uuid::Uuid;

use super::resolver::{Screened, Unresolved};
use super::signature::SigningKey;
use crate::config::CallbackSettings;
use crate::domain::{CallbackTargets, NotAllowed, Timestamp};
use crate::http::{USER_AGENT_NAME, retry_after, root_cause};

/// How long one address of a receiver gets to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a receiver gets from the first look at its name to the head of its answer, redirects included.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How often one attempt is sent elsewhere.
const MAX_REDIRECTS: usize = 3;
/// How much of an answer's body is read, and for how long: it says nothing, but a connection can be used again whose
/// answer has ended.
const LEFTOVERS: (usize, Duration) = (16 * 1024, Duration::from_millis(500));
/// How long an idle connection is kept, and how many of a receiver.
const IDLE: (Duration, usize) = (Duration::from_secs(10), 8);

/// The HTTP client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the client for callbacks could not be made: {0}")]
pub struct CallbackClientError(std::io::Error);

/// What a receiver made of a callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has it.
    Delivered,
    /// It wants it no longer (410).
    Gone,
    /// It may not be called, now; names can come to mean something else.
    NotAllowed(NotAllowed),
    /// It has it not, as far as is known.
    Failed {
        /// Why, in words that hold nothing of the address and nothing of the answer's body: an answer of a service that
        /// its reader cannot reach must not be readable here.
        reason: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
}

/// Tells receivers; cheap to clone.
#[derive(Clone, Debug)]
pub struct CallbackClient {
    http: Client<HttpsConnector<HttpConnector<Screened>>, Full<Bytes>>,
    targets: Arc<CallbackTargets>,
    key: SigningKey,
}

impl CallbackClient {
    /// The client that the settings ask for, if they do.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of(settings: &CallbackSettings) -> Result<Option<Self>, CallbackClientError> {
        let CallbackSettings { key, targets } = settings.clone();
        key.map(|key| Self::new(key, targets)).transpose()
    }

    /// A client that signs with `key` and calls `targets`.
    ///
    /// # Errors
    /// When the certificates of the operating system cannot be read.
    pub fn new(key: SigningKey, targets: CallbackTargets) -> Result<Self, CallbackClientError> {
        let targets = Arc::new(targets);
        let resolver = Screened(Arc::clone(&targets));
        Self::resolving(key, targets, resolver)
    }

    /// As [`Self::new`], with a resolver of its own.
    pub(super) fn resolving(
        key: SigningKey,
        targets: Arc<CallbackTargets>,
        resolver: Screened,
    ) -> Result<Self, CallbackClientError> {
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(CallbackClientError)?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE.0)
            .pool_max_idle_per_host(IDLE.1)
            .build(connector);
        Ok(Self { http, targets, key })
    }

    /// Posts `document` to `url`, once; `id` is the same for the same document.
    pub async fn tell(&self, url: &Url, id: Uuid, document: Bytes) -> Told {
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, self.post(url, id, document)).await;
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(told)) => return told,
            Err(_elapsed) => {
                return failed(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()));
            }
        };
        let (status, wish) = (response.status(), retry_after(response.headers()));
        read_leftovers(response.into_body()).await;
        match status {
            StatusCode::GONE => Told::Gone,
            status if status.is_success() => Told::Delivered,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Told::Failed {
                reason: format!("status {}", status.as_u16()),
                retry_after: wish,
            },
            status => failed(format!("status {}", status.as_u16())),
        }
    }

    /// The first answer that is no redirect. Where a redirect leads is checked like the address itself.
    async fn post(&self, url: &Url, id: Uuid, document: Bytes) -> Result<Response<Incoming>, Told> {
        let (id, now) = (id.to_string(), Timestamp::now().as_micros() / 1_000_000);
        let timestamp = now.to_string();
        let signature = self.key.sign(&id, &timestamp, &document);
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            self.targets.check(&url).map_err(Told::NotAllowed)?;
            let request = Request::builder()
                .method(Method::POST)
                .uri(url.as_str())
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .header(USER_AGENT, USER_AGENT_NAME)
                .header("webhook-id", &id)
                .header("webhook-timestamp", &timestamp)
                .header("webhook-signature", &signature)
                .body(Full::new(document.clone()))
                .map_err(|error| failed(root_cause(&error)))?;
            let response = self.http.request(request).await;
            let response = response.map_err(|error| told_of(&error))?;
            match redirect(&url, &response)? {
                Some(elsewhere) => url = elsewhere,
                None => return Ok(response),
            }
        }
        Err(failed(format!("more than {MAX_REDIRECTS} redirects")))
    }
}

/// Where the answer sends us. Only redirects that keep method and body are followed, and never from encrypted to plain.
fn redirect(url: &Url, response: &Response<Incoming>) -> Result<Option<Url>, Told> {
    if !matches!(
        response.status(),
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    ) {
        return Ok(None);
    }
    let location = response.headers().get(LOCATION);
    let location = location.and_then(|location| location.to_str().ok());
    let elsewhere = location
        .and_then(|location| url.join(location).ok())
        .ok_or_else(|| failed("a redirect to no address".to_owned()))?;
    if url.scheme() == "https" && elsewhere.scheme() != "https" {
        return Err(failed(
            "a redirect from an encrypted address to a plain one".to_owned(),
        ));
    }
    Ok(Some(elsewhere))
}

fn failed(reason: String) -> Told {
    Told::Failed {
        reason,
        retry_after: None,
    }
}

fn told_of(error: &(dyn Error + 'static)) -> Told {
    let mut cause = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<Unresolved>() {
            Some(Unresolved::NotAllowed(why)) => return Told::NotAllowed(*why),
            Some(unresolved @ Unresolved::NoAnswer(_)) => return failed(unresolved.to_string()),
            None => cause = error.source(),
        }
    }
    failed(root_cause(error))
}

async fn read_leftovers(mut body: Incoming) {
    let reading = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > LEFTOVERS.0 {
                return;
            }
        }
    };
    // What is left then is dropped, and its connection with it.
    let _ = tokio::time::timeout(LEFTOVERS.1, reading).await;
}
