//! Dead letters on their way into the ledger, and back to where they came from.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::types::AMQPValue;
use uuid::Uuid;

use super::consumer::Message;
use super::outgoing::{Outgoing, REFUSED_BY, text_header};
use super::topology::{Source, Topology};
use crate::domain::{DeadLetter, LetterId, Origin, Timestamp};

/// Names every dead letter.
const LETTERS: Uuid = Uuid::from_u128(0x51d0_7a3c_9be2_5c41_a7f6_2e84_0d19_b35f);
/// The reason of what the broker gave up by itself: it came too often, or no longer than it may.
const GIVEN_UP: &str = "given_up";

/// Reads a message of the dead-letter queue, received `now`; of a body larger than `max_body_bytes` the beginning is kept.
#[must_use]
pub fn read_dead_letter(message: &Message, max_body_bytes: usize, now: Timestamp) -> DeadLetter {
    let (properties, body) = (message.properties(), message.body());
    let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(storable);
    let message_id = properties.message_id().as_ref().map(|id| id.as_str());
    let correlation_id = properties.correlation_id().as_ref();
    let reply_to = properties.reply_to().as_ref();
    let content_type = properties.content_type().as_ref();
    DeadLetter {
        letter_id: letter_id(message.routing_key(), properties, body),
        received_at: now,
        reason: text_header(properties, "x-reason").map_or(GIVEN_UP.to_owned(), |r| storable(&r)),
        problem: text_header(properties, "x-problem").map(|problem| storable(&problem)),
        routing_key: storable(message.routing_key()),
        message_id: text(message_id),
        correlation_id: text(correlation_id.map(|id| id.as_str())),
        reply_to: text(reply_to.map(|queue| queue.as_str())),
        content_type: text(content_type.map(|kind| kind.as_str())),
        headers: own_headers(properties),
        body: body[..body.len().min(max_body_bytes)].to_vec(),
        size: body.len() as u64,
        times: 1,
        replayed_at: None,
        replayed_by: None,
        refused_by: text_header(properties, REFUSED_BY).map(|by| Origin::new(&by, None).actor),
    }
}

/// The same for the same message. Without a name of its own, what the broker noted of its death tells it from others that
/// say the same.
fn letter_id(routing_key: &str, properties: &BasicProperties, body: &[u8]) -> LetterId {
    let message_id = properties.message_id().as_ref().map(|id| id.as_str());
    let name = message_id.map_or_else(
        || {
            let headers = properties.headers().as_ref();
            let death = headers.and_then(|headers| headers.inner().get("x-death"));
            format!("{death:?}")
        },
        str::to_owned,
    );
    let mut identity = format!("{}:{name}:{routing_key}:", name.len()).into_bytes();
    identity.extend_from_slice(body);
    Uuid::new_v5(&LETTERS, &identity).into()
}

fn own_headers(properties: &BasicProperties) -> BTreeMap<String, String> {
    let headers = properties.headers().iter().flat_map(|table| table.inner());
    let own = headers.filter_map(|(name, value)| {
        let name = name.as_str();
        let is_ours = name.starts_with("x-") || name.eq_ignore_ascii_case("authorization");
        match value {
            AMQPValue::LongString(text) if !is_ours => {
                let text = std::str::from_utf8(text.as_bytes()).ok()?;
                Some((storable(name), storable(text)))
            }
            _ => None,
        }
    });
    own.collect()
}

/// Without the one character that PostgreSQL does not store in texts.
fn storable(text: &str) -> String {
    text.replace('\0', "")
}

impl Outgoing {
    /// A dead letter on its way back, as it came but for who sends it; a failure when no queue takes it.
    ///
    /// It has a name in any case, so that sending it twice is one task. What it said of its sender nobody has checked, and
    /// it goes with the authority of whoever replays it: it says that one.
    #[must_use]
    pub fn replay(topology: &Topology, letter: &DeadLetter, by: &Origin) -> Self {
        // What was put straight into a queue goes straight into it again.
        let straight = [Source::Tasks, Source::Lifecycle]
            .iter()
            .any(|source| topology.queue(*source).as_str() == letter.routing_key);
        let exchange = if straight {
            lapin::types::ShortString::default()
        } else {
            topology.commands().clone()
        };
        let key = letter.routing_key.as_str();
        let mut outgoing = Self::persistent(
            exchange,
            lapin::types::ShortString::try_new(key).unwrap_or_default(),
            letter.letter_id.uuid(),
            letter.body.clone(),
        )
        .mandatory()
        .with_correlation_id(letter.correlation_id.as_deref())
        .with_reply_to(letter.reply_to.as_deref());
        let named = letter.message_id.as_deref();
        if let Some(id) = named.and_then(|id| lapin::types::ShortString::try_new(id).ok()) {
            outgoing.properties = outgoing.properties.with_message_id(id);
        }
        let kind = letter.content_type.as_deref();
        if let Some(kind) = kind.and_then(|kind| lapin::types::ShortString::try_new(kind).ok()) {
            outgoing.properties = outgoing.properties.with_content_type(kind);
        }
        let headers = letter.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
        outgoing.with_headers(headers).with_origin(by)
    }
}
