//! W3C trace context, the header `traceparent`: <https://www.w3.org/TR/trace-context/>.

use std::ops::Range;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The length of version `00`: version, trace id, parent id and flags with three hyphens.
const LENGTH: usize = 55;
const TRACE: Range<usize> = 3..35;
const PARENT: Range<usize> = 36..52;
const FLAGS: Range<usize> = 53..LENGTH;

/// Whether it is fit to be continued.
#[must_use]
pub fn is_valid(text: &str) -> bool {
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

/// The trace that it belongs to, in 32 hexadecimal digits; `None` when it is not valid.
#[must_use]
pub fn trace_id(text: &str) -> Option<&str> {
    text.get(TRACE).filter(|_| is_valid(text))
}

/// Whoever wrote it, as the parent of spans.
pub(super) fn read(text: &str) -> Option<SpanContext> {
    let trace = TraceId::from_hex(trace_id(text)?).ok()?;
    let parent = SpanId::from_hex(text.get(PARENT)?).ok()?;
    let flags = u8::from_str_radix(text.get(FLAGS)?, 16).ok()?;
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    Some(SpanContext::new(
        trace,
        parent,
        flags,
        true,
        TraceState::NONE,
    ))
}

/// Names a span to whoever comes after it.
pub(super) fn write(span: &SpanContext) -> String {
    let (trace, parent, flags) = (span.trace_id(), span.span_id(), span.trace_flags());
    format!("00-{trace}-{parent}-{flags:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_again() {
        let not_sampled = GIVEN.replace("-01", "-00");
        for given in [GIVEN, &not_sampled] {
            assert_eq!(write(&read(given).unwrap()), *given);
        }
        assert_eq!(trace_id(GIVEN), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    }

    #[test]
    fn a_later_version_is_continued_as_this_one() {
        let later = GIVEN.replacen("00", "cc", 1).replace("-01", "-03") + "-what-comes";
        assert!(is_valid(&later));
        assert_eq!(write(&read(&later).unwrap()), GIVEN);
    }

    #[test]
    fn what_is_not_valid_is_nobodys_parent() {
        let no_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let no_parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let too_long = GIVEN.replacen("00", "cc", 1) + &"-".repeat(300);
        for given in [
            "",
            "nonsense",
            "ä-nonsense",
            &GIVEN[1..],
            &GIVEN.to_uppercase(),
            &GIVEN.replacen("00", "ff", 1),
            &format!("{GIVEN}-more"),
            &no_trace,
            &no_parent,
            &too_long,
        ] {
            assert!(!is_valid(given), "{given}");
            assert_eq!(read(given), None, "{given}");
            assert_eq!(trace_id(given), None, "{given}");
        }
    }
}
