//! What agents and the Brain Factory say when they refuse something.

use serde_json::Value;

use crate::http::clip;

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
