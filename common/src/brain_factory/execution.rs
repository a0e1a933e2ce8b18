//! Reading an agent's answer: its result is kept as it came, only what decides is looked into.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::contract::{BUSY_PREFIX, TIMED_OUT_PREFIX};
use super::error::ExecuteError;
use crate::domain::{Json, MAX_NESTING, Usage};
use crate::http::clip;

/// More tokens than this in one task is a mistake, not a report.
const MAX_TOKENS: u64 = 1_000_000_000_000;

/// A higher cost of one task than this, in US dollars, is a mistake, not a report.
const MAX_COST: f64 = 1_000_000_000.0;

/// What an agent made of a task.
#[derive(Clone, Debug)]
pub struct Execution {
    /// The agent's result as it came, `null` when it gave none.
    pub result: Json,
    /// What it reported to have used.
    pub usage: Usage,
    /// How sure it is, 0 to 1, when it said so.
    pub confidence: Option<f64>,
}

/// The borrowed form of [`super::contract::ExecuteAnswer`].
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    confidence_score: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

/// Reads the body of a 200.
pub(super) fn read_execution(body: &[u8]) -> Result<Execution, ExecuteError> {
    let invalid = |message: String| Err(ExecuteError::InvalidAnswer(clip(&message)));
    let body: Body<'_> = match serde_json::from_slice(body) {
        Ok(body) => body,
        Err(error) => return invalid(error.to_string()),
    };
    match body.status.as_ref() {
        "completed" => {}
        "failed" => return Err(failure(&body)),
        other => return invalid(format!("its status is {other:?}")),
    }
    let result = body.result.unwrap_or(RawValue::NULL);
    if nesting_of_text(result.get()) > MAX_NESTING {
        return invalid(format!("it nests deeper than {MAX_NESTING} levels"));
    }
    Ok(Execution {
        result: Arc::from(result.to_owned()),
        usage: usage_of(&body),
        confidence: body
            .confidence_score
            .and_then(|score| score.get().parse().ok())
            .filter(|score| (0.0..=1.0).contains(score)),
    })
}

fn failure(body: &Body<'_>) -> ExecuteError {
    let message = body
        .error_message
        .and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let message = clip(message.as_deref().unwrap_or_default());
    if let Some(state) = message.strip_prefix(BUSY_PREFIX) {
        return ExecuteError::Busy {
            state: state.trim().to_ascii_lowercase(),
        };
    }
    if message.starts_with(TIMED_OUT_PREFIX) {
        return ExecuteError::TimedOut {
            message,
            may_be_running: false,
        };
    }
    let message = if message.is_empty() {
        "the agent failed without saying why".to_owned()
    } else {
        message
    };
    ExecuteError::Failed {
        message,
        usage: usage_of(body),
    }
}

/// Field by field: metadata first, then the result.
fn usage_of(body: &Body<'_>) -> Usage {
    let mut usage = Usage::default();
    for raw in [body.metadata, body.result].into_iter().flatten() {
        let reported = reported_in(raw.get());
        usage.tokens_used = usage.tokens_used.or(reported.tokens_used);
        usage.cost_estimate = usage.cost_estimate.or(reported.cost_estimate);
    }
    usage
}

fn reported_in(json: &str) -> Usage {
    #[derive(Deserialize)]
    struct Reported {
        #[serde(default)]
        tokens_used: Value,
        #[serde(default)]
        cost_estimate: Value,
    }
    // Most answers report nothing: looking for the names is much cheaper than reading the object.
    if !(json.contains("\"tokens_used\"") || json.contains("\"cost_estimate\"")) {
        return Usage::default();
    }
    let Ok(reported) = serde_json::from_str::<Reported>(json) else {
        return Usage::default();
    };
    Usage {
        tokens_used: reported
            .tokens_used
            .as_u64()
            .filter(|tokens| *tokens <= MAX_TOKENS),
        cost_estimate: reported
            .cost_estimate
            .as_f64()
            .filter(|cost| (0.0..=MAX_COST).contains(cost)),
    }
}

/// How deeply valid JSON text nests, without reading it into values.
fn nesting_of_text(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::nesting_of;

    fn read(body: &Value) -> Result<Execution, ExecuteError> {
        read_execution(body.to_string().as_bytes())
    }

    #[test]
    fn a_result_is_kept_letter_by_letter() {
        let body = br#"{"task_id":"t","status":"completed","result": {"b":1.50, "a":"\u00e9"},"metadata":{}}"#;
        let execution = read_execution(body).unwrap();
        assert_eq!(execution.result.get(), r#"{"b":1.50, "a":"\u00e9"}"#);
        assert_eq!(execution.usage, Usage::default());
    }

    #[test]
    fn a_completed_task_without_a_result_has_the_result_null() {
        for body in [
            json!({"status": "completed"}),
            json!({"status": "completed", "result": null}),
        ] {
            assert_eq!(read(&body).unwrap().result.get(), "null");
        }
    }

    #[test]
    fn usage_is_taken_from_metadata_first_and_then_from_the_result() {
        let execution = read(&json!({"status": "completed", "confidence_score": 0.75,
            "result": {"tokens_used": 1, "cost_estimate": 0.5}, "metadata": {"tokens_used": 1234}}))
        .unwrap();
        let expected = Usage {
            tokens_used: Some(1_234),
            cost_estimate: Some(0.5),
        };
        assert_eq!(
            (execution.usage, execution.confidence),
            (expected, Some(0.75))
        );
    }

    #[test]
    fn absurd_reports_are_ignored_and_harm_nothing() {
        for (tokens, cost, confidence) in [
            ("-1", "-0.5", "7"),
            ("99999999999999", "1e300", "-1"),
            ("\"many\"", "null", "\"high\""),
            ("1.5", "[]", "{}"),
            ("1", "1e999", "null"),
        ] {
            let body = format!(
                r#"{{"status":"completed","result":"ok","confidence_score":{confidence},
                    "metadata":{{"tokens_used":{tokens},"cost_estimate":{cost}}}}}"#
            );
            let execution = read_execution(body.as_bytes()).unwrap();
            assert_eq!(execution.result.get(), "\"ok\"");
            assert_eq!(execution.usage, Usage::default(), "{body}");
            assert_eq!(execution.confidence, None, "{body}");
        }
    }

    #[test]
    fn garbage_is_an_invalid_answer() {
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"status":"done"}"#,
            r#"{"status":"completed","result":NaN}"#,
        ] {
            let read = read_execution(body.as_bytes());
            assert!(
                matches!(read, Err(ExecuteError::InvalidAnswer(_))),
                "{body}: {read:?}"
            );
        }
    }

    #[test]
    fn a_result_that_nests_too_deeply_is_an_invalid_answer() {
        let nested = |depth: usize| {
            let body = format!(
                r#"{{"status":"completed","result":{}{}}}"#,
                "[".repeat(depth),
                "]".repeat(depth)
            );
            read_execution(body.as_bytes())
        };
        assert!(nested(MAX_NESTING).is_ok());
        assert!(matches!(
            nested(MAX_NESTING + 1),
            Err(ExecuteError::InvalidAnswer(_))
        ));
        assert!(matches!(
            nested(1_000_000),
            Err(ExecuteError::InvalidAnswer(_))
        ));
    }

    #[test]
    fn nesting_is_counted_outside_of_strings_only() {
        for value in [
            json!(1),
            json!("[[{\"\\"),
            json!({"a": ["\\\"[", {}], "]": [[1]]}),
        ] {
            assert_eq!(
                nesting_of_text(&value.to_string()),
                nesting_of(&value),
                "{value}"
            );
        }
    }
}
