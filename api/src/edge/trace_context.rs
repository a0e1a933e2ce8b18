//! W3C trace context: <https://www.w3.org/TR/trace-context/>.

use poem::http::HeaderMap;
use uuid::Uuid;

/// The header that carries it.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// The length of version `00`: version, trace id, parent id and flags with three hyphens.
const LENGTH: usize = 55;

/// The caller's trace context when it is valid, else a new trace that starts here.
pub(super) fn continue_or_start(headers: &HeaderMap) -> String {
    let given = headers
        .get(TRACEPARENT)
        .and_then(|value| value.to_str().ok());
    match given {
        Some(text) if is_valid(text) => text.to_owned(),
        Some(_) | None => start(),
    }
}

fn start() -> String {
    let (trace, parent) = (Uuid::new_v4(), Uuid::new_v4());
    let (_, span) = parent.as_u64_pair();
    format!("00-{}-{span:016x}-01", trace.simple())
}

fn is_valid(text: &str) -> bool {
    let mut parts = text.split('-');
    let (Some(version), Some(trace), Some(parent), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let whole = match version {
        "00" => text.len() == LENGTH,
        "ff" => false,
        // Later versions may append parts; what follows is bounded so that it can be stored.
        _ => text.len() <= 256,
    };
    whole
        && is_hex(version, 2)
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && trace.bytes().any(|b| b != b'0')
        && parent.bytes().any(|b| b != b'0')
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
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
        let no_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let no_parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let too_long = GIVEN.replacen("00", "cc", 1) + &"-".repeat(300);
        for given in [
            "",
            "nonsense",
            &GIVEN[1..],
            &GIVEN.to_uppercase(),
            &GIVEN.replacen("00", "ff", 1),
            &format!("{GIVEN}-more"),
            &no_trace,
            &no_parent,
            &too_long,
        ] {
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
