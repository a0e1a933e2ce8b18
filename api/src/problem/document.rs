//! The answer to a request that was not carried out: `application/problem+json` of RFC 9457.

use orchestrator_common::domain::Fault;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{Body, Response};
use poem_openapi::Object;
use poem_openapi::types::Example;
use serde::Serialize;

use super::{ApiError, Kind};
use crate::auth::Level;

pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// What is wrong with one field of a request.
#[derive(Clone, Debug, Object, Serialize)]
pub struct FieldFault {
    /// The name of the field, with dots for nested ones; empty for the body as a whole.
    pub field: String,
    /// What the field accepts.
    pub message: String,
}

impl From<Fault> for FieldFault {
    fn from(fault: Fault) -> Self {
        Self {
            field: fault.field,
            message: fault.message,
        }
    }
}

/// Why a request was not carried out (RFC 9457).
#[derive(Clone, Debug, Object, Serialize)]
#[oai(example)]
pub struct Problem {
    /// The kind of problem, by a name that does not change.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// The path that was asked for.
    pub instance: String,
    /// Finds the request in the logs; also in the header `X-Request-Id`.
    pub request_id: String,
    /// Every fault of the request; only with status 422.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[oai(default, skip_serializing_if_is_empty)]
    pub errors: Vec<FieldFault>,
    /// The same as `title`, for older callers.
    pub error: String,
    /// The same as `detail`, for older callers.
    pub message: String,
}

/// The request that a problem is about.
pub(crate) struct Subject<'a> {
    pub(crate) path: &'a str,
    pub(crate) request_id: &'a str,
    /// The methods that the address takes, for status 405.
    pub(crate) allow: Option<&'a str>,
}

impl Problem {
    pub(crate) fn about(error: ApiError, subject: &Subject<'_>) -> Self {
        let Kind {
            status,
            name,
            title,
        } = error.kind();
        let detail = error.to_string();
        let errors = if let ApiError::Invalid(faults) = error {
            faults.0.into_iter().map(FieldFault::from).collect()
        } else {
            Vec::new()
        };
        Self {
            kind: format!("urn:agent-orchestrator:problem:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            instance: subject.path.to_owned(),
            request_id: subject.request_id.to_owned(),
            errors,
            error: title.to_owned(),
            message: detail.clone(),
            detail,
        }
    }
}

impl Example for Problem {
    fn example() -> Self {
        let faults = orchestrator_common::domain::Faults::one(
            "priority",
            "must be a whole number from 1 to 10",
        );
        Self::about(
            ApiError::Invalid(faults),
            &Subject {
                path: "/orchestrator/execute-task",
                request_id: "0199a3c4-6f6e-7c3b-9b1e-3d1f0a5c7e21",
                allow: None,
            },
        )
    }
}

/// The whole answer, with the headers that belong to its status.
pub(crate) fn render(error: ApiError, subject: &Subject<'_>) -> Response {
    let retry_after = error.retry_after();
    let challenge = challenge(&error);
    let status = error.kind().status;
    let body = serde_json::to_vec(&Problem::about(error, subject)).unwrap_or_default();
    let mut response = Response::builder()
        .status(status)
        .content_type(CONTENT_TYPE)
        .body(Body::from_vec(body));
    let headers = response.headers_mut();
    if let Some(delay) = retry_after {
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from((delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).max(1)),
        );
    }
    if let Some(challenge) = challenge {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        );
    }
    let allow = subject
        .allow
        .filter(|_| status == StatusCode::METHOD_NOT_ALLOWED)
        .and_then(|methods| HeaderValue::from_str(methods).ok());
    if let Some(allow) = allow {
        headers.insert(header::ALLOW, allow);
    }
    response
}

/// The challenge of RFC 6750 for a missing, unacceptable or insufficient token.
fn challenge(error: &ApiError) -> Option<&'static str> {
    if let ApiError::Unauthenticated { sent, .. } = error {
        return Some(if *sent {
            r#"Bearer realm="agent-orchestrator", error="invalid_token""#
        } else {
            r#"Bearer realm="agent-orchestrator""#
        });
    }
    let ApiError::Forbidden(level) = error else {
        return None;
    };
    Some(match level {
        Level::Read => {
            r#"Bearer realm="agent-orchestrator", error="insufficient_scope", scope="read""#
        }
        Level::Write => {
            r#"Bearer realm="agent-orchestrator", error="insufficient_scope", scope="write""#
        }
        Level::Admin => {
            r#"Bearer realm="agent-orchestrator", error="insufficient_scope", scope="admin""#
        }
    })
}
