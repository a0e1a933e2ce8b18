//! Repeated requests: the task that an `Idempotency-Key` names, and the fingerprint that tells a repetition from a
//! different request under the same name.

use orchestrator_common::domain::{Faults, TaskId};
use serde_json::Value;
use sha2::{Digest, Sha256};

const HEADER: &str = "Idempotency-Key";

/// The task that `key` names for `caller`.
///
/// # Errors
/// When the key is not 1–255 visible ASCII characters.
pub(crate) fn task_named_by(caller: &str, key: &str) -> Result<TaskId, Faults> {
    if (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(TaskId::from_idempotency_key(caller, key))
    } else {
        Err(Faults::one(
            HEADER,
            "must be 1 to 255 visible ASCII characters without blanks",
        ))
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
        assert_eq!(task_named_by("a", "k-1"), task_named_by("a", "k-1"));
        for bad in ["", "a b", "é", &"k".repeat(256)] {
            assert!(task_named_by("a", bad).is_err(), "{bad}");
        }
    }
}
