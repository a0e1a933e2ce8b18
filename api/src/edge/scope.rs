//! What is known of a request before its handler runs.

use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::domain::Faults;
use orchestrator_common::telemetry::Span;
use poem::http::{HeaderMap, HeaderValue};
use poem::{FromRequest, Request, RequestBody};
use uuid::Uuid;

use super::trace_context;
use crate::auth::Identity;
use crate::idempotency;
use crate::preferences::{MAX_WAIT, Preferences};
use crate::problem::ApiError;

/// The header that names a request.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// What is known of a request before its handler runs.
#[derive(Debug)]
pub(crate) struct RequestScope {
    request_id: HeaderValue,
    /// W3C trace context for what the request leads to: that of its own span while traces are exported, else the
    /// caller's, else one that starts here.
    pub(crate) traceparent: String,
    /// Who sent it.
    pub(crate) identity: Identity,
    /// The largest body, in bytes.
    pub(crate) max_body_bytes: usize,
    /// How long its body may take to arrive.
    pub(crate) body_time: Duration,
    /// The key that its caller gave it, or what is wrong with that.
    pub(crate) idempotency_key: Result<Option<String>, Faults>,
    /// What its caller prefers.
    pub(crate) preferences: Preferences,
    /// How long its query asks to wait, as far as that is acceptable.
    wait_in_query: Option<Duration>,
}

impl RequestScope {
    pub(super) fn new(
        request: &Request,
        span: &Span,
        identity: Identity,
        max_body_bytes: usize,
        body_time: Duration,
    ) -> Self {
        let headers = request.headers();
        Self {
            preferences: Preferences::of(headers),
            idempotency_key: idempotency::key_in(headers),
            wait_in_query: request.uri().query().and_then(wait_in),
            request_id: request_id(headers),
            traceparent: trace_context::of_span(span, headers),
            identity,
            max_body_bytes,
            body_time,
        }
    }

    pub(crate) fn of(request: &Request) -> Result<&Arc<Self>, ApiError> {
        request.data::<Arc<Self>>().ok_or_else(|| {
            tracing::error!("a request reached a handler without passing the edge");
            ApiError::Internal
        })
    }

    /// Names the request in answers and logs.
    pub(crate) fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    /// How long the answer may be held back.
    pub(super) fn wait(&self) -> Duration {
        let wait = self.wait_in_query.or(self.preferences.wait);
        wait.unwrap_or_default()
    }

    pub(super) fn request_id_header(&self) -> HeaderValue {
        self.request_id.clone()
    }
}

/// The parameter `wait` of a query; what is not acceptable is the handler's to refuse.
fn wait_in(query: &str) -> Option<Duration> {
    let mut parameters = query.split('&');
    let value = parameters.find_map(|parameter| parameter.strip_prefix("wait="))?;
    let wait = Duration::from_secs(value.parse().ok()?);
    (wait <= MAX_WAIT).then_some(wait)
}

/// The scope as a parameter of a handler.
#[derive(Debug)]
pub(crate) struct Scope(pub(crate) Arc<RequestScope>);

impl<'a> FromRequest<'a> for Scope {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self(RequestScope::of(request)?.clone()))
    }
}

/// The caller's request id when it is 1–128 characters of `[A-Za-z0-9._-]`, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        (1..=128).contains(&bytes.len()) && bytes.iter().all(allowed)
    };
    if let Some(given) = headers.get(REQUEST_ID).filter(sane) {
        return given.clone();
    }
    let mut text = Uuid::encode_buffer();
    let new = Uuid::now_v7().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(new).unwrap_or(HeaderValue::from_static("unnamed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(given: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_str(given).unwrap());
        request_id(&headers).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_is_replaced() {
        for kept in ["abc", "A.b_c-9", &"x".repeat(128)] {
            assert_eq!(id_for(kept), kept);
        }
        for replaced in ["", "a b", "a;b", "ä", &"x".repeat(129)] {
            assert!(Uuid::parse_str(&id_for(replaced)).is_ok(), "{replaced}");
        }
    }
}
