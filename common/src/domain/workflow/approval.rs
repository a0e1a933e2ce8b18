//! What a person decides: once, and about what they saw.

use serde_json::Value;

use super::definition::Definition;
use super::run::RunStatus;
use super::state::{RunState, StepError, StepStatus};
use crate::domain::{Faults, Fields, Timestamp};

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The run goes on.
    Approve,
    /// The step fails.
    Reject,
}

impl Verdict {
    /// The name on the wire and in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "approve" => Some(Self::Approve),
            "reject" => Some(Self::Reject),
            _ => None,
        }
    }
}

/// What somebody decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Yes or no.
    pub verdict: Verdict,
    /// The hash of what they saw.
    pub hash: String,
    /// What they have to say: at most 2,000 characters.
    pub comment: Option<String>,
}

impl Decision {
    /// Reads a decision out of the fields of a larger body.
    pub fn take(fields: &mut Fields) -> Option<Self> {
        fields.require("decision");
        fields.require("hash");
        let verdict = fields.take_parsed("decision", "must be approve or reject", Verdict::parse);
        let hash = fields.take_text("hash", 1, 100);
        let comment = fields.take_text("comment", 1, 2_000);
        Some(Self {
            verdict: verdict?,
            hash: hash?,
            comment,
        })
    }

    /// Reads a decision.
    ///
    /// # Errors
    /// Every fault.
    pub fn read(body: Value) -> Result<Self, Faults> {
        let mut fields = Fields::of(body)?;
        let decision = Self::take(&mut fields);
        fields.finish()?;
        decision.ok_or_else(|| Faults::one("decision", "is required"))
    }
}

/// Why a decision was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDecided {
    /// The run has no such step.
    #[error("the workflow has no such step")]
    NoSuchStep,
    /// The step waits for nobody, or somebody has decided.
    #[error("the step is {0} and waits for no decision")]
    NotWaiting(StepStatus),
    /// What is asked now is not what they saw.
    #[error("what is to be approved is not what this hash was given for; read the workflow again")]
    Stale,
}

/// Takes a decision in; the run is to be advanced then.
///
/// # Errors
/// When there is nothing to decide, or it was decided about something else. Nothing has been changed then.
pub fn decide(
    status: RunStatus,
    state: &mut RunState,
    definition: &Definition,
    step_id: &str,
    decision: &Decision,
    by: &str,
    now: Timestamp,
) -> Result<(), NotDecided> {
    let place = definition.place(step_id).ok_or(NotDecided::NoSuchStep)?;
    let step = state.steps.get_mut(place).ok_or(NotDecided::NoSuchStep)?;
    if step.status != StepStatus::Waiting || status != RunStatus::Running {
        return Err(NotDecided::NotWaiting(step.status));
    }
    let Some(asked) = &mut step.approval else {
        return Err(NotDecided::NotWaiting(step.status));
    };
    if asked.hash != decision.hash {
        return Err(NotDecided::Stale);
    }
    asked.decision = Some(decision.verdict.as_str().to_owned());
    asked.comment.clone_from(&decision.comment);
    asked.decided_by = Some(by.to_owned());
    match decision.verdict {
        Verdict::Approve => step.end(StepStatus::Completed, now),
        Verdict::Reject => step.fail(StepError::new("rejected", format!("{by} rejected it")), now),
    }
    Ok(())
}
