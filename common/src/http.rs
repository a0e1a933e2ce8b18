//! What all calls of other services share: how they introduce themselves, and what is made of answers and errors.

use std::time::Duration;

use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// Who calls.
pub(crate) const USER_AGENT_NAME: HeaderValue =
    HeaderValue::from_static(concat!("agent-orchestrator/", env!("CARGO_PKG_VERSION")));

/// The longest message that is kept, in characters.
const MAX_MESSAGE_CHARS: usize = 2_000;

/// How much of a text is looked at: more than is kept, so that credentials at the cut are still recognised.
const MAX_LOOKED_AT: usize = 16_384;

/// `text` with at most [`MAX_MESSAGE_CHARS`] characters, without control characters other than line breaks and tabs
/// (PostgreSQL stores no NUL) and without the `user:password@` of addresses.
pub(crate) fn clip(text: &str) -> String {
    let mut rest = text.trim();
    if rest.len() > MAX_LOOKED_AT {
        rest = &rest[..rest.floor_char_boundary(MAX_LOOKED_AT)];
    }
    let mut kept = String::with_capacity(rest.len().min(MAX_MESSAGE_CHARS));
    while let Some(found) = rest.find("://") {
        let (before, authority_on) = rest.split_at(found + "://".len());
        kept.push_str(before);
        let end = authority_on
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<'))
            .unwrap_or(authority_on.len());
        rest = match authority_on[..end].rfind('@') {
            Some(at) => &authority_on[at + 1..],
            None => authority_on,
        };
    }
    kept.push_str(rest);
    let harmless = |c: char| {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            ' '
        } else {
            c
        }
    };
    kept.chars()
        .map(harmless)
        .take(MAX_MESSAGE_CHARS)
        .collect::<String>()
}

/// The innermost cause in words; the outer ones only say that something went wrong.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    clip(&innermost.to_string())
}

/// How long the answer asks to wait: `Retry-After` in seconds, or until a time.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let wish = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = wish.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = OffsetDateTime::parse(wish, &Rfc2822).ok()?;
    // A time that has passed asks for nothing.
    Some(
        (until - OffsetDateTime::now_utc())
            .try_into()
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_addresses_are_cut_out() {
        assert_eq!(
            clip(
                "GET http://bob:s3cret@host:80/x and amqp://u:p%40@mq failed; see http://docs/a@b"
            ),
            "GET http://host:80/x and amqp://mq failed; see http://docs/a@b"
        );
        let at_the_cut = format!("{}http://bob:s3cret@host", "x".repeat(1_985));
        assert!(!clip(&at_the_cut).contains("bob"));
    }

    #[test]
    fn a_long_message_is_clipped_between_characters() {
        assert_eq!(clip(&"é".repeat(50_000)).chars().count(), MAX_MESSAGE_CHARS);
        assert_eq!(clip("  short\0\u{1b}[1m\n "), "short  [1m");
    }

    #[test]
    fn a_pause_is_asked_for_in_seconds_or_until_a_time() {
        let wish = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]))
        };
        assert_eq!(wish(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(wish("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let far = wish("Tue, 01 Jan 2999 00:00:00 GMT").unwrap();
        assert!(far > Duration::from_secs(86_400 * 365));
        assert_eq!((wish("soon"), wish("-1")), (None, None));
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
