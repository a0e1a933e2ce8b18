//! What every answer tells browsers not to do with it. A page says more precisely what it may do.

use poem::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Each header, and what it says unless the handler said otherwise.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

pub(super) fn protect(answer: &mut HeaderMap) {
    for (name, value) in HEADERS {
        answer.entry(name).or_insert(value);
    }
}
