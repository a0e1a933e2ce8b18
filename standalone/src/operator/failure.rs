//! Why an operator's command did not do what it was asked, and the exit code that says so to scripts.

use std::io;

use serde_json::Value;

/// Why a command failed. The message is one paragraph for people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was given to it cannot be used.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers at the address, or not in time.
    #[error("no API answers at {url}: {reason}")]
    Unreachable {
        /// The address.
        url: String,
        /// Why.
        reason: String,
    },
    /// The API refused it.
    #[error("{0}")]
    Refused(String),
    /// What answers is no API of the orchestrator, or one that cannot do its job.
    #[error("{0}")]
    Unfit(String),
    /// The task ended otherwise than completed.
    #[error("the task is {0}")]
    NotCompleted(String),
    /// Some of several were refused; each was said on its own.
    #[error("{failed} of {all} were refused")]
    Partly {
        /// How many were refused.
        failed: usize,
        /// How many there were.
        all: usize,
    },
    /// The answer could not be shown.
    #[error("the answer could not be written: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// For scripts: 2 for what was given, 3 when nobody answers, 4 when the API refused, 5 when a task did not complete, else 1.
    #[must_use]
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Unfit(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::Refused(_) | Self::Partly { .. } => 4,
            Self::NotCompleted(_) => 5,
        }
    }

    /// What an answer with an error's status says: a problem document, as a rule.
    pub(super) fn refused(status: u16, body: &Value) -> Self {
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let mut said = match (text("title"), text("detail")) {
            ("", "") => format!("the API answered with status {status}"),
            (title, "") => format!("{title} (status {status})"),
            ("", detail) => format!("{detail} (status {status})"),
            (title, detail) => format!("{title}: {detail} (status {status})"),
        };
        for fault in body["errors"].as_array().into_iter().flatten() {
            let of = |name: &str| fault[name].as_str().unwrap_or_default();
            said.push_str(&format!("\n  {} {}", of("field"), of("message")));
        }
        if matches!(status, 401 | 403) {
            said.push_str("\n  give a token with --token or ORCHESTRATOR_TOKEN");
        }
        Self::Refused(said)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_names_every_fault() {
        let problem = json!({"title": "Invalid", "detail": "two faults", "errors": [
            {"field": "agent_id", "message": "is required"}, {"field": "priority", "message": "must be 1 to 10"}]});
        let failure = Failure::refused(422, &problem);
        assert_eq!(
            failure.to_string(),
            "Invalid: two faults (status 422)\n  agent_id is required\n  priority must be 1 to 10"
        );
        assert_eq!(failure.exit_code(), 4);
        let bare = Failure::refused(502, &Value::Null).to_string();
        assert_eq!(bare, "the API answered with status 502");
        assert!(
            Failure::refused(401, &Value::Null)
                .to_string()
                .contains("ORCHESTRATOR_TOKEN")
        );
    }
}
