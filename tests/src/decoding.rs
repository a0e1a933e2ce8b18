//! Any bytes as a message: what is asked of the decoder, by the fuzzer (`tests/fuzz`) and by the test suite alike.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use orchestrator_common::config::{RabbitMqSettings, Secret};
use orchestrator_common::domain::Timestamp;
use orchestrator_common::messaging::{Command, Decoder, Kind, Outgoing, Topology};

/// Routing keys that name no command: none, an unknown one, and that of a message put straight into a queue.
const OTHER_KEYS: [&str; 3] = ["", "task.explode", "orchestrator.tasks"];

/// Decodes `input`: a byte for the routing key, a byte for the properties, and the body.
///
/// # Panics
/// When what is decoded does not survive being sent on, or when the decoder panics.
pub fn decode(input: &[u8]) {
    let [key, flags, body @ ..] = input else {
        return;
    };
    let keys = Kind::ALL.iter().map(|kind| kind.as_str());
    let keys: Vec<&str> = keys.chain(OTHER_KEYS).collect();
    let key = keys[usize::from(*key) % keys.len()];
    let properties = properties(*flags, body);
    let now = Timestamp::from_micros(1_772_366_400_000_000);
    let decoder = Decoder::default();
    let received = match decoder.decode(key, &properties, body, now) {
        Ok(received) => received,
        Err(refusal) => {
            let answer = Outgoing::refusal("answers", Some("c"), &refusal);
            assert!(answer.is_ok_and(|answer| answer.is_some()), "{refusal}");
            return;
        }
    };
    if let Command::ExecuteBatch(members) = &received.command
        && members.iter().any(Result::is_err)
    {
        // What is refused of a batch is not sent on.
        return;
    }
    let outgoing = Outgoing::command(&topology(), &received.command).expect("it can be sent on");
    let again = decoder.decode(
        outgoing.routing_key(),
        outgoing.properties(),
        outgoing.body(),
        now,
    );
    let again = again.expect("what was decoded once can be decoded again");
    assert_eq!(again.command.kind(), received.command.kind());
}

/// Properties that messages may have, by the bits of `flags`; some hold what the body holds.
fn properties(flags: u8, body: &[u8]) -> BasicProperties {
    let has = |bit: u8| flags & (1 << bit) != 0;
    let text: String = String::from_utf8_lossy(body).chars().take(40).collect();
    let short = ShortString::try_new(text.as_str()).unwrap_or_default();
    let mut properties = BasicProperties::default();
    if has(0) {
        properties = properties.with_message_id(short.clone());
    }
    if has(1) {
        properties = properties.with_correlation_id(short.clone());
    }
    if has(2) {
        properties = properties.with_reply_to("answers".into());
    }
    if has(3) {
        properties = properties.with_timestamp(u64::from(flags) << 56);
    }
    if has(4) {
        properties = properties.with_app_id(short);
    }
    let mut headers = FieldTable::default();
    let bytes = body.get(..40).unwrap_or(body).to_vec();
    for (bit, name) in [
        (5, "traceparent"),
        (6, "x-submitted-by"),
        (7, "x-request-id"),
    ] {
        if has(bit) {
            let value = LongString::from(bytes.clone());
            headers.insert(name.into(), AMQPValue::LongString(value));
        }
    }
    properties.with_headers(headers)
}

fn topology() -> Topology {
    let settings = RabbitMqSettings {
        host: "localhost".to_owned(),
        port: 5672,
        user: "guest".to_owned(),
        password: Secret::new("guest".to_owned()),
        vhost: "/".to_owned(),
        prefix: String::new(),
        quorum: true,
        tls: None,
    };
    Topology::new(&settings).expect("the names are short enough")
}
