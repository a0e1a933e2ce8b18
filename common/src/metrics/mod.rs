//! The metrics of a process, each behind a typed method so that no label can grow without bound.
//!
//! Every `Metrics` has its own registry: two applications in one process (or two tests) do not share counters.

mod collectors;
pub mod names;

use std::time::Duration;

use prometheus::{Registry, TextEncoder};

use crate::domain::workflow::RunStatus;
use crate::domain::{
    CallbackOutcome, CircuitState, ErrorCode, Expiring, InstanceState, Snooze, TaskStatus,
};
use crate::ledger::{Found, Ingested};
use crate::messaging::Reason;
use collectors::Collectors;

/// What [`Metrics::render`] says when collection is off.
const TURNED_OFF: &str = "# metrics collection is off (AGENT_METRICS_ENABLED=false)\n";

/// Why the metrics could not be set up: two of them have the same name, or one has a bad name.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be set up: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    on: Option<Collecting>,
}

#[derive(Debug)]
struct Collecting {
    registry: Registry,
    all: Collectors,
}

impl Metrics {
    /// Metrics that are collected when `enabled`, and otherwise cost nothing and say that they are off.
    ///
    /// # Errors
    /// Only when two metrics were given the same name.
    pub fn new(enabled: bool) -> Result<Self, MetricsError> {
        if !enabled {
            return Ok(Self { on: None });
        }
        let registry = Registry::new();
        let all = Collectors::register(&registry)?;
        // There from the start, so that the first dead letter is an increase that alerts can see.
        for reason in Reason::ALL {
            all.dead_letters.with_label_values(&[reason.as_str()]);
        }
        Ok(Self {
            on: Some(Collecting { registry, all }),
        })
    }

