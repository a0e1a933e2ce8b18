//! A message that was not accepted, kept so that somebody can look at it, send it again, or throw it away.

use std::collections::BTreeMap;

use super::Timestamp;

super::identifiers::uuid_identifier!(
    /// A dead letter: the same for the same message, however often it is delivered or refused.
    LetterId
);

/// A message that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its identifier.
    pub letter_id: LetterId,
    /// When it was last put aside.
    pub received_at: Timestamp,
    /// Why, for programs: the `x-reason` of the worker that refused it, or `given_up` when the broker itself gave it up.
    pub reason: String,
    /// Why, for people: a problem document, JSON.
    pub problem: Option<String>,
    /// The routing key that it came with.
    pub routing_key: String,
    /// The sender's name for it.
    pub message_id: Option<String>,
    /// The sender's name for the exchange.
    pub correlation_id: Option<String>,
    /// The queue that gets answers.
    pub reply_to: Option<String>,
    /// What the body was said to be.
    pub content_type: Option<String>,
    /// Its own text headers, without credentials and without what brokers and workers added.
    pub headers: BTreeMap<String, String>,
    /// Its body, cut when it is larger than any message may be.
    pub body: Vec<u8>,
    /// How many bytes the body had.
    pub size: u64,
    /// How often it was put aside.
    pub times: u32,
    /// When it was sent again; `None` again when it came back.
    pub replayed_at: Option<Timestamp>,
    /// Who refused it: a worker. `None` when the broker gave it up.
    pub refused_by: Option<String>,
    /// Who had it sent again.
    pub replayed_by: Option<String>,
}

impl DeadLetter {
    /// Whether all of the body is there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        u64::try_from(self.body.len()).is_ok_and(|kept| kept == self.size)
    }
}
