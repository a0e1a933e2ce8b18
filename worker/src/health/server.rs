//! The worker's own HTTP: `/health/live`, `/health/ready` (and `/health`, the same), `/metrics`.
//!
//! One request a connection, few connections, and a bound on each: whoever asks slowly or often cannot hurt the worker.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use orchestrator_common::auth::{Level, TokenError, Verifier};
use orchestrator_common::metrics::Metrics;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Readiness, Vitals};

/// Connections at the same time; further ones wait in the listen queue.
const MAX_CONNECTIONS: usize = 32;
/// How long a connection may last, from its first byte to its last.
const MAX_TIME: Duration = Duration::from_secs(10);
/// The largest request head, in bytes; the least that the HTTP library takes.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// How long to wait after a failed accept: it fails when descriptors run out, and those come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is behind the endpoints.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Arc<Metrics>,
    /// Checks who asks for metrics, when a token is needed for them.
    pub(crate) verifier: Option<Arc<Verifier>>,
}

/// Answers until `stop`.
pub(crate) async fn serve(listener: TcpListener, doors: Arc<Doors>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let doors = Arc::clone(&doors);
                tokio::spawn(async move {
                    if tokio::time::timeout(MAX_TIME, converse(stream, doors))
                        .await
                        .is_err()
                    {
                        tracing::debug!("a caller of the health endpoints was too slow");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, doors: Arc<Doors>) {
    let service = service_fn(|request: Request<Incoming>| {
        let doors = Arc::clone(&doors);
        async move { Ok::<_, Infallible>(doors.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_header_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a caller of the health endpoints hung up");
    }
}

impl Doors {
    async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return refusal(StatusCode::METHOD_NOT_ALLOWED);
        }
        match request.uri().path() {
            "/health/live" => {
                let alive = self.vitals.are_well();
                document(able(alive), &self.vitals.report())
            }
            "/health" | "/health/ready" => {
                let (ready, report) = self.readiness.report().await;
                document(able(ready), &report)
            }
            "/metrics" => match self.refuse_metrics(request.headers()).await {
                None => text(self.metrics.render()),
                Some(status) => refusal(status),
            },
            _ => refusal(StatusCode::NOT_FOUND),
        }
    }

    /// Why a caller does not get the metrics.
    async fn refuse_metrics(&self, headers: &HeaderMap) -> Option<StatusCode> {
        let verifier = self.verifier.as_ref()?;
        let header = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let Some(header) = header else {
            return Some(StatusCode::UNAUTHORIZED);
        };
        match verifier.verify(header).await {
            Ok(bearer) if bearer.levels.include(Level::Read) => None,
            Ok(_) => Some(StatusCode::FORBIDDEN),
            Err(TokenError::Unacceptable(_) | TokenError::UnknownKey) => {
                Some(StatusCode::UNAUTHORIZED)
            }
            Err(TokenError::NoKeys) => Some(StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

const fn able(able: bool) -> StatusCode {
    if able {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn refusal(status: StatusCode) -> Response<Full<Bytes>> {
    let title = status.canonical_reason().unwrap_or_default();
    document(status, &json!({"status": status.as_u16(), "title": title}))
}

fn document(status: StatusCode, document: &Value) -> Response<Full<Bytes>> {
    respond(status, "application/json", document.to_string())
}

fn text(text: String) -> Response<Full<Bytes>> {
    respond(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        text,
    )
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
