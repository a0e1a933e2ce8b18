//! The trace that a request belongs to.

use orchestrator_common::telemetry::{Span, traceparent::is_valid};
use poem::http::HeaderMap;
use uuid::Uuid;

/// The header that carries it.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// What comes after the request continues its span; when none is recorded, the caller's trace context if it is valid,
/// else a new trace that starts here.
pub(super) fn of_span(span: &Span, headers: &HeaderMap) -> String {
    span.traceparent()
        .unwrap_or_else(|| continue_or_start(headers))
}

/// The caller's trace context as it was sent.
pub(super) fn given(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(TRACEPARENT);
    given.and_then(|value| value.to_str().ok())
}

fn continue_or_start(headers: &HeaderMap) -> String {
    match given(headers) {
        Some(text) if is_valid(text) => text.to_owned(),
        Some(_) | None => start(),
    }
}

fn start() -> String {
    let (trace, parent) = (Uuid::new_v4(), Uuid::new_v4());
    let (_, span) = parent.as_u64_pair();
    format!("00-{}-{span:016x}-01", trace.simple())
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;

    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn continued(given: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_str(given).unwrap());
        continue_or_start(&headers)
    }

    #[test]
    fn a_valid_context_is_kept() {
        let later = GIVEN.replacen("00", "cc", 1) + "-what-the-future-brings";
        for given in [GIVEN, &later] {
            assert_eq!(continued(given), given);
        }
    }

    #[test]
    fn an_invalid_context_is_replaced_by_a_valid_one() {
        for given in ["", "nonsense", &GIVEN.replacen("00", "ff", 1)] {
            let new = continued(given);
            assert!(new != *given && is_valid(&new), "{given} became {new}");
        }
    }

    #[test]
    fn every_request_without_a_context_starts_its_own_trace() {
        assert_ne!(
            continue_or_start(&HeaderMap::new()),
            continue_or_start(&HeaderMap::new())
        );
    }
}
