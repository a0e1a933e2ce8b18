//! Reading messages: every fault is found and named, identity is kept, and no bytes break the decoder.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use orchestrator_common::domain::{NewTask, TaskId, Timestamp};
use orchestrator_common::messaging::{
    Command, Control, Decoder, Doorbell, Kind, Reason, Received, Refusal,
};
use orchestrator_tests::any_json::any_json;
use orchestrator_tests::decoding::decode;
use proptest::prelude::*;
use serde_json::json;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn now() -> Timestamp {
    at("2026-03-01T12:00:00.25Z")
}

fn task_id() -> TaskId {
    "01957f3a-5c00-7000-8000-000000000001".parse().unwrap()
}

fn decode_text(key: &str, body: &str) -> Result<Received, Refusal> {
    decode_with(key, body, &BasicProperties::default())
}

fn decode_with(key: &str, body: &str, properties: &BasicProperties) -> Result<Received, Refusal> {
    Decoder::default().decode(key, properties, body.as_bytes(), now())
}

fn decoded_task(body: &str, properties: &BasicProperties) -> NewTask {
    match decode_with("task.execute", body, properties)
        .unwrap()
        .command
    {
        Command::Execute(task) => *task,
        other => panic!("unexpected {other:?}"),
    }
}

fn reason(key: &str, body: &str) -> Reason {
    decode_text(key, body).unwrap_err().reason
}

const LEAST: &str = r#"{"agent_id":"a","task_type":"t","task_data":{}}"#;

