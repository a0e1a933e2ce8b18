//! The spans of a task, each the parent of the next: the request that submits it, its way to the broker and into the ledger,
//! its attempts.
//!
//! Their names and attributes are all here: those of OpenTelemetry's conventions where there are some, else our own.

use std::sync::OnceLock;

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use super::traceparent;
use crate::domain::{Claim, NewTask, Outcome};
use crate::ledger::Ingested;

const TASK_ID: &str = "orchestrator.task_id";
const TASK_TYPE: &str = "orchestrator.task_type";
const AGENT_ID: &str = "orchestrator.agent_id";
const ATTEMPT: &str = "orchestrator.attempt";
const OUTCOME: &str = "orchestrator.outcome";
const REQUEST_ID: &str = "orchestrator.request_id";
const ERROR_TYPE: &str = "error.type";

/// There while traces are exported.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Records spans from now on.
pub(super) fn start(service: &'static str, provider: &SdkTracerProvider) {
    // Spans of a process that has started them before go on as they are.
    let _ = TRACER.set(provider.tracer(service));
}

/// A part of a trace, from its making until it is dropped. Costs nothing while traces are not exported.
#[derive(Debug, Default)]
#[must_use = "it ends when dropped"]
pub struct Span(Option<Box<opentelemetry_sdk::trace::Span>>);

impl Span {
    /// A request with this method, for whoever sent `traceparent` with it.
    pub fn of_request(method: &'static str, traceparent: Option<&str>) -> Self {
        let attributes = || vec![KeyValue::new("http.request.method", method)];
        Self::start(method, SpanKind::Server, traceparent, attributes)
    }

    /// The answer to a request, by its route.
    pub fn answered(&mut self, method: &str, route: &str, status: u16, request_id: &str) {
        let Some(span) = &mut self.0 else { return };
        span.update_name(format!("{method} {route}"));
        span.set_attribute(KeyValue::new("http.route", route.to_owned()));
        span.set_attribute(KeyValue::new(
            "http.response.status_code",
            i64::from(status),
        ));
        span.set_attribute(KeyValue::new(REQUEST_ID, request_id.to_owned()));
        if status >= 500 {
            span.set_attribute(KeyValue::new(ERROR_TYPE, status.to_string()));
            span.set_status(Status::error(""));
        }
    }

    /// A task's way into the ledger through a worker, from a message or from a caller in the same process. The task goes
    /// on in it.
    pub fn of_ingest(task: &mut NewTask, is_message: bool) -> Self {
        let kind = if is_message {
            SpanKind::Consumer
        } else {
            SpanKind::Internal
        };
        let span = Self::start("ingest", kind, task.traceparent.as_deref(), || {
            let mut attributes = of_task(task);
            if is_message {
                attributes.push(KeyValue::new("messaging.system", "rabbitmq"));
            }
            attributes
        });
        if let Some(traceparent) = span.traceparent() {
            task.traceparent = Some(traceparent);
        }
        span
    }

    /// A task's way from a request to the broker. The task goes on in it.
    pub fn of_publish(task: &mut NewTask) -> Self {
        let parent = task.traceparent.as_deref();
        let span = Self::start("publish", SpanKind::Producer, parent, || {
            let mut attributes = of_task(task);
            attributes.push(KeyValue::new("messaging.system", "rabbitmq"));
            attributes
        });
        if let Some(traceparent) = span.traceparent() {
            task.traceparent = Some(traceparent);
        }
        span
    }

    /// Whether the broker confirmed a task.
    pub fn published(&mut self, confirmed: bool) {
        let Some(span) = &mut self.0 else { return };
        let outcome = if confirmed {
            "confirmed"
        } else {
            "not_confirmed"
        };
        span.set_attribute(KeyValue::new(OUTCOME, outcome));
        if !confirmed {
            span.set_status(Status::error(""));
        }
    }

    /// What the ledger said to a task; `None` when it did not take it.
    pub fn ingested(&mut self, outcome: Option<&Ingested>) {
        let Some(span) = &mut self.0 else { return };
        span.set_attribute(KeyValue::new(
            OUTCOME,
            outcome.map_or("refused", Ingested::as_str),
        ));
        if outcome.is_none() {
            span.set_status(Status::error(""));
        }
    }

    /// An attempt: the call of the agent.
    pub fn of_attempt(task: &NewTask, claim: &Claim) -> Self {
        let parent = task.traceparent.as_deref();
        Self::start("attempt", SpanKind::Client, parent, || {
            let mut attributes = of_task(task);
            attributes.push(KeyValue::new(ATTEMPT, i64::from(claim.attempt)));
            attributes
        })
    }

    /// What an attempt came to.
    pub fn ended(&mut self, outcome: &Outcome) {
        let Some(span) = &mut self.0 else { return };
        let (name, error) = match outcome {
            Outcome::Completed { .. } => ("completed", None),
            Outcome::Retryable { error, .. } => ("retryable", Some(error)),
            Outcome::Failed { error } => ("failed", Some(error)),
            Outcome::TimedOut { error } => ("timed_out", Some(error)),
            Outcome::Snoozed { .. } => ("snoozed", None),
            Outcome::HandedBack => ("handed_back", None),
            Outcome::WorkerLost => ("worker_lost", None),
            Outcome::Cancelled => ("cancelled", None),
        };
        span.set_attribute(KeyValue::new(OUTCOME, name));
        if let Some(error) = error {
            span.set_attribute(KeyValue::new(ERROR_TYPE, error.code.as_str()));
            span.set_status(Status::error(error.message.clone()));
        }
    }

    /// W3C trace context for what comes after it in its trace; `None` when nothing is recorded.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        let span = self.0.as_ref()?;
        Some(traceparent::write(span.span_context()))
    }

    fn start(
        name: &'static str,
        kind: SpanKind,
        traceparent: Option<&str>,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> Self {
        let Some(tracer) = TRACER.get() else {
            return Self(None);
        };
        let parent = match traceparent.and_then(traceparent::read) {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        let builder = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_attributes(attributes());
        Self(Some(Box::new(tracer.build_with_context(builder, &parent))))
    }
}

fn of_task(task: &NewTask) -> Vec<KeyValue> {
    vec![
        KeyValue::new(TASK_ID, task.task_id.to_string()),
        KeyValue::new(TASK_TYPE, task.task_type.clone()),
        KeyValue::new(AGENT_ID, task.agent_id.as_str().to_owned()),
    ]
}
