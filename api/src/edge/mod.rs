//! What every request passes on its way in and every answer on its way out, in one place and in this order:
//! request id and trace context, the bounds of its head, who calls from where and how often, a place among the requests
//! being handled, the handler within its time, and at last the problem document, the metrics and the log line.

mod bounds;
mod origin;
mod protection;
mod rate_limit;
mod routes;
mod scope;
mod trace_context;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use orchestrator_common::config::AllowedOrigins;
use orchestrator_common::domain::{AuditEntry, AuditOutcome, Origin, Timestamp};
use orchestrator_common::metrics::Metrics;
use orchestrator_common::telemetry::{About, Span, about, traceparent::trace_id};
use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderName, HeaderValue, Method};
use poem::{Endpoint, PathPattern, Request, Response};
use tokio::sync::Semaphore;

use crate::application::Limits;
use crate::auth::{Authenticator, Identity};
use crate::problem::{self, ApiError, Subject};
use crate::refusal_log::RefusalLog;

pub(crate) use rate_limit::RateLimiter;
pub(crate) use routes::RouteTable;
pub(crate) use scope::{REQUEST_ID, RequestScope, Scope};
pub(crate) use trace_context::TRACEPARENT;

const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static(REQUEST_ID);
const TRACEPARENT_HEADER: HeaderName = HeaderName::from_static(TRACEPARENT);

/// The API as the server sees it: a request goes in, and an answer always comes out.
pub(crate) struct Edge {
    pub(crate) api: BoxEndpoint<'static>,
    pub(crate) routes: RouteTable,
    pub(crate) authenticator: Authenticator,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    /// One permit for each request that may be handled at the same time.
    pub(crate) places: Semaphore,
    /// One permit for each reader who may wait at the same time.
    pub(crate) waiting: Arc<Semaphore>,
    /// The largest body, in bytes.
    pub(crate) max_body_bytes: usize,
    pub(crate) rate_limiter: Option<RateLimiter>,
    pub(crate) allowed_origins: AllowedOrigins,
    pub(crate) refusals: RefusalLog,
}

/// How a request ended, and the route that it matched.
struct Ended {
    outcome: Result<Response, ApiError>,
    route: Option<PathPattern>,
}

impl Edge {
    /// Answers a request, whatever happens.
    pub(crate) async fn answer(&self, mut request: Request) -> Response {
        let started = Instant::now();
        let method = request.method().clone();
        let uri = request.uri().clone();
        let mut span = if is_probe(uri.path()) {
            Span::default()
        } else {
            Span::of_request(known(&method), trace_context::given(request.headers()))
        };
        let (identity, admitted) = self.admit(&request).await;
        let scope = Arc::new(RequestScope::new(
            &request,
            &span,
            identity,
            self.max_body_bytes,
            self.limits.body_time,
        ));
        request.set_data(scope.clone());
        let permission = origin::permission(&self.allowed_origins, request.headers());

        let what = About::request(scope.request_id(), &scope.traceparent);
        let ended = match admitted {
            Ok(()) => match origin::answer_to_question(&self.allowed_origins, &request) {
                Some(answer) => Ended::answered(answer),
                None => about(what, self.handle(request)).await,
            },
            Err(error) => Ended::without_route(error),
        };

        let route = ended.route.as_ref().map(|pattern| pattern.0.as_ref());
        let mut response = ended.outcome.unwrap_or_else(|error| {
            self.metrics.error(error.kind().name);
            self.write_down(&method, uri.path(), route, &scope, &error);
            let subject = Subject {
                path: shortened(uri.path()),
                request_id: scope.request_id(),
                allow: route.map(|pattern| self.routes.methods(pattern)),
            };
            problem::render(error, &subject)
        });
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID_HEADER, scope.request_id_header());
        if let Ok(traceparent) = HeaderValue::from_str(&scope.traceparent) {
            headers.insert(TRACEPARENT_HEADER, traceparent);
        }
        protection::protect(headers);
        origin::permit(&self.allowed_origins, permission, headers);

