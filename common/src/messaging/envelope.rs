//! What the properties of a message say: who sent it, when, who wants the answer, and which task it is.

use std::sync::Arc;

use lapin::BasicProperties;
use lapin::types::ShortString;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::outgoing::{REQUEST_ID, SUBMITTED_BY, text_header};
use crate::domain::{Faults, Fields, Origin, TaskId, Timestamp};

/// The fields by which a task of a batch says for itself what properties say for a whole message.
pub(super) const OWN_PROPERTIES: [&str; 5] = [
    "correlation_id",
    "reply_to",
    "traceparent",
    "submitted_by",
    "request_id",
];

/// The most characters of a text property; AMQP has 255 bytes for one.
const MAX_PROPERTY: usize = 255;

/// Who sent a message that does not say it.
const NOBODY: &str = "broker";

/// What the properties say about the sender.
pub(super) struct Envelope {
    /// Who sends it, as far as the message itself says; a token says it better.
    pub(super) origin: Arc<Origin>,
    /// Whether that is said for the message as a whole.
    is_said_of_all: bool,
    pub(super) correlation_id: Option<String>,
    pub(super) reply_to: Option<String>,
    pub(super) traceparent: Option<String>,
}

impl Envelope {
    /// Control characters are refused: databases do not store them all, and one message must not spoil a batch.
    pub(super) fn of(properties: &BasicProperties) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let mut clean = |field: &str, text: Option<&str>| {
            let text = text.filter(|text| !text.is_empty())?;
            if text.chars().any(char::is_control) {
                faults.add(field, "must not contain control characters");
            }
            Some(text.to_owned())
        };
        let correlation_id = properties.correlation_id().as_ref();
        let correlation_id = clean("correlation_id", correlation_id.map(|id| id.as_str()));
        let reply_to = properties.reply_to().as_ref();
        let reply_to = clean("reply_to", reply_to.map(|queue| queue.as_str()));
        let traceparent =
            text_header(properties, "traceparent").filter(|text| is_trace_context(text));
        let (origin, is_said_of_all) = origin_of(properties);
        faults.none_or(Self {
            origin,
            is_said_of_all,
            correlation_id,
            reply_to,
            traceparent,
        })
    }

    /// That of one task of a batch: what it says itself, else what this one says for all.
    pub(super) fn of_member(&self, map: &mut Map<String, Value>) -> Result<Self, Faults> {
        let own = OWN_PROPERTIES
            .into_iter()
            .filter_map(|name| map.shift_remove_entry(name));
        let mut own = Fields::of(Value::Object(own.collect()))?;
        let [
            correlation_id,
            reply_to,
            traceparent,
            submitted_by,
            request_id,
        ] = OWN_PROPERTIES.map(|name| own.take_text(name, 0, MAX_PROPERTY));
        own.finish()?;
        let or = |own: Option<String>, of_all: &Option<String>| {
            own.filter(|text| !text.is_empty())
                .or_else(|| of_all.clone())
        };
        let origin = match submitted_by.filter(|name| !name.is_empty() && !self.is_said_of_all) {
            Some(name) => Arc::new(Origin::new(&name, request_id.as_deref())),
            None => Arc::clone(&self.origin),
        };
        Ok(Self {
            origin,
            is_said_of_all: self.is_said_of_all,
            correlation_id: or(correlation_id, &self.correlation_id),
            reply_to: or(reply_to, &self.reply_to),
            traceparent: or(
                traceparent.filter(|text| is_trace_context(text)),
                &self.traceparent,
            ),
        })
    }
}

/// Who sent a message, and whether it says so itself: the broker vouches for `user_id`; nobody vouches for the others.
fn origin_of(properties: &BasicProperties) -> (Arc<Origin>, bool) {
    let named = |name: &Option<ShortString>| name.as_ref().map(|name| name.as_str().to_owned());
    let said = named(properties.user_id()).or_else(|| text_header(properties, SUBMITTED_BY));
    let is_said = said.is_some();
    let actor = said.or_else(|| named(properties.app_id()));
    let actor = actor.filter(|name| !name.is_empty());
    let request_id = text_header(properties, REQUEST_ID);
    let origin = Origin::new(actor.as_deref().unwrap_or(NOBODY), request_id.as_deref());
    (Arc::new(origin), is_said)
}

/// A broken trace context is dropped, as W3C asks; it is no reason to refuse work.
fn is_trace_context(text: &str) -> bool {
    text.len() <= 100 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// When the sender says that it sent the message.
pub(super) fn sent_at(properties: &BasicProperties) -> Option<Timestamp> {
    let seconds = i64::try_from((*properties.timestamp())?).ok()?;
    seconds.checked_mul(1_000_000).map(Timestamp::from_micros)
}

/// The task's identity when its body has none.
///
/// `message_id` is what AMQP offers for identity: a UUID becomes the task's id; any other text is only unique to its
/// publisher (counters are common), so it counts together with the body. Either way a message that is delivered twice
/// stays one task. Without a `message_id` a second delivery cannot be told from a second message that says the same,
/// and then running a task twice is better than silently dropping one: the id is new.
pub(super) fn task_id_from(message_id: Option<&str>, body: &[u8]) -> TaskId {
    const NAMESPACE: Uuid = Uuid::from_u128(0x2c1b_8f0e_77aa_5d35_8e64_90f1_3bd2_c6a7);
    let Some(message_id) = message_id.filter(|id| !id.is_empty()) else {
        return TaskId::generate();
    };
    if let Ok(id) = message_id.parse() {
        return id;
    }
    let mut identity = format!("{}:{message_id}:", message_id.len()).into_bytes();
    identity.extend_from_slice(body);
    TaskId::from(Uuid::new_v5(&NAMESPACE, &identity))
}
