//! One execution of a workflow.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::definition::Definition;
use super::request::DefinitionName;
use super::state::RunState;
use crate::domain::identifiers::uuid_identifier;
use crate::domain::{TaskId, Timestamp};

uuid_identifier!(
    /// One execution of a workflow, resumptions included.
    RunId
);

impl RunId {
    /// The id that every request with the same caller and `Idempotency-Key` gets (UUIDv5 of both).
    #[must_use]
    pub fn from_idempotency_key(caller: &str, key: &str) -> Self {
        const NAMESPACE: Uuid = Uuid::from_u128(0x1d0c_55a1_94e6_5a4e_8a4f_0c27_7e1f_33b9);
        let name = format!("{}:{caller}:{key}", caller.len());
        Self(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }
}

impl TaskId {
    /// The task for a `child` of a step of a run; `tried` tells those apart that a resumption made anew. Always the same, so
    /// that whatever is repeated makes no second task.
    #[must_use]
    pub fn of_step(run_id: RunId, step: usize, child: usize, tried: u32) -> Self {
        let name = format!("{step}/{child}/{tried}");
        Self::from(Uuid::new_v5(&run_id.uuid(), name.as_bytes()))
    }
}

macro_rules! run_statuses {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Where a run stands. The last three are final; only a resumption takes a run out of `failed` again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum RunStatus { $($(#[$doc])* $variant,)* }

        impl RunStatus {
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

run_statuses! {
    /// Its steps are carried out.
    Running = "running",
    /// A step failed: nothing more is started, and what runs ends.
    Failing = "failing",
    /// Somebody cancelled it: what runs is being dropped.
    Cancelling = "cancelling",
    /// Every step has ended, and none that it needed failed.
    Completed = "completed",
    /// A step that it needed failed.
    Failed = "failed",
    /// Somebody cancelled it.
    Cancelled = "cancelled",
}

impl RunStatus {
    /// Whether it is final.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Cancelled => true,
            Self::Running | Self::Failing | Self::Cancelling => false,
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RunStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|status| status.as_str() == text)
            .ok_or(())
    }
}

/// A run that is to be started; its definition is valid.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its identifier.
    pub run_id: RunId,
    /// The stored definition that it follows, and its version.
    pub named: Option<(DefinitionName, u32)>,
    /// The definition as JSON.
    pub body: Value,
    /// The same, read.
    pub definition: Definition,
    /// Its input.
    pub input: Value,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// SHA-256 of what was asked for, to tell a repeated request from a different one with the same key.
    pub fingerprint: Option<[u8; 32]>,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
}

/// What a list says of a run.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// Its identifier.
    pub run_id: RunId,
    /// The stored definition that it follows, and its version.
    pub named: Option<(DefinitionName, u32)>,
    /// Where it stands.
    pub status: RunStatus,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A run as the ledger knows it.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// What a list says of it.
    pub summary: RunSummary,
    /// What it follows.
    pub definition: Definition,
    /// Its input.
    pub input: Value,
    /// Where its steps stand.
    pub state: RunState,
    /// What it came to.
    pub output: Option<Value>,
}
