//! Why a message was not accepted: a reason for programs and a problem document for people.

use serde_json::{Value, json};

use crate::domain::Faults;

/// Faults that a problem document lists.
const MAX_FAULTS: usize = 50;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $slug:literal, $status:literal, $title:literal;)*) => {
        /// The `x-reason` of a dead letter; the names do not change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The value of the `x-reason` header, and of the metric's label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $slug,)* }
            }

            /// The HTTP status that the same request would have got.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

reasons! {
    /// The body is not JSON, or nests deeper than any command may.
    NotJson = "not_json", 400, "The message is not JSON";
    /// The body is larger than the limit.
    TooLarge = "too_large", 413, "The message is too large";
    /// The body says a version that this program does not know.
    UnknownVersion = "unknown_version", 422, "The version of the message is unknown";
    /// Neither the body nor the routing key names a known command.
    UnknownKind = "unknown_kind", 422, "The kind of the message is unknown";
    /// Fields are missing, wrong or unknown.
    Invalid = "invalid", 422, "The message is not valid";
    /// The agent is not registered.
    UnknownAgent = "unknown_agent", 404, "The agent is not registered";
    /// The task does not exist.
    UnknownTask = "unknown_task", 404, "The task does not exist";
    /// The identifier belongs to a task that was asked for differently.
    Conflict = "conflict", 409, "The task exists and was asked for differently";
    /// The workflow does not exist.
    UnknownWorkflow = "unknown_workflow", 404, "The workflow does not exist";
    /// What there is does not allow it: a workflow that has ended, a step that waits for no such decision.
    NotPossible = "not_possible", 409, "What there is does not allow this";
    /// A token is needed and is missing, wrong or not sufficient.
    Unauthorized = "unauthorized", 401, "The message is not authorised";
}

/// A message that is not accepted, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}", reason = .reason.as_str())]
pub struct Refusal {
    /// For programs.
    pub reason: Reason,
    /// For people.
    pub detail: String,
    /// Every fault, by field; empty when the fault is not in a field.
    pub faults: Faults,
}

impl Refusal {
    /// A refusal that is not about single fields.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            faults: Faults::default(),
        }
    }

    /// A refusal for faults in fields.
    #[must_use]
    pub fn of(reason: Reason, faults: Faults) -> Self {
        Self {
            reason,
            detail: faults.to_string().trim().to_owned(),
            faults,
        }
    }

    /// The problem document (RFC 9457) that goes into the dead letter and to `reply_to`.
    ///
    /// It travels in a header too, and headers must fit into one frame: at most 50 faults are listed, and long texts,
    /// which senders can cause, are cut.
    #[must_use]
    pub fn problem(&self) -> Value {
        let mut problem = json!({
            "type": format!("urn:agent-orchestrator:problem:{}", self.reason.as_str()),
            "title": self.reason.title(),
            "status": self.reason.status(),
            "detail": cut(&self.detail, 2_000),
            "reason": self.reason.as_str(),
        });
        if !self.faults.0.is_empty() {
            let listed = self.faults.0.iter().take(MAX_FAULTS);
            problem["errors"] = listed
                .map(|fault| json!({"field": cut(&fault.field, 100), "message": cut(&fault.message, 200)}))
                .collect();
        }
        problem
    }
}

fn cut(text: &str, max_chars: usize) -> &str {
    text.char_indices()
        .nth(max_chars)
        .map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}
