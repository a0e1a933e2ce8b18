//! Bounds of a request's head, tighter than those at which the HTTP library breaks off: who exceeds these gets a problem
//! document.

use poem::Request;

use crate::application::Limits;
use crate::problem::ApiError;

/// Refuses an address that is too long, and headers that are too many or too large.
pub(super) fn check(limits: &Limits, request: &Request) -> Result<(), ApiError> {
    let uri = request.uri();
    let length = uri.path_and_query().map_or(0, |it| it.as_str().len());
    if length > limits.uri_bytes {
        return Err(ApiError::AddressTooLong(limits.uri_bytes));
    }
    let headers = request.headers();
    if headers.len() > limits.headers {
        return Err(ApiError::TooManyHeaders(limits.headers));
    }
    let bytes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    if bytes.sum::<usize>() > limits.header_bytes {
        return Err(ApiError::HeadersTooLarge(limits.header_bytes));
    }
    Ok(())
}
