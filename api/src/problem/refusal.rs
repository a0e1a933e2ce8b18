//! Errors as the OpenAPI document shows them: each operation names the statuses it can answer with.

use std::marker::PhantomData;

use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::Type;

use super::{ApiError, Problem, document::CONTENT_TYPE};

/// The error statuses of a group of operations.
pub(crate) trait Statuses: Send + Sync + 'static {
    /// In ascending order.
    const ALL: &'static [u16];
}

/// Operations that need no token and have no parameters.
#[derive(Debug)]
pub(crate) enum Open {}

impl Statuses for Open {
    const ALL: &'static [u16] = &[414, 431, 500, 503];
}

/// Operations that read.
#[derive(Debug)]
pub(crate) enum Reading {}

impl Statuses for Reading {
    const ALL: &'static [u16] = &[401, 403, 404, 414, 422, 429, 431, 500, 503];
}

/// Operations that change agents.
#[derive(Debug)]
pub(crate) enum Administering {}

impl Statuses for Administering {
    const ALL: &'static [u16] = &[
        400, 401, 403, 404, 408, 413, 414, 415, 422, 429, 431, 500, 503,
    ];
}

/// Operations that change agents, have no body, and are not always allowed.
#[derive(Debug)]
pub(crate) enum AgentChanging {}

impl Statuses for AgentChanging {
    const ALL: &'static [u16] = &[401, 403, 404, 409, 414, 422, 429, 431, 500, 503];
}

/// Operations that change agents, have a body, and are not always allowed.
#[derive(Debug)]
pub(crate) enum AgentScaling {}

impl Statuses for AgentScaling {
    const ALL: &'static [u16] = &[
        400, 401, 403, 404, 408, 409, 413, 414, 415, 422, 429, 431, 500, 503,
    ];
}

/// Operations that submit tasks.
#[derive(Debug)]
pub(crate) enum Submitting {}

impl Statuses for Submitting {
    const ALL: &'static [u16] = &[
        400, 401, 403, 404, 408, 409, 413, 414, 415, 422, 429, 431, 500, 503,
    ];
}

/// Operations that change a task and have a body.
#[derive(Debug)]
pub(crate) enum Changing {}

impl Statuses for Changing {
    const ALL: &'static [u16] = &[
        400, 401, 403, 404, 408, 409, 413, 414, 415, 422, 429, 431, 500, 503,
    ];
}

/// Operations that change a task and have no body.
#[derive(Debug)]
pub(crate) enum Cancelling {}

impl Statuses for Cancelling {
    const ALL: &'static [u16] = &[401, 403, 404, 409, 414, 429, 431, 500, 503];
}

/// An [`ApiError`] of an operation whose error statuses are `S`.
#[derive(Debug)]
pub(crate) struct Refusal<S>(ApiError, PhantomData<S>);

impl<S, E: Into<ApiError>> From<E> for Refusal<S> {
    fn from(error: E) -> Self {
        Self(error.into(), PhantomData)
    }
}

impl<S: Statuses> From<Refusal<S>> for poem::Error {
    fn from(refusal: Refusal<S>) -> Self {
        refusal.0.into()
    }
}

impl<S: Statuses> ApiResponse for Refusal<S> {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: S::ALL.iter().map(|status| documented(*status)).collect(),
        }
    }

    fn register(registry: &mut Registry) {
        Problem::register(registry);
    }
}

fn documented(status: u16) -> MetaResponse {
    let (description, headers) = match status {
        400 => ("The body is not JSON.", vec![]),
        401 => (
            "Authentication is on and there is no acceptable token.",
            vec![text_header("WWW-Authenticate", "What is needed.")],
        ),
        403 => (
            "The token does not grant the level that is needed, or a browser sends a change for a web site that may not call.",
            vec![optional(text_header("WWW-Authenticate", "What is needed."))],
        ),
        404 => ("There is nothing of this name.", vec![]),
        408 => ("The body did not arrive in time.", vec![]),
        409 => (
            "What there is does not allow this: the task was asked for differently, or stands elsewhere.",
            vec![],
        ),
        413 => ("The body is too large.", vec![]),
        415 => ("The body is not declared to be JSON.", vec![]),
        422 => (
            "The request breaks rules; all faults are named at once.",
            vec![],
        ),
        414 => ("The address is too long.", vec![]),
        431 => ("The headers are too many or too large.", vec![]),
        429 => (
            "The caller calls more often than they may, or as many tasks wait for the agent as may.",
            vec![text_header("Retry-After", "Seconds to wait.")],
        ),
        503 => (
            "Nothing can take or answer the request now.",
            vec![text_header("Retry-After", "Seconds to wait.")],
        ),
        _ => ("Something went wrong here.", vec![]),
    };
    MetaResponse {
        description,
        status: Some(status),
        status_range: None,
        content: vec![MetaMediaType {
            content_type: CONTENT_TYPE,
            schema: Problem::schema_ref(),
        }],
        headers,
    }
}

fn text_header(name: &str, description: &str) -> MetaHeader {
    MetaHeader {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required: true,
        deprecated: false,
        schema: String::schema_ref(),
    }
}

fn optional(header: MetaHeader) -> MetaHeader {
    MetaHeader {
        required: false,
        ..header
    }
}
