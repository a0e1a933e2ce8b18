//! `task.execute_batch`: many tasks in one message, because a broker's work is by the message.
//!
//! Each task is read, accepted or refused for itself; a refused one is put aside as the `task.execute` that it might
//! have been.

use std::ops::Range;

use lapin::BasicProperties;
use lapin::types::ShortString;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::command::{Kind, VERSION};
use super::decode::Decoder;
use super::envelope::{Envelope, OWN_PROPERTIES, sent_at};
use super::outgoing::{Outgoing, REQUEST_ID, SUBMITTED_BY};
use super::refusal::{Reason, Refusal};
use crate::domain::{Faults, NewTask, TaskId, Timestamp};

/// The most tasks of one message.
pub(super) const MAX_TASKS: usize = 1_000;
/// How large a batch of ours grows before the next one begins, in bytes; a single task may be larger.
pub(super) const FULL: usize = 256 * 1_024;
/// The largest body of a batch is at least this, in bytes, however small a single task has to be.
const MIN_MAX_BODY_BYTES: usize = 1_048_576;

/// A task of a batch, or why it is refused.
pub type BatchMember = Result<Box<NewTask>, Refusal>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    version: Option<Value>,
    kind: Option<Value>,
    #[serde(borrow)]
    tasks: Vec<&'a RawValue>,
}

impl Body<'_> {
    fn read(body: &[u8]) -> Result<Body<'_>, Refusal> {
        serde_json::from_slice(body).map_err(|error| {
            let reason = if error.is_data() {
                Reason::Invalid
            } else {
                Reason::NotJson
            };
            Refusal::new(reason, error.to_string())
        })
    }
}

impl Decoder {
    /// Reads every task of a batch, received `now`.
    pub(super) fn batch(
        &self,
        body: &[u8],
        envelope: &Envelope,
        properties: &BasicProperties,
        now: Timestamp,
    ) -> Result<Vec<BatchMember>, Refusal> {
        let limit = self.max_body_bytes.max(MIN_MAX_BODY_BYTES);
        if body.len() > limit {
            let detail = format!("the body must have at most {limit} bytes");
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        let Body {
            version,
            kind,
            tasks,
        } = Body::read(body)?;
        if version.is_some_and(|version| version.as_u64() != Some(VERSION)) {
            let detail = format!("version must be {VERSION} or be left out");
            return Err(Refusal::new(Reason::UnknownVersion, detail));
        }
        let own = Kind::ExecuteBatch.as_str();
        if kind.is_some_and(|kind| kind != own) {
            let faults = Faults::one("kind", format!("must be the routing key, {own}"));
            return Err(Refusal::of(Reason::Invalid, faults));
        }
        if tasks.is_empty() || tasks.len() > MAX_TASKS {
            let detail = format!("tasks must hold 1 to {MAX_TASKS} tasks");
            return Err(Refusal::new(Reason::Invalid, detail));
        }
        let sent_at = sent_at(properties);
        let read = |(index, raw): (usize, &RawValue)| {
            let mut map = self.object(raw.get().as_bytes())?;
            let invalid = |faults| Refusal::of(Reason::Invalid, faults);
            let envelope = envelope.of_member(&mut map).map_err(invalid)?;
            let id = || member_id(properties, index, raw.get());
            self.execute(map, &envelope, sent_at, id, now)
                .map(Box::new)
                .map_err(invalid)
        };
        Ok(tasks.into_iter().enumerate().map(read).collect())
    }
}

/// The identity of a task whose body names none: the message's with its place in it, so that a message which is
/// delivered twice has the same tasks. Without a `message_id` it is new each time, as for single tasks.
fn member_id(properties: &BasicProperties, index: usize, raw: &str) -> TaskId {
    const NAMESPACE: Uuid = Uuid::from_u128(0x7f5a_1d3e_02c9_5b68_9d47_c8e1_60fa_3b94);
    let message_id = properties.message_id().as_ref().map(|id| id.as_str());
    let Some(message_id) = message_id.filter(|id| !id.is_empty()) else {
        return TaskId::generate();
    };
    let identity = format!("{}:{message_id}:{index}:{raw}", message_id.len());
    TaskId::from(Uuid::new_v5(&NAMESPACE, identity.as_bytes()))
}

/// Where each task of a batch stands in its body, in their order; none in what is no batch.
pub(super) fn places(body: &[u8]) -> Vec<Range<usize>> {
    let tasks = Body::read(body)
        .map(|batch| batch.tasks)
        .unwrap_or_default();
    let place = |raw: &RawValue| {
        // A raw value is a piece of the text that it was read from.
        let start = raw.get().as_ptr() as usize - body.as_ptr() as usize;
        start..start + raw.get().len()
    };
    tasks.into_iter().map(place).collect()
}

/// The task at `index` of a batch as the `task.execute` that it might have been: the properties of the batch with what the
/// task says of its own, and its body; `raw` is the task as it came.
pub(super) fn single(
    properties: &BasicProperties,
    raw: &str,
    index: usize,
) -> (BasicProperties, Vec<u8>) {
    let by_place = ShortString::from(member_id(properties, index, raw).to_string());
    let Ok(mut map) = serde_json::from_str::<Map<String, Value>>(raw) else {
        let properties = properties.clone().with_message_id(by_place);
        return (properties, raw.as_bytes().to_vec());
    };
    let task_id = map.get("task_id").and_then(Value::as_str);
    let by_name = task_id.and_then(|id| ShortString::try_new(id).ok());
    let message_id = by_name.unwrap_or(by_place);
    // What is no text is a fault, and stays where it is seen.
    let [
        correlation_id,
        reply_to,
        traceparent,
        submitted_by,
        request_id,
    ] = OWN_PROPERTIES.map(|name| {
        let is_text = map.get(name).is_some_and(Value::is_string);
        let value = is_text.then(|| map.shift_remove(name)).flatten()?;
        value.as_str().map(str::to_owned)
    });
    let headers = [
        ("traceparent", traceparent.as_deref()),
        (SUBMITTED_BY, submitted_by.as_deref()),
        (REQUEST_ID, request_id.as_deref()),
    ];
    let headers = headers
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let single = Outgoing::bare(properties.clone().with_message_id(message_id))
        .with_correlation_id(correlation_id.as_deref())
        .with_reply_to(reply_to.as_deref())
        .with_headers(headers);
    let body = serde_json::to_vec(&map).unwrap_or_else(|_| raw.as_bytes().to_vec());
    (single.properties, body)
}
