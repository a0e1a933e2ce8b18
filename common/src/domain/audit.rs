//! Who did what: the entries of the audit log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Timestamp, WorkerId};

/// The most characters of a name or a request id in the audit log.
const MAX_CHARS: usize = 255;

/// Who asks for a change, and in which request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The subject of the caller's token, or `anonymous` when authentication is off; `worker:` and its id when a worker
    /// acts by itself.
    pub actor: String,
    /// Finds the request in the logs.
    pub request_id: Option<String>,
}

impl Origin {
    /// Somebody whose name comes from outside: cut to 255 characters, and without control characters, which databases do
    /// not store all.
    #[must_use]
    pub fn new(actor: &str, request_id: Option<&str>) -> Self {
        Self {
            actor: written(actor),
            request_id: request_id.map(written),
        }
    }

    /// A worker that acts by itself.
    #[must_use]
    pub fn worker(worker_id: WorkerId) -> Self {
        Self {
            actor: format!("worker:{worker_id}"),
            request_id: None,
        }
    }
}

fn written(text: &str) -> String {
    let storable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(MAX_CHARS).map(storable).collect()
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
    /// The agent, task, worker or dead letter; of a refused request its path.
    pub resource: String,
    /// What it came to.
    pub outcome: AuditOutcome,
    /// What else there is to say, such as why it was refused.
    pub detail: Option<String>,
}