    /// Everything in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let Some(on) = &self.on else {
            return TURNED_OFF.to_owned();
        };
        let mut text = String::with_capacity(16 * 1024);
        if let Err(error) = TextEncoder::new().encode_utf8(&on.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be rendered");
        }
        text
    }

    fn with(&self, record: impl FnOnce(&Collectors)) {
        if let Some(on) = &self.on {
            record(&on.all);
        }
    }

    /// One answered HTTP request. `endpoint` is a route's template, never a path that a caller wrote.
    pub fn request_answered(&self, method: &str, endpoint: &str, status: u16, took: Duration) {
        self.with(|all| {
            let mut digits = [0; 5];
            let status = decimal(status, &mut digits);
            all.requests
                .with_label_values(&[method, endpoint, status])
                .inc();
            all.request_duration
                .with_label_values(&[method, endpoint])
                .observe(took.as_secs_f64());
        });
    }

    /// One error. `kind` is one of a fixed set of names.
    pub fn error(&self, kind: &'static str) {
        self.with(|all| all.errors.with_label_values(&[kind]).inc());
    }

    /// One task reached `status`.
    pub fn task_reached(&self, status: TaskStatus) {
        self.with(|all| all.tasks.with_label_values(&[status.as_str()]).inc());
    }

    /// One session (attempt) started.
    pub fn session_started(&self) {
        self.with(|all| all.sessions.inc());
    }

    /// One session ended after `took`.
    pub fn session_ended(&self, took: Duration) {
        self.with(|all| all.session_duration.observe(took.as_secs_f64()));
    }

    /// A task's first attempt started, `waited` after it could have.
    pub fn queue_waited(&self, waited: Duration) {
        self.with(|all| all.queue_wait.observe(waited.as_secs_f64()));
    }

    /// One ingest transaction wrote `tasks` tasks.
    pub fn ingested(&self, tasks: usize) {
        self.with(|all| all.ingest_batch.observe(as_float(tasks)));
    }

    /// One transaction of a worker took this long.
    pub fn claimed(&self, took: Duration) {
        self.with(|all| all.claim_duration.observe(took.as_secs_f64()));
    }

    /// An attempt that failed for `reason` will be repeated.
    pub fn retried(&self, reason: ErrorCode) {
        self.with(|all| all.retries.with_label_values(&[reason.as_str()]).inc());
    }

    /// One task was brought to the ledger.
    pub fn ingestion(&self, outcome: &Ingested) {
        self.with(|all| all.ingested.with_label_values(&[outcome.as_str()]).inc());
    }

    /// One transaction settled `claims` claims.
    pub fn recorded(&self, claims: usize) {
        self.with(|all| all.recorded_batch.observe(as_float(claims)));
    }

    /// The broker brought a command that somebody may have had before.
    pub fn redelivered(&self) {
        self.with(|all| all.redeliveries.inc());
    }

    /// One announcement was left out.
    pub fn announcement_dropped(&self) {
        self.with(|all| all.announcements_dropped.inc());
    }

    /// One message was put aside in the dead-letter queue.
    pub fn dead_lettered(&self, reason: Reason) {
        self.with(|all| all.dead_letters.with_label_values(&[reason.as_str()]).inc());
    }

    /// One attempt at a callback ended.
    pub fn callback(&self, outcome: &CallbackOutcome) {
        let outcome = match outcome {
            CallbackOutcome::Delivered => "delivered",
            CallbackOutcome::Gone(_) => "gone",
            CallbackOutcome::Again(..) => "failed",
            CallbackOutcome::Abandoned(_) => "abandoned",
            CallbackOutcome::HandedBack => "handed_back",
        };
        self.with(|all| all.callbacks.with_label_values(&[outcome]).inc());
    }

    /// So many entries of the audit log were forwarded.
    pub fn audit_forwarded(&self, entries: usize) {
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        self.with(|all| all.audit_forwarded.inc_by(entries));
    }

    /// So many that ended long ago were deleted.
    pub fn deleted(&self, what: Expiring, number: u64) {
        self.with(|all| {
            all.deleted
                .with_label_values(&[what.as_str()])
                .inc_by(number)
        });
    }

    /// One call of an agent or of the Brain Factory took this long.
    pub fn brain_called(&self, took: Duration) {
        self.with(|all| all.brain_call.observe(took.as_secs_f64()));
    }

    /// One transaction advanced `runs` workflows and took this long.
    pub fn workflows_advanced(&self, runs: usize, took: Duration) {
        self.with(|all| {
            all.workflow_batch.observe(as_float(runs));
            all.workflow_advance.observe(took.as_secs_f64());
        });
    }

    /// One workflow reached `status`.
    pub fn workflow_reached(&self, status: RunStatus) {
        self.with(|all| all.workflows.with_label_values(&[status.as_str()]).inc());
    }

    /// So many steps of a workflow ended.
    pub fn workflow_steps_ended(&self, steps: usize) {
        self.with(|all| all.workflow_steps.inc_by(steps as u64));
    }

    /// One instance was asked how it is.
    pub fn probed(&self, found: &Found) {
        let outcome = match found {
            Found::Well(_) => "well",
            Found::Failed => "failed",
            Found::Lost => "lost",
        };
        self.with(|all| all.probes.with_label_values(&[outcome]).inc());
    }

    /// The circuit of an instance came to stand at `circuit`.
    pub fn circuit_changed(&self, circuit: CircuitState) {
        self.with(|all| {
            all.circuit_changes
                .with_label_values(&[circuit.as_str()])
                .inc();
        });
    }

    /// A task could not be tried now.
    pub fn snoozed(&self, why: Snooze) {
        let reason = match why {
            Snooze::Busy => "busy",
            Snooze::NoBrain => "no_brain",
            Snooze::StillRunning => "still_running",
        };
        self.with(|all| all.snoozes.with_label_values(&[reason]).inc());
    }

    /// How many instances of the cluster are observed to be `state`.
    pub fn set_instances(&self, state: InstanceState, instances: u64) {
        self.with(|all| {
            all.instances
                .with_label_values(&[state.as_str()])
                .set(gauge(instances));
        });
    }

    /// How many instances of the cluster have a circuit that is not closed.
    pub fn set_open_circuits(&self, instances: u64) {
        self.with(|all| all.open_circuits.set(gauge(instances)));
    }

    /// How many agents of the cluster take tasks.
    pub fn set_active_agents(&self, agents: u64) {
        self.with(|all| all.active_agents.set(gauge(agents)));
    }

    /// How many tasks of the cluster wait for a slot.
    pub fn set_runnable_tasks(&self, tasks: u64) {
        self.with(|all| all.runnable.set(gauge(tasks)));
    }

    /// How many tasks of the cluster run.
    pub fn set_running_tasks(&self, tasks: u64) {
        self.with(|all| all.running.set(gauge(tasks)));
    }

    /// The share of completed tasks among those that completed or failed, 0.0–1.0.
    pub fn set_task_success_rate(&self, rate: f64) {
        self.with(|all| all.success_rate.set(rate));
    }

    /// How many tasks this worker may run at once.
    pub fn set_worker_capacity(&self, tasks: u64) {
        self.with(|all| all.worker_capacity.set(gauge(tasks)));
    }

    /// How many tasks this worker runs now.
    pub fn set_worker_in_flight(&self, tasks: u64) {
        self.with(|all| all.worker_in_flight.set(gauge(tasks)));
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn as_float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Writes `number` into `digits` without allocating; a request is too frequent for `to_string`.
fn decimal(mut number: u16, digits: &mut [u8; 5]) -> &str {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    str::from_utf8(&digits[start..]).unwrap_or("0")
}

#[cfg(test)]
mod tests;
