//! How much an agent is to do at once.

use super::{Faults, Fields};

/// A change of how much an agent may do at once; at least one of the two is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    /// How many instances it is to have, 1 to 1,000.
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
            instances: fields.take_integer("instances", 1, 1_000),
            max_concurrent_sessions: fields.take_integer("max_concurrent_sessions", 1, 100_000),
        }
    }

    /// Whether it can be done: agents have one instance each.
    ///
    /// # Errors
    /// The fault.
    pub fn check(self) -> Result<(), Faults> {
        if self.instances.is_some_and(|instances| instances != 1) {
            return Err(Faults::one(
                "instances",
                "must be 1: an agent has one instance",
            ));
        }
        Ok(())
    }
}
