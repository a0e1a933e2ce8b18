//! What browsers ask before they let the page of another web site call (CORS), and calls that they send without asking.
//!
//! No credentials are involved: a token comes in a header that only the page's own script can set.

use orchestrator_common::config::AllowedOrigins;
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};

use crate::problem::ApiError;

/// What a browser says of where a request comes from.
const FETCH_SITE: &str = "sec-fetch-site";
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer, traceparent, X-Request-Id",
);
const ANSWER_HEADERS: HeaderValue = HeaderValue::from_static(
    "Allow, Location, Preference-Applied, Retry-After, traceparent, WWW-Authenticate, X-Request-Id",
);
/// How long a browser may remember what it asked, in seconds.
const MEMORY: HeaderValue = HeaderValue::from_static("600");

/// What a browser's question is answered; `None` when the request is none, or of a web site that may not call.
pub(super) fn answer_to_question(allowed: &AllowedOrigins, request: &Request) -> Option<Response> {
    let headers = request.headers();
    let asks = request.method() == Method::OPTIONS
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if !asks || !allowed.allow(origin(headers)?) {
        return None;
    }
    let answer = Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
        .header(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS)
        .header(header::ACCESS_CONTROL_MAX_AGE, MEMORY);
    Some(answer.finish())
}

/// What tells the browser that the page may read the answer; nothing when the origin may not.
pub(super) fn permission(allowed: &AllowedOrigins, request: &HeaderMap) -> Option<HeaderValue> {
    let origin = request.get(header::ORIGIN)?;
    allowed.allow(origin.to_str().ok()?).then(|| match allowed {
        AllowedOrigins::Any => HeaderValue::from_static("*"),
        AllowedOrigins::These(_) => origin.clone(),
    })
}

/// Puts `permission` into an answer.
pub(super) fn permit(
    allowed: &AllowedOrigins,
    permission: Option<HeaderValue>,
    answer: &mut HeaderMap,
) {
    if let AllowedOrigins::These(origins) = allowed
        && !origins.is_empty()
    {
        // Also without permission: a cache must not hand that answer to a page that has it.
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(permission) = permission {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, permission);
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
    }
}

/// Refuses a change that the page of a web site has a browser ask for which may not call. Browsers send some requests
/// without asking first, and where no token is needed, the network that the browser is in would be the only protection.
pub(super) fn check(allowed: &AllowedOrigins, request: &Request) -> Result<(), ApiError> {
    if matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) {
        return Ok(());
    }
    let headers = request.headers();
    let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
    if matches!(site, Some(b"same-origin" | b"none")) {
        return Ok(());
    }
    let is_welcome = match headers.get(header::ORIGIN) {
        // Not a browser, as far as can be seen.
        None => site.is_none(),
        Some(origin) => origin
            .to_str()
            .is_ok_and(|origin| allowed.allow(origin) || is_own(origin, headers)),
    };
    if is_welcome {
        Ok(())
    } else {
        Err(ApiError::ForeignOrigin)
    }
}

fn origin(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ORIGIN)?.to_str().ok()
}

/// Whether a page of ours sent it, as far as the names agree; the scheme may be a proxy's.
fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let named = origin.split_once("://").map(|(_, authority)| authority);
    named.is_some() && named == host
}
