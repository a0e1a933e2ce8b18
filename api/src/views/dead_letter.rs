//! A dead letter as callers see it.

use std::fmt;

use orchestrator_common::domain::{DeadLetter, Json, LetterId, MAX_NESTING, Timestamp, nesting_of};
use orchestrator_common::ledger::LetterPlace;
use poem_openapi::Object;
use poem_openapi::registry::MetaSchema;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::paging::cursor_of_time_and_id;
use super::{QueryValue, Wire, WireSchema};

/// A message that was not accepted.
#[derive(Debug, Object, Serialize)]
pub(crate) struct DeadLetterView {
    /// Its identifier.
    letter_id: Wire<LetterId>,
    /// When it was last put aside.
    received_at: Wire<Timestamp>,
    /// Why, for programs; `given_up` when the broker itself gave it up.
    reason: String,
    /// Why, for people: a problem document.
    #[oai(nullable)]
    problem: Option<Wire<Json>>,
    /// The routing key that it came with: what it asks for.
    routing_key: String,
    /// The sender's name for it.
    #[oai(nullable)]
    message_id: Option<String>,
    /// The sender's name for the exchange.
    #[oai(nullable)]
    correlation_id: Option<String>,
    /// The queue that gets answers.
    #[oai(nullable)]
    reply_to: Option<String>,
    /// Who refused it: `worker:` and its id; null when the broker gave it up.
    #[oai(nullable)]
    refused_by: Option<String>,
    /// How many bytes its body has.
    size_bytes: u64,
    /// How often it was put aside: a replayed letter that is refused again comes back.
    times: u32,
    /// When it was replayed; null when it was not, or came back.
    #[oai(nullable)]
    replayed_at: Option<Wire<Timestamp>>,
    /// Who had it replayed.
    #[oai(nullable)]
    replayed_by: Option<String>,
    /// Its body: as JSON where it is, else as text with what is not UTF-8 replaced. Only when one letter is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Wire<Json>>,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        Self {
            letter_id: Wire(letter.letter_id),
            received_at: Wire(letter.received_at),
            reason: letter.reason,
            problem: letter.problem.map(|problem| Wire(json_or_text(problem))),
            routing_key: letter.routing_key,
            message_id: letter.message_id,
            correlation_id: letter.correlation_id,
            reply_to: letter.reply_to,
            refused_by: letter.refused_by,
            size_bytes: letter.size,
            times: letter.times,
            replayed_at: letter.replayed_at.map(Wire),
            replayed_by: letter.replayed_by,
            body: None,
        }
    }
}

impl DeadLetterView {
    /// The letter with its body.
    pub(crate) fn with_body(letter: DeadLetter) -> Self {
        let body = json_or_text(String::from_utf8_lossy(&letter.body).into_owned());
        Self {
            body: Some(Wire(body)),
            ..Self::from(letter)
        }
    }
}

/// `text` as it is when it is JSON that any reader can take, else as a JSON string: a letter may hold anything.
fn json_or_text(text: String) -> Json {
    let is_harmless =
        serde_json::from_str::<Value>(&text).is_ok_and(|value| nesting_of(&value) <= MAX_NESTING);
    let json = if is_harmless {
        text
    } else {
        Value::from(text).to_string()
    };
    let json = RawValue::from_string(json);
    json.unwrap_or_else(|_| RawValue::NULL.to_owned()).into()
}

/// A page of dead letters.
#[derive(Debug, Object, Serialize)]
pub(crate) struct DeadLetterList {
    /// Newest first, without their bodies.
    pub(crate) dead_letters: Vec<DeadLetterView>,
    /// How many are on this page.
    pub(crate) count: usize,
    /// Gets the next page as `cursor`; absent on the last one.
    #[oai(nullable)]
    pub(crate) next_cursor: Option<String>,
}

/// What became of a dead letter.
#[derive(Debug, Object, Serialize)]
pub(crate) struct DeadLetterChanged {
    /// Always true: what was not done is answered with a problem.
    pub(crate) success: bool,
    /// The letter.
    pub(crate) letter_id: Wire<LetterId>,
    /// What was done, for people.
    pub(crate) message: String,
}

/// Where a page of letters ends and the next one begins; its form is our own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LetterCursor(pub(crate) LetterPlace);

impl fmt::Display for LetterCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (received_at, letter_id) = self.0;
        write!(
            f,
            "{}.{}",
            received_at.as_micros(),
            letter_id.uuid().simple()
        )
    }
}

impl WireSchema for LetterCursor {
    fn schema() -> MetaSchema {
        cursor_of_time_and_id()
    }
}

impl QueryValue for LetterCursor {
    const ACCEPTS: &'static str = "must be the next_cursor of a page";

    fn read(text: &str) -> Option<Self> {
        let (micros, letter_id) = text.split_once('.')?;
        let letter_id: LetterId = letter_id.parse().ok()?;
        Some(Self((
            Timestamp::from_micros(micros.parse().ok()?),
            letter_id,
        )))
    }
}

impl WireSchema for LetterId {
    fn schema() -> MetaSchema {
        MetaSchema::new_with_format("string", "uuid")
    }
}
