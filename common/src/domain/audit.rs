//! Who did what: the entries of the audit log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Who asks for a change, and in which request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The subject of the caller's token, or `anonymous` when authentication is off.
    pub actor: String,
    /// Finds the request in the logs.
    pub request_id: Option<String>,
}

/// What a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// The change was made.
    Done,
    /// It was refused, and nothing was changed.
    Refused,
}

impl AuditOutcome {
    /// Every outcome.
    pub const ALL: [Self; 2] = [Self::Done, Self::Refused];

    /// The name on the wire and in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for AuditOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AuditOutcome {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .ok_or(())
    }
}

/// What is written down of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who, in which request.
    pub origin: Origin,
    /// What was done, such as `task.cancel`; of a refused request its method and the template of its address.
    pub action: String,
    /// The agent, task or dead letter; of a refused request its path.
    pub resource: String,
    /// What it came to.
    pub outcome: AuditOutcome,
    /// What else there is to say, such as why it was refused.
    pub detail: Option<String>,
}
