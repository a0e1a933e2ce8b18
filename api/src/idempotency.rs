//! Repeated requests: the `Idempotency-Key` that names one, and the fingerprint that tells a repetition from a
//! different request under the same name.

use orchestrator_common::domain::Faults;
use poem::http::HeaderMap;
use poem_openapi::registry::MetaSchema;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::views::{QueryValue, WireSchema};

const HEADER: &str = "Idempotency-Key";

/// What a caller names a request by.
#[derive(Debug)]
pub(crate) struct IdempotencyKey(String);

impl WireSchema for IdempotencyKey {
    fn schema() -> MetaSchema {
        MetaSchema {
            pattern: Some("^[!-~]{1,255}$".to_owned()),
            ..MetaSchema::new("string")
        }
    }
}

impl QueryValue for IdempotencyKey {
    const ACCEPTS: &'static str = "must be 1 to 255 visible ASCII characters without blanks";

    fn read(text: &str) -> Option<Self> {
        let is_key = (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        is_key.then(|| Self(text.to_owned()))
    }
}

/// The key of a request, if it has one. It is never passed over: without it, repeating the request would do harm.
///
/// # Errors
/// When it is not 1–255 visible ASCII characters, or there are several.
pub(crate) fn key_in(headers: &HeaderMap) -> Result<Option<String>, Faults> {
    let mut keys = headers.get_all(HEADER).iter();
    let Some(first) = keys.next() else {
        return Ok(None);
    };
    if keys.next().is_some() {
        return Err(Faults::one(HEADER, "must be given once"));
    }
    match first.to_str().ok().and_then(IdempotencyKey::read) {
        Some(IdempotencyKey(key)) => Ok(Some(key)),
        None => Err(Faults::one(HEADER, IdempotencyKey::ACCEPTS)),
    }
}

/// SHA-256 of who asked and what for; neither blanks nor the order of fields make a difference.
pub(crate) fn fingerprint(caller: &str, body: &[u8]) -> [u8; 32] {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => fingerprint_of(caller, &value),
        // It was JSON a moment ago; whatever it is now, it is itself.
        Err(_) => digest(caller, body),
    }
}

/// The same of a body that has been read.
pub(crate) fn fingerprint_of(caller: &str, body: &Value) -> [u8; 32] {
    let mut text = Vec::new();
    write_canonical(body, &mut text);
    digest(caller, &text)
}

fn digest(caller: &str, text: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(caller.len().to_be_bytes());
    digest.update(caller);
    digest.update(text);
    digest.finalize().into()
}

fn write_canonical(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            text.push(b'[');
            for item in items {
                write_canonical(item, text);
                text.push(b',');
            }
            text.push(b']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(name, _)| *name);
            text.push(b'{');
            for (name, item) in entries {
                text.extend_from_slice(Value::from(name.as_str()).to_string().as_bytes());
                text.push(b':');
                write_canonical(item, text);
                text.push(b',');
            }
            text.push(b'}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.extend_from_slice(value.to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_request_written_differently_has_one_fingerprint() {
        let one = fingerprint("a", br#"{"x": 1, "y": {"p": [1, 2], "q": "\u0041"}}"#);
        let other = fingerprint("a", br#"{"y":{"q":"A","p":[1,2]},"x":1}"#);
        assert_eq!(one, other);
    }

    #[test]
    fn a_different_request_or_caller_has_another_fingerprint() {
        let body = br#"{"x": [1, 2]}"#;
        assert_ne!(fingerprint("a", body), fingerprint("b", body));
        assert_ne!(
            fingerprint("a", body),
            fingerprint("a", br#"{"x": [2, 1]}"#)
        );
        assert_ne!(
            fingerprint("a", body),
            fingerprint("a", br#"{"x": [1], "y": 2}"#)
        );
        assert_ne!(
            fingerprint("a", br#"{"x": "1"}"#),
            fingerprint("a", br#"{"x": 1}"#)
        );
    }

    #[test]
    fn a_key_must_be_short_and_visible() {
        let of = |keys: &[&str]| {
            let mut headers = HeaderMap::new();
            for key in keys {
                headers.append(HEADER, key.parse().unwrap());
            }
            key_in(&headers)
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["k-1"]), Ok(Some("k-1".to_owned())));
        for bad in ["", "a b", "é", &"k".repeat(256)] {
            assert!(of(&[bad]).is_err(), "{bad}");
        }
        assert!(of(&["a", "a"]).is_err());
    }
}
