//! The collectors behind the metrics, with their labels and buckets.

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, core::Collector,
};

use super::names;

/// Buckets for what should take milliseconds, in seconds.
const QUICK: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Buckets for what an agent or a language model takes, in seconds.
const SLOW: &[f64] = &[
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0,
];
/// Buckets for the size of a batch.
const BATCH: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0,
];

#[derive(Debug)]
pub(super) struct Collectors {
    pub(super) active_agents: IntGauge,
    pub(super) sessions: IntCounter,
    pub(super) session_duration: Histogram,
    pub(super) success_rate: Gauge,
    pub(super) requests: IntCounterVec,
    pub(super) errors: IntCounterVec,
    pub(super) request_duration: HistogramVec,
    pub(super) tasks: IntCounterVec,
    pub(super) queue_wait: Histogram,
    pub(super) runnable: IntGauge,
    pub(super) running: IntGauge,
    pub(super) ingest_batch: Histogram,
    pub(super) claim_duration: Histogram,
    pub(super) worker_capacity: IntGauge,
    pub(super) worker_in_flight: IntGauge,
    pub(super) retries: IntCounterVec,
    pub(super) ingested: IntCounterVec,
    pub(super) recorded_batch: Histogram,
    pub(super) redeliveries: IntCounter,
    pub(super) announcements_dropped: IntCounter,
    pub(super) dead_letters: IntCounterVec,
    pub(super) callbacks: IntCounterVec,
    pub(super) audit_forwarded: IntCounter,
    pub(super) deleted: IntCounterVec,
    pub(super) brain_call: Histogram,
    pub(super) workflows: IntCounterVec,
    pub(super) workflow_steps: IntCounter,
    pub(super) workflow_batch: Histogram,
    pub(super) workflow_advance: Histogram,
    pub(super) instances: IntGaugeVec,
    pub(super) open_circuits: IntGauge,
    pub(super) circuit_changes: IntCounterVec,
    pub(super) probes: IntCounterVec,
    pub(super) snoozes: IntCounterVec,
}

impl Collectors {
    /// Makes every collector and registers it, together with those of the process itself.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let to = Registrar { registry };
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self {
            active_agents: to.gauge(names::ACTIVE_AGENTS, "Agents that take tasks now")?,
            sessions: to.counter(names::TOTAL_SESSIONS, "Sessions started by this process")?,
            session_duration: to.histogram(
                names::SESSION_DURATION_SECONDS,
                "How long a session took",
                SLOW,
            )?,
            success_rate: to.keep(Gauge::new(
                names::TASK_SUCCESS_RATE,
                "Completed tasks among those that completed or failed, 0 to 1",
            )?)?,
            requests: to.counters(
                names::REQUESTS_TOTAL,
                "Answered HTTP requests",
                &["method", "endpoint", "status"],
            )?,
            errors: to.counters(names::ERRORS_TOTAL, "Errors by type", &["type"])?,
            request_duration: to.keep(HistogramVec::new(
                HistogramOpts::new(
                    names::REQUEST_DURATION_SECONDS,
                    "How long an HTTP request took",
                )
                .buckets(QUICK.to_vec()),
                &["method", "endpoint"],
            )?)?,
            tasks: to.counters(
                names::TASKS_TOTAL,
                "Tasks that reached a status",
                &["status"],
            )?,
            queue_wait: to.histogram(
                names::QUEUE_WAIT_SECONDS,
                "How long a task waited for its first attempt",
                SLOW,
            )?,
            runnable: to.gauge(names::RUNNABLE_TASKS, "Tasks that wait for a slot")?,
            running: to.gauge(names::RUNNING_TASKS, "Tasks that run")?,
            ingest_batch: to.histogram(
                names::INGEST_BATCH_SIZE,
                "Tasks written in one transaction",
                BATCH,
            )?,
            claim_duration: to.histogram(
                names::CLAIM_DURATION_SECONDS,
                "How long one transaction of a worker took",
                QUICK,
            )?,
            worker_capacity: to.gauge(
                names::WORKER_CAPACITY,
                "Tasks that this worker may run at once",
            )?,
            worker_in_flight: to
                .gauge(names::WORKER_IN_FLIGHT, "Tasks that this worker runs now")?,
            retries: to.counters(
                names::RETRIES_TOTAL,
                "Attempts that will be repeated",
                &["reason"],
            )?,
            ingested: to.counters(
                names::INGESTED_TOTAL,
                "Tasks brought to the ledger, by what became of them",
                &["outcome"],
            )?,
            recorded_batch: to.histogram(
                names::RECORDED_BATCH_SIZE,
                "Claims settled in one transaction",
                BATCH,
            )?,
            redeliveries: to.counter(
                names::REDELIVERIES_TOTAL,
                "Commands that the broker brought again",
            )?,
            announcements_dropped: to.counter(
                names::ANNOUNCEMENTS_DROPPED_TOTAL,
                "Announcements that were left out",
            )?,
            dead_letters: to.counters(
                names::DEAD_LETTERS_TOTAL,
                "Messages put aside in the dead-letter queue",
                &["reason"],
            )?,
            callbacks: to.counters(
                names::CALLBACKS_TOTAL,
                "Attempts at callbacks, by what came of them",
                &["outcome"],
            )?,
            audit_forwarded: to.counter(
                names::AUDIT_FORWARDED_TOTAL,
                "Entries of the audit log that were forwarded",
            )?,
            deleted: to.counters(
                names::RETENTION_DELETED_TOTAL,
                "What ended long ago and was deleted, by kind",
                &["kind"],
            )?,
            brain_call: to.histogram(
                names::BRAIN_CALL_DURATION_SECONDS,
                "How long a call of an agent or the Brain Factory took",
                SLOW,
            )?,
            workflows: to.counters(
                names::WORKFLOWS_TOTAL,
                "Workflows that reached a status",
                &["status"],
            )?,
            workflow_steps: to
                .counter(names::WORKFLOW_STEPS_TOTAL, "Steps of workflows that ended")?,
            workflow_batch: to.histogram(
                names::WORKFLOW_BATCH_SIZE,
                "Workflows advanced in one transaction",
                BATCH,
            )?,
            workflow_advance: to.histogram(
                names::WORKFLOW_ADVANCE_SECONDS,
                "How long advancing workflows took, a transaction",
                QUICK,
            )?,
            instances: to.keep(IntGaugeVec::new(
                Opts::new(names::INSTANCES, "Instances of agents by their state"),
                &["state"],
            )?)?,
            open_circuits: to.gauge(
                names::OPEN_CIRCUITS,
                "Instances whose circuit is not closed",
            )?,
            circuit_changes: to.counters(
                names::CIRCUIT_CHANGES_TOTAL,
                "Circuits that came to stand elsewhere, by where",
                &["to"],
            )?,
            probes: to.counters(
                names::PROBES_TOTAL,
                "Probes of instances, by what they found",
                &["outcome"],
            )?,
            snoozes: to.counters(
                names::SNOOZES_TOTAL,
                "Tasks that could not be tried now, by reason",
                &["reason"],
            )?,
        })
    }
}

struct Registrar<'a> {
    registry: &'a Registry,
}

impl Registrar<'_> {
    fn keep<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, prometheus::Error> {
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.keep(IntGauge::new(name, help)?)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.keep(IntCounter::new(name, help)?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, prometheus::Error> {
        self.keep(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
        )?)
    }
}
