//! From a message to a command: everything wrong with it is found and named, and no bytes can make this panic.

use std::sync::Arc;

use lapin::BasicProperties;
use serde_json::{Map, Value};

use super::command::{Command, Kind, Received, VERSION};
use super::envelope::{Envelope, sent_at, task_id_from};
use super::outgoing::text_header;
use super::refusal::{Reason, Refusal};
use super::workflow_commands::{approve_step, cancel_workflow, start_workflow};
use crate::config::Secret;
use crate::domain::workflow::RunId;
use crate::domain::{
    AgentId, Faults, Fields, MAX_NESTING, NewTask, Priority, Registration, Scaling, Submission,
    SubmissionDefaults, TaskId, Timestamp, nesting_of,
};

/// The largest body that is accepted when nothing else is configured, in bytes.
pub const DEFAULT_MAX_BODY_BYTES: usize = 1_048_576;

/// What a command may be and what it gets when it does not say.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// What a task gets that does not say otherwise.
    pub defaults: SubmissionDefaults,
    /// The largest body, in bytes.
    pub max_body_bytes: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            defaults: SubmissionDefaults::default(),
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
        }
    }
}

impl Decoder {
    /// Reads a message; `now` is when it was received.
    ///
    /// # Errors
    /// Why it is to be dead-lettered.
    pub fn decode(
        &self,
        routing_key: &str,
        properties: &BasicProperties,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Received, Refusal> {
        let invalid = |faults| Refusal::of(Reason::Invalid, faults);
        if routing_key == Kind::ExecuteBatch.as_str() {
            // Read in its own way, task by task.
            return self.received_batch(properties, body, now);
        }
        let mut map = self.object(body)?;
        let version = map.shift_remove("version").unwrap_or_default();
        if !version.is_null() && version.as_u64() != Some(VERSION) {
            let detail = format!("version must be {VERSION} or be left out");
            return Err(Refusal::new(Reason::UnknownVersion, detail));
        }
        let kind = kind_of(routing_key, &map.shift_remove("kind").unwrap_or_default())?;
        let envelope = Envelope::of(properties).map_err(invalid)?;
        let command = match kind {
            Kind::Execute => {
                let message_id = properties.message_id().as_ref().map(|id| id.as_str());
                let id = || task_id_from(message_id, body);
                self.execute(map, &envelope, sent_at(properties), id, now)
                    .map(|task| Command::Execute(Box::new(task)))
            }
            Kind::ExecuteBatch => return self.received_batch(properties, body, now),
            Kind::Register => Registration::parse(Value::Object(map))
                .map(|registration| Command::Register(Box::new(registration))),
            Kind::CancelTask => cancel(map),
            Kind::Reprioritise => reprioritise(map),
            Kind::Scale => scale(map),
            Kind::Stop => stop(map),
            Kind::Unregister => agent_only(map).map(|agent_id| Command::Unregister { agent_id }),
            Kind::Start => agent_only(map).map(|agent_id| Command::Start { agent_id }),
            Kind::Pause => agent_only(map).map(|agent_id| Command::Pause { agent_id }),
            Kind::Resume => agent_only(map).map(|agent_id| Command::Resume { agent_id }),
            Kind::StartWorkflow => {
                let message_id = properties.message_id().as_ref().map(|id| id.as_str());
                let id = || RunId::from(task_id_from(message_id, body).uuid());
                start_workflow(map, &envelope, sent_at(properties), id, now)
            }
            Kind::CancelWorkflow => cancel_workflow(map),
            Kind::ApproveStep => approve_step(map),
        }
        .map_err(invalid)?;
        Ok(received(command, envelope, properties))
    }

    fn received_batch(
        &self,
        properties: &BasicProperties,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Received, Refusal> {
        let envelope =
            Envelope::of(properties).map_err(|faults| Refusal::of(Reason::Invalid, faults))?;
        let members = self.batch(body, &envelope, properties, now)?;
        Ok(received(
            Command::ExecuteBatch(members),
            envelope,
            properties,
        ))
    }

    pub(super) fn object(&self, body: &[u8]) -> Result<Map<String, Value>, Refusal> {
        if body.len() > self.max_body_bytes {
            let detail = format!("the body must have at most {} bytes", self.max_body_bytes);
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| Refusal::new(Reason::NotJson, error.to_string()))?;
        if nesting_of(&value) > MAX_NESTING {
            let detail = format!("the body must not nest deeper than {MAX_NESTING} levels");
            return Err(Refusal::new(Reason::Invalid, detail));
        }
        match value {
            Value::Object(map) => Ok(map),
            _ => Err(Refusal::new(
                Reason::Invalid,
                "the body must be a JSON object",
            )),
        }
    }

    /// Reads one task, sent at `sent_at` and received `now`; `id` is its identity when its body names none.
    pub(super) fn execute(
        &self,
        mut map: Map<String, Value>,
        envelope: &Envelope,
        sent_at: Option<Timestamp>,
        id: impl FnOnce() -> TaskId,
        now: Timestamp,
    ) -> Result<NewTask, Faults> {
        let twice = map.contains_key("expires_at") && map.contains_key("expires_in_seconds");
        // What only messages carry is read here, the rest by the reader that HTTP requests have too.
        let ours = ["submitted_at", "expires_at", "fingerprint"]
            .into_iter()
            .filter_map(|name| map.shift_remove_entry(name))
            .collect();
        let mut fields = Fields::of(Value::Object(ours))?;
        let accepts_time = "must be an RFC 3339 time such as 2026-03-01T12:00:00Z";
        let submitted_at = fields.take_parsed("submitted_at", accepts_time, Timestamp::parse);
        let expires_at = fields.take_parsed("expires_at", accepts_time, Timestamp::parse);
        let fingerprint = fields.take_parsed("fingerprint", "must be 64 hex digits", from_hex);
        if twice {
            fields.fault(
                "expires_at",
                "must not be given together with expires_in_seconds",
            );
        }
        let mut faults = fields.finish().err().unwrap_or_default();
        let submission = match Submission::parse(Value::Object(map), self.defaults) {
            Ok(submission) if faults.0.is_empty() => submission,
            Ok(_) => return Err(faults),
            Err(more) => {
                faults.0.extend(more.0);
                return Err(faults);
            }
        };
        // The sender's clock decides, so that a delay means the same when the message is delivered again; a clock that
        // runs ahead must not push a task behind those of others for ever.
        let sent_at = submitted_at.or(sent_at).unwrap_or(now);
        let task_id = submission.task_id().unwrap_or_else(id);
        let mut task = submission.into_task(task_id, sent_at.min(now));
        task.expires_at = expires_at.or(task.expires_at);
        task.fingerprint = fingerprint;
        task.correlation_id.clone_from(&envelope.correlation_id);
        task.reply_to.clone_from(&envelope.reply_to);
        task.traceparent.clone_from(&envelope.traceparent);
        task.origin = Some(Arc::clone(&envelope.origin));
        Ok(task)
    }
}

fn received(command: Command, envelope: Envelope, properties: &BasicProperties) -> Received {
    Received {
        command,
        correlation_id: envelope.correlation_id,
        reply_to: envelope.reply_to,
        traceparent: envelope.traceparent,
        origin: envelope.origin,
        authorization: text_header(properties, "authorization").map(Secret::new),
    }
}

/// The kind in the body, else the routing key. They must not contradict each other, because brokers grant permission by
/// routing key; a message put straight into the queue has the queue's name there, which says nothing.
fn kind_of(routing_key: &str, in_body: &Value) -> Result<Kind, Refusal> {
    let by_key = routing_key.parse::<Kind>().ok();
    if in_body.is_null() {
        return by_key.ok_or_else(|| {
            let detail = "kind is missing and the routing key names no command";
            Refusal::new(Reason::UnknownKind, detail)
        });
    }
    let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    let kind: Kind = in_body
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            let detail = format!("kind must be one of {}", known.join(", "));
            Refusal::new(Reason::UnknownKind, detail)
        })?;
    match by_key {
        Some(by_key) if by_key != kind => {
            let faults = Faults::one("kind", format!("must be the routing key, {by_key}"));
            Err(Refusal::of(Reason::Invalid, faults))
        }
        Some(_) | None => Ok(kind),
    }
}

