//! Request bodies: read within bounds, parsed by the domain so that every fault is named, and still documented.

mod open_task;
mod requests;
mod task_requests;
mod workflow_requests;

use std::fmt;

use orchestrator_common::domain::Faults;
use poem::http::header;
use poem::{Body, Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::Value;

use crate::edge::RequestScope;
use crate::problem::ApiError;

pub(crate) use requests::{AgentChoice, StopChoice};
pub(crate) use task_requests::{NewPriority, RetryWish, TaskBatch};
pub(crate) use workflow_requests::DefinitionBody;

/// Something that a handler takes as a JSON body.
pub(crate) trait FromBody: Sized + Send + Sync {
    /// The documented shape of the body.
    type Shape: Type;

    /// What the body is, for the document.
    const DESCRIPTION: &'static str;

    /// What an empty body means; `None` when there must be one.
    const EMPTY: Option<Self>;

    /// Reads the body.
    ///
    /// # Errors
    /// Every fault of it.
    fn from_body(body: Value) -> Result<Self, Faults>;
}

/// A JSON body, read.
pub(crate) struct JsonBody<T> {
    /// What it says.
    pub(crate) content: T,
    /// What was sent, byte for byte.
    pub(crate) bytes: Vec<u8>,
}

impl<T: fmt::Debug> fmt::Debug for JsonBody<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.content, f)
    }
}

impl<'a, T: FromBody> ApiExtractor<'a> for JsonBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::Shape::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: Some(T::DESCRIPTION),
            content: vec![MetaMediaType {
                content_type: "application/json",
                schema: T::Shape::schema_ref(),
            }],
            required: T::EMPTY.is_none(),
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let scope = RequestScope::of(request)?;
        let arriving = read_within(declared_length(request), scope.max_body_bytes, body.take()?);
        let bytes = tokio::time::timeout(scope.body_time, arriving)
            .await
            .map_err(|_elapsed| ApiError::BodyTooSlow(scope.body_time))??;
        if bytes.is_empty()
            && let Some(content) = T::EMPTY
        {
            return Ok(Self { content, bytes });
        }
        if !declares_json(request) {
            return Err(ApiError::UnsupportedMediaType.into());
        }
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::NotUnderstood(format!("the body is not JSON: {error}")))?;
        let content = T::from_body(value).map_err(ApiError::Invalid)?;
        Ok(Self { content, bytes })
    }
}

fn declared_length(request: &Request) -> Option<usize> {
    let value = request.headers().get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// Reads a body, giving up as soon as it is larger than `limit` bytes, declared or not.
async fn read_within(
    declared: Option<usize>,
    limit: usize,
    body: Body,
) -> Result<Vec<u8>, ApiError> {
    use futures::TryStreamExt;

    if declared.is_some_and(|length| length > limit) {
        return Err(ApiError::BodyTooLarge(limit));
    }
    let mut bytes = Vec::with_capacity(declared.unwrap_or(0));
    let mut arriving = body.into_bytes_stream();
    loop {
        let chunk = arriving.try_next().await.map_err(|_broken| {
            ApiError::NotUnderstood("the body ended before it was complete".into())
        })?;
        let Some(chunk) = chunk else {
            return Ok(bytes);
        };
        if bytes.len() + chunk.len() > limit {
            return Err(ApiError::BodyTooLarge(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
}

/// `application/json` or `application/…+json`, with any parameters, said once and not encoded further; a body without a
/// type is taken for JSON.
fn declares_json(request: &Request) -> bool {
    let headers = request.headers();
    let only = |name, accepted: &str| {
        let mut values = headers.get_all(name).iter();
        values.all(|value| value.as_bytes().eq_ignore_ascii_case(accepted.as_bytes()))
    };
    if !only(header::CONTENT_ENCODING, "identity") || !only(header::TRANSFER_ENCODING, "chunked") {
        return false;
    }
    let mut declared = headers.get_all(header::CONTENT_TYPE).iter();
    let (first, second) = (declared.next(), declared.next());
    let Some(declared) = first else {
        return true;
    };
    let Ok(declared) = declared.to_str() else {
        return false;
    };
    let essence = declared.split(';').next().unwrap_or_default().trim();
    let Some((kind, subtype)) = essence.split_once('/') else {
        return false;
    };
    second.is_none()
        && kind.eq_ignore_ascii_case("application")
        && (subtype.eq_ignore_ascii_case("json") || subtype.to_ascii_lowercase().ends_with("+json"))
}

#[cfg(test)]
mod tests;
