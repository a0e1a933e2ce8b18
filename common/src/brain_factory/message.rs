//! What others say, made fit to be kept and shown: clipped, without credentials and control characters.

use serde_json::Value;

/// The longest message that is kept, in characters.
pub(super) const MAX_MESSAGE_CHARS: usize = 2_000;

/// How much of a text is looked at: more than is kept, so that credentials at the cut are still recognised.
const MAX_LOOKED_AT: usize = 16_384;

/// `text` with at most [`MAX_MESSAGE_CHARS`] characters, without control characters other than line breaks and tabs
/// (PostgreSQL stores no NUL) and without the `user:password@` of addresses.
pub(super) fn clip(text: &str) -> String {
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

/// What the body of an error answer says: the text of its usual fields, else the body itself.
pub(super) fn said(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(map)) => ["detail", "error_message", "message", "error"]
            .iter()
            .find_map(|field| map.get(*field).filter(|value| !value.is_null()))
            .map(text_of),
        Ok(_) | Err(_) => None,
    };
    clip(&text.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()))
}

/// A string as it is, anything else as JSON.
fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
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
    fn the_usual_fields_of_an_error_body_are_read() {
        assert_eq!(said(br#"{"detail": "Agent not found"}"#), "Agent not found");
        assert_eq!(
            said(br#"{"detail": [{"loc": ["body"]}]}"#),
            r#"[{"loc":["body"]}]"#
        );
        assert_eq!(said(br#"{"detail": null, "message": "no"}"#), "no");
        assert_eq!(said(b"<h1>Bad Gateway</h1>"), "<h1>Bad Gateway</h1>");
        assert_eq!(said(b"\xff"), "\u{fffd}");
    }
}
