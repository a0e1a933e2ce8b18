//! How much an agent is to do at once.

use super::{Fields, MAX_INSTANCES};

/// A change of how much an agent may do at once; at least one of the two is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    /// How many instances the Brain Factory is to make of it, 1 to 100.
    pub instances: Option<u32>,
    /// Its own limit of concurrent sessions, 1 to 100,000.
    pub max_concurrent_sessions: Option<u32>,
}

impl Scaling {
    /// Reads the two fields, and notes what is wrong with them.
    pub fn take(fields: &mut Fields) -> Self {
        if !fields.has("instances") && !fields.has("max_concurrent_sessions") {
            fields.fault(
                "instances",
                "is required, unless max_concurrent_sessions is given",
            );
        }
        Self {
            instances: fields.take_integer("instances", 1, MAX_INSTANCES),
            max_concurrent_sessions: fields.take_integer("max_concurrent_sessions", 1, 100_000),
        }
    }
}
