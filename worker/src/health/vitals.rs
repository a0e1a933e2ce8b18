//! The loops without which a worker is not alive, and how long each may go without a sign of life.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Pulse;
use crate::presence::Standing;

/// For loops whose every turn ends within some 40 s, however slow the ledger is.
const LIMIT: Duration = Duration::from_secs(60);
/// For the loop that puts back what lost workers ran, a turn of which can be long.
const RECOVERY_LIMIT: Duration = Duration::from_secs(300);

/// What is known of a worker's loops.
#[derive(Debug)]
pub(crate) struct Vitals {
    /// Speaks to the ledger for every task.
    pub(crate) dispatcher: Pulse,
    /// Gives the signs of life that keep the worker's tasks its own.
    pub(crate) presence: Pulse,
    /// Finds what nobody announced.
    pub(crate) sweep: Pulse,
    /// Looks at the other workers.
    pub(crate) watch: Pulse,
    /// Keeps the subscriptions to the broker.
    pub(crate) subscription: Pulse,
    /// The worker's standing, once it has one.
    pub(crate) standing: OnceLock<Standing>,
}

impl Vitals {
    /// Of a worker that has not begun.
    pub(crate) fn new() -> Self {
        Self {
            dispatcher: Pulse::new("dispatcher", LIMIT),
            presence: Pulse::new("presence", LIMIT),
            sweep: Pulse::new("sweep", LIMIT),
            watch: Pulse::new("watch", RECOVERY_LIMIT),
            subscription: Pulse::new("subscription", LIMIT),
            standing: OnceLock::new(),
        }
    }

    fn all(&self) -> [&Pulse; 5] {
        [
            &self.dispatcher,
            &self.presence,
            &self.sweep,
            &self.watch,
            &self.subscription,
        ]
    }

    /// Whether every loop turns.
    pub(super) fn are_well(&self) -> bool {
        !self.all().into_iter().any(Pulse::hangs)
    }

    /// The answer of the liveness probe.
    pub(super) fn report(&self) -> Value {
        let loops: Map<String, Value> = self.all().into_iter().map(report_of).collect();
        let status = if self.are_well() { "alive" } else { "hung" };
        json!({"status": status, "loops": loops})
    }
}

fn report_of(pulse: &Pulse) -> (String, Value) {
    let report = json!({
        "status": if pulse.hangs() { "hung" } else { "alive" },
        "age_seconds": pulse.age().map(|age| age.as_secs_f64()),
        "limit_seconds": pulse.limit().as_secs(),
    });
    (pulse.name().to_owned(), report)
}