fn take_task_id(fields: &mut Fields) -> Option<TaskId> {
    fields.require("task_id");
    fields.take_parsed("task_id", "must be a UUID", |text| text.parse().ok())
}

fn take_agent_id(fields: &mut Fields) -> Option<AgentId> {
    fields.require("agent_id");
    fields.take_parsed("agent_id", AgentId::ACCEPTS, AgentId::parse)
}

/// Ends the reading; a required field that is `None` here has been noted as a fault, so the error is only formal.
pub(super) fn finished<T>(fields: Fields, required: Option<T>) -> Result<T, Faults> {
    fields.finish()?;
    required.ok_or_else(|| Faults::one("", "is incomplete"))
}

fn agent_only(map: Map<String, Value>) -> Result<AgentId, Faults> {
    let mut fields = Fields::of(Value::Object(map))?;
    let agent_id = take_agent_id(&mut fields);
    finished(fields, agent_id)
}

fn cancel(map: Map<String, Value>) -> Result<Command, Faults> {
    let mut fields = Fields::of(Value::Object(map))?;
    let task_id = take_task_id(&mut fields);
    let reason = fields.take_text("reason", 0, 500);
    finished(fields, task_id).map(|task_id| Command::CancelTask { task_id, reason })
}

fn reprioritise(map: Map<String, Value>) -> Result<Command, Faults> {
    let mut fields = Fields::of(Value::Object(map))?;
    let task_id = take_task_id(&mut fields);
    fields.require("priority");
    let (least, most) = (*Priority::RANGE.start(), *Priority::RANGE.end());
    let priority = fields
        .take_integer("priority", least, most)
        .and_then(Priority::new);
    finished(fields, task_id.zip(priority))
        .map(|(task_id, priority)| Command::Reprioritise { task_id, priority })
}

fn stop(map: Map<String, Value>) -> Result<Command, Faults> {
    let mut fields = Fields::of(Value::Object(map))?;
    let agent_id = take_agent_id(&mut fields);
    let drain = match fields.take("drain") {
        None => true,
        Some(Value::Bool(drain)) => drain,
        Some(_) => {
            fields.fault("drain", "must be true or false");
            true
        }
    };
    finished(fields, agent_id).map(|agent_id| Command::Stop { agent_id, drain })
}

fn scale(map: Map<String, Value>) -> Result<Command, Faults> {
    let mut fields = Fields::of(Value::Object(map))?;
    let agent_id = take_agent_id(&mut fields);
    let scaling = Scaling::take(&mut fields);
    finished(fields, agent_id).map(|agent_id| Command::Scale { agent_id, scaling })
}

pub(super) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}