        let took = started.elapsed();
        let endpoint = self.routes.template(route);
        let status = response.status().as_u16();
        self.metrics
            .request_answered(known(&method), endpoint, status, took);
        span.answered(known(&method), endpoint, status, scope.request_id());
        tracing::debug!(request_id = scope.request_id(), trace_id = trace_id(&scope.traceparent),
            %method, endpoint, status, ?took, "answered");
        response
    }

    /// Who sends a request, and whether it is to be handled at all.
    async fn admit(&self, request: &Request) -> (Identity, Result<(), ApiError>) {
        let path = request.uri().path();
        if let Err(error) = bounds::check(&self.limits, request) {
            return (NOT_ASKED, Err(error));
        }
        if is_probe(path) {
            // Nobody has to say who they are, and nobody waits for keys.
            return (NOT_ASKED, Ok(()));
        }
        let identity = self.authenticator.identify(request.headers()).await;
        if let Err(error) = origin::check(&self.allowed_origins, request) {
            return (identity, Err(error));
        }
        let Some(limiter) = self.rate_limiter.as_ref().filter(|_| path != METRICS) else {
            return (identity, Ok(()));
        };
        let counted = limiter.count(&identity, request.remote_addr().as_socket_addr().copied());
        let counted = counted.await.map_err(ApiError::TooOften);
        (identity, counted)
    }

    /// Writes a refused change, and any request whose caller may not make it, into the audit log.
    fn write_down(
        &self,
        method: &Method,
        path: &str,
        route: Option<&str>,
        scope: &RequestScope,
        error: &ApiError,
    ) {
        let status = error.kind().status;
        let is_denied = matches!(status.as_u16(), 401 | 403);
        if !status.is_client_error() || !(is_denied || *method != Method::GET) || route.is_none() {
            return;
        }
        let actor = match &scope.identity {
            Identity::Anyone => "anonymous",
            Identity::Known { subject, .. } => subject,
            Identity::Refused { .. } | Identity::Undecided => "unknown",
        };
        self.refusals.take(AuditEntry {
            at: Timestamp::now(),
            origin: Origin::new(actor, Some(scope.request_id())),
            action: format!("{} {}", known(method), self.routes.template(route)),
            resource: path.chars().take(300).collect(),
            outcome: AuditOutcome::Refused,
            detail: Some(format!("{} {}", status.as_u16(), error.kind().name)),
        });
    }

    async fn handle(&self, request: Request) -> Ended {
        // Probes are answered however busy it is; a busy process is not a dead one.
        let wait = RequestScope::of(&request).map_or(Duration::ZERO, |scope| scope.wait());
        // Who waits keeps nobody from being served who does not.
        let places = if wait.is_zero() {
            &self.places
        } else {
            self.waiting.as_ref()
        };
        let _place = if is_probe(request.uri().path()) {
            None
        } else if let Ok(place) = places.try_acquire() {
            Some(place)
        } else {
            return Ended::without_route(ApiError::Overloaded);
        };
        let handler = AssertUnwindSafe(self.api.call(request)).catch_unwind();
        match tokio::time::timeout(self.limits.request_time + wait, handler).await {
            Ok(Ok(Ok(response))) => Ended {
                route: response.data::<PathPattern>().cloned(),
                outcome: Ok(response),
            },
            Ok(Ok(Err(error))) => Ended {
                route: error.data::<PathPattern>().cloned(),
                outcome: Err(ApiError::from_framework(error)),
            },
            Ok(Err(_panic)) => {
                tracing::error!("a handler panicked");
                Ended::without_route(ApiError::Internal)
            }
            Err(_elapsed) => Ended::without_route(ApiError::TookTooLong),
        }
    }
}

impl Ended {
    const fn answered(answer: Response) -> Self {
        Self {
            outcome: Ok(answer),
            route: None,
        }
    }

    const fn without_route(error: ApiError) -> Self {
        Self {
            outcome: Err(error),
            route: None,
        }
    }
}

/// Scraped at its own pace.
const METRICS: &str = "/metrics";

/// Of a request that is answered without asking who sends it.
const NOT_ASKED: Identity = Identity::Refused {
    reason: "a bearer token is needed in the header Authorization",
    sent: false,
};

/// Probes are answered whoever sends them and however often, and are no part of any trace.
fn is_probe(path: &str) -> bool {
    path.starts_with("/health")
}

/// As much of a path as belongs into a problem document.
fn shortened(path: &str) -> &str {
    path.get(..1_024).unwrap_or(path)
}

/// The method as a label: callers may invent methods, labels may not.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod admission_tests;
