//! Where a run stands, step by step: what the ledger keeps of it beside its tasks.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::children::Children;
use super::definition::Definition;
use super::run::RunId;
use crate::domain::{TaskId, Timestamp};

macro_rules! step_statuses {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Where a step stands.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum StepStatus { $($(#[$doc])* $variant,)* }

        impl StepStatus {
            /// Every status.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name on the wire and in the ledger.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

step_statuses! {
    /// Its turn has not come.
    #[default]
    Pending = "pending",
    /// Agents are at it.
    Running = "running",
    /// A person is to decide.
    Waiting = "waiting",
    /// It has a result.
    Completed = "completed",
    /// It has none.
    Failed = "failed",
    /// It was not needed.
    Skipped = "skipped",
    /// Its run was cancelled before it ended.
    Cancelled = "cancelled",
}

impl StepStatus {
    /// Whether nothing more happens to it by itself.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Skipped | Self::Cancelled => true,
            Self::Pending | Self::Running | Self::Waiting => false,
        }
    }
}

impl fmt::Display for StepStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StepStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|status| status.as_str() == text)
            .ok_or(())
    }
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// For programs: that of a task's error, or one of the engine's own.
    pub code: String,
    /// For people.
    pub message: String,
}

impl StepError {
    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

/// A question to a person, and the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalState {
    /// The question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What is to be approved.
    pub data: Value,
    /// SHA-256 of what is to be approved, in hexadecimal: an approval must carry it.
    pub hash: String,
    /// After this time it counts as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// `approve` or `reject`, once somebody has decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// What they had to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
}

/// Where one step stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepState {
    /// Where.
    #[serde(rename = "s")]
    pub status: StepStatus,
    /// When its turn came.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Its tasks; none of an approval.
    #[serde(rename = "c", default, skip_serializing_if = "Children::is_empty")]
    pub children: Children,
    /// Which of its tasks were made anew when the run was resumed: in which resumption.
    #[serde(rename = "t", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tries: BTreeMap<usize, u32>,
    /// Why it failed.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
    /// What a person is to decide, or has decided.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalState>,
}

impl StepState {
    /// The task for `child`.
    #[must_use]
    pub fn task_id(&self, run_id: RunId, step: usize, child: usize) -> TaskId {
        let tried = self.tries.get(&child).copied().unwrap_or(0);
        TaskId::of_step(run_id, step, child, tried)
    }

    pub(super) fn end(&mut self, status: StepStatus, now: Timestamp) {
        self.status = status;
        self.ended_at = Some(now);
    }

    pub(super) fn fail(&mut self, error: StepError, now: Timestamp) {
        self.error.get_or_insert(error);
        self.end(StepStatus::Failed, now);
    }
}

/// Where a run stands: one entry for each step of its definition, in the same order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// The steps.
    pub steps: Vec<StepState>,
    /// How often the run was resumed.
    #[serde(default)]
    pub resumed: u32,
}

impl RunState {
    /// The state of a run of `definition` before anything has happened.
    #[must_use]
    pub fn new(definition: &Definition) -> Self {
        Self {
            steps: vec![StepState::default(); definition.steps.len()],
            resumed: 0,
        }
    }

    /// Whether a task is under way, or being cancelled.
    pub(super) fn has_tasks_in_flight(&self) -> bool {
        self.steps
            .iter()
            .any(|step| step.children.tally().in_flight > 0)
    }
}