#[test]
fn each_fault_has_its_reason() {
    assert_eq!(reason("task.execute", "{"), Reason::NotJson);
    assert_eq!(
        reason("task.execute", &"[".repeat(100_000)),
        Reason::NotJson
    );
    assert_eq!(reason("task.execute", "[]"), Reason::Invalid);
    assert_eq!(
        reason("task.execute", r#"{"version":2}"#),
        Reason::UnknownVersion
    );
    assert_eq!(
        reason("task.execute", r#"{"version":"1"}"#),
        Reason::UnknownVersion
    );
    assert_eq!(reason("task.dance", "{}"), Reason::UnknownKind);
    assert_eq!(
        reason("orchestrator.tasks", r#"{"kind":7}"#),
        Reason::UnknownKind
    );
    assert_eq!(
        reason("task.cancel", r#"{"kind":"task.execute"}"#),
        Reason::Invalid
    );
    let large = format!(r#"{{"x":"{}"}}"#, "y".repeat(1_048_576));
    assert_eq!(reason("task.execute", &large), Reason::TooLarge);
    let deep = format!("{}1{}", r#"{"x":"#.repeat(65), "}".repeat(65));
    assert_eq!(reason("task.execute", &deep), Reason::Invalid);
    for (key, body) in [
        ("task.cancel", "{}"),
        (
            "task.reprioritise",
            r#"{"task_id":"01957f3a-5c00-7000-8000-000000000001","priority":0}"#,
        ),
        ("agent.scale", r#"{"agent_id":"a"}"#),
        ("agent.stop", r#"{"agent_id":"a","drain":"yes"}"#),
        ("agent.start", r#"{"agent_id":"a","surprise":1}"#),
    ] {
        assert_eq!(reason(key, body), Reason::Invalid, "{key} {body}");
    }
}

#[test]
fn version_and_kind_may_be_left_out_and_the_body_names_the_kind_in_the_queue_itself() {
    assert!(decode_text("task.execute", LEAST).is_ok());
    let named = LEAST.replacen('{', r#"{"version":1,"kind":"task.execute","#, 1);
    assert!(decode_text("task.execute", &named).is_ok());
    assert!(decode_text("orchestrator.tasks", &named).is_ok());
}

#[test]
fn registration_keeps_unknown_fields_and_nothing_else_does() {
    let body = r#"{"agent_id":"a","environment":"staging"}"#;
    match decode_text("agent.register", body).unwrap().command {
        Command::Register(registration) => assert_eq!(registration.extra["environment"], "staging"),
        other => panic!("unexpected {other:?}"),
    }
    assert_eq!(reason("agent.start", body), Reason::Invalid);
}

#[test]
fn the_message_id_identifies_a_task_that_names_no_id() {
    let with = |id: &str| BasicProperties::default().with_message_id(id.into());
    let uuid = task_id().to_string();
    assert_eq!(decoded_task(LEAST, &with(&uuid)).task_id, task_id());
    let other = LEAST.replacen(
        '{',
        r#"{"task_id":"01957f3a-5c00-7000-8000-0000000000ff","#,
        1,
    );
    assert_ne!(decoded_task(&other, &with(&uuid)).task_id, task_id());

    let counted = |id: &str, body: &str| decoded_task(body, &with(id)).task_id;
    assert_eq!(counted("1", LEAST), counted("1", LEAST));
    assert_ne!(counted("1", LEAST), counted("2", LEAST));
    let different = LEAST.replace(r#""t""#, r#""u""#);
    assert_ne!(counted("1", LEAST), counted("1", &different));

    // Nothing identifies these: they are two tasks, since dropping one would be worse.
    let anonymous = || decoded_task(LEAST, &BasicProperties::default()).task_id;
    assert_ne!(anonymous(), anonymous());
}

#[test]
fn what_the_sender_says_about_itself_is_kept() {
    let mut headers = FieldTable::default();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    headers.insert("traceparent".into(), AMQPValue::LongString(trace.into()));
    headers.insert(
        "authorization".into(),
        AMQPValue::LongString("Bearer hunter2".into()),
    );
    let properties = BasicProperties::default()
        .with_correlation_id("c".into())
        .with_reply_to("r".into())
        .with_headers(headers);
    let received = decode_with("task.execute", LEAST, &properties).unwrap();
    assert_eq!(received.correlation_id.as_deref(), Some("c"));
    assert_eq!(received.reply_to.as_deref(), Some("r"));
    assert_eq!(received.traceparent.as_deref(), Some(trace));
    assert_eq!(
        received.authorization.as_ref().unwrap().expose(),
        "Bearer hunter2"
    );
    assert!(!format!("{received:?}").contains("hunter2"));
    let task = decoded_task(LEAST, &properties);
    assert_eq!(task.correlation_id.as_deref(), Some("c"));
    assert_eq!(task.traceparent.as_deref(), Some(trace));

    let spoiled = BasicProperties::default().with_correlation_id("a\0b".into());
    let refusal = decode_with("task.execute", LEAST, &spoiled).unwrap_err();
    assert_eq!(refusal.faults.0[0].field, "correlation_id");
}

#[test]
fn a_delay_counts_from_the_senders_timestamp_but_never_from_the_future() {
    let body = LEAST.replacen('{', r#"{"delay_seconds":60,"#, 1);
    let sent = |seconds: u64| BasicProperties::default().with_timestamp(seconds);
    let past = decoded_task(&body, &sent(1_772_366_390));
    assert_eq!(past.submitted_at, at("2026-03-01T11:59:50Z"));
    assert_eq!(past.run_at, Some(at("2026-03-01T12:00:50Z")));
    assert_eq!(decoded_task(&body, &sent(u64::MAX)).submitted_at, now());
    assert_eq!(
        decoded_task(&body, &sent(4_000_000_000)).submitted_at,
        now()
    );
}

#[test]
fn a_problem_document_always_fits_into_a_header() {
    let fields: Vec<_> = (0..2_000)
        .map(|i| format!(r#""{}{i}":1"#, "f".repeat(400)))
        .collect();
    let body = format!("{{{}}}", fields.join(","));
    let refusal = decode_text("task.execute", &body).unwrap_err();
    assert!(refusal.faults.0.len() > 2_000);
    assert!(refusal.problem().to_string().len() < 32_768);
}

proptest! {
    #[test]
    fn no_bytes_break_the_decoder(
        key in prop_oneof![Just("task.execute"), Just("agent.register"), Just("agent.scale"), Just("x")],
        body in proptest::collection::vec(any::<u8>(), 0..200)
    ) {
        let properties = BasicProperties::default();
        if let Err(refusal) = Decoder::default().decode(key, &properties, &body, now()) {
            prop_assert!(refusal.problem()["status"].is_number());
        }
        prop_assert!(Control::decode(&body).is_none() && Doorbell::decode(&body).is_none());
    }

    #[test]
    fn no_json_breaks_the_decoder(kind in 0usize..10, value in any_json(), name in
        prop_oneof![Just("agent_id"), Just("task_id"), Just("task_data"), Just("version"), Just("kind"),
            Just("submitted_at"), Just("fingerprint"), Just("run_at"), Just("instances"), Just("drain")]) {
        let key = Kind::ALL[kind].as_str();
        let mut body = json!({"agent_id": "a", "task_type": "t", "task_data": {}});
        body[name] = value;
        if let Err(refusal) = decode_text(key, &body.to_string()) {
            prop_assert!(!refusal.detail.is_empty(), "{refusal:?}");
        }
    }
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides.max(1)
    }
}

#[test]
fn whatever_becomes_of_the_seeds_of_the_fuzzer_is_decoded_or_refused() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/decoder");
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    assert!(seeds.len() > 25, "{}", seeds.len());
    let mut dice = Dice(1);
    for seed in &seeds {
        decode(seed);
        for _ in 0..250 {
            let mut input = seed.clone();
            for _ in 0..=dice.roll(3) {
                mutate(&mut input, &seeds, &mut dice);
            }
            decode(&input);
        }
    }
}

/// Flips a bit, writes a telling byte, cuts, repeats a piece, or puts a piece of another seed in.
fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], dice: &mut Dice) {
    const TELLING: &[u8] = b"{}[]\",:0-eE.\\u\x00\xff tfn";
    if input.is_empty() {
        return;
    }
    let at = dice.roll(input.len());
    match dice.roll(5) {
        0 => input[at] ^= 1 << dice.roll(8),
        1 => input[at] = TELLING[dice.roll(TELLING.len())],
        2 => input.truncate(at),
        3 => {
            let piece = input[at..].to_vec();
            input.extend_from_slice(&piece[..dice.roll(piece.len())]);
        }
        _ => {
            let other = &seeds[dice.roll(seeds.len())];
            let from = dice.roll(other.len());
            let piece = other[from..from + dice.roll(other.len() - from)].to_vec();
            input.splice(at..at, piece);
        }
    }
}
