//! The one place where messages are acknowledged, given back, or dead-lettered.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use lapin::options::{BasicAckOptions, BasicNackOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel};
use tokio::time::timeout;
use uuid::Uuid;

use super::consumer::Message;
use super::outgoing::{Outgoing, REFUSED_BY};
use super::publisher::{PublishError, Publisher};
use super::refusal::Refusal;
use super::share::{Settled, Share};
use super::topology::Topology;
use crate::domain;

/// How long it may take to hand an acknowledgement to the network before the connection counts as lost.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a dead letter is tried to be published before its original goes back to the queue.
const DEAD_LETTER_TRIES: usize = 5;
/// Room for the original headers of a dead letter; a frame has 128 KiB on a broker with default settings.
const MAX_HEADER_BYTES: usize = 64 * 1_024;

/// The channel that brought a message, and what it brought that is not settled yet.
///
/// Delivery tags mean something on their own channel only, so every message remembers its channel and is never settled
/// on a later one. What is taken out of `unsettled` is told to the broker before anybody else takes something out:
/// "everything up to this one" is decided by what the broker has been told, and the broker closes a channel on which
/// something is settled twice.
#[derive(Debug)]
pub(super) struct Origin {
    unsettled: Mutex<BTreeSet<u64>>,
    settling: tokio::sync::Mutex<()>,
    /// Keeps the channel open while one of its messages is in our hands.
    _channel: Channel,
}

impl Origin {
    pub(super) fn new(channel: Channel) -> Arc<Self> {
        Arc::new(Self {
            unsettled: Mutex::new(BTreeSet::new()),
            settling: tokio::sync::Mutex::default(),
            _channel: channel,
        })
    }

    pub(super) fn delivered(&self, tag: u64) {
        self.locked(|unsettled| unsettled.insert(tag));
    }

    fn locked<T>(&self, change: impl FnOnce(&mut BTreeSet<u64>) -> T) -> T {
        change(
            &mut self
                .unsettled
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

/// Acknowledges messages whose effect is durable: with as few frames as possible, and never one that is not among them.
///
/// Returns how many could be acknowledged; the channel of the others is gone and they will be delivered again, which the
/// receiver of their effects has to recognise.
pub async fn ack_all(messages: Vec<Message>) -> usize {
    let mut acknowledged = 0;
    let mut rest = messages;
    while let Some(origin) = rest.first().map(|first| Arc::clone(&first.origin)) {
        let (mut same, others): (Vec<_>, Vec<_>) = rest
            .into_iter()
            .partition(|message| Arc::ptr_eq(&message.origin, &origin));
        rest = others;
        same.sort_by_key(|message| message.delivery.delivery_tag);
        let tags = same.iter().map(|message| message.delivery.delivery_tag);
        let _in_turn = origin.settling.lock().await;
        let through = origin.locked(|unsettled| settled_through(unsettled, &tags.collect()));
        for message in &same {
            let tag = message.delivery.delivery_tag;
            let multiple = Some(tag) == through;
            if !multiple && through.is_some_and(|through| tag < through) {
                continue;
            }
            let ack = message.delivery.acker.ack(BasicAckOptions { multiple });
            if !matches!(timeout(SETTLE_TIMEOUT, ack).await, Ok(Ok(true))) {
                break;
            }
            acknowledged += if multiple {
                same.iter()
                    .filter(|m| m.delivery.delivery_tag <= tag)
                    .count()
            } else {
                1
            };
        }
    }
    acknowledged
}

/// The highest tag up to which everything is among `settled` or was settled before; takes `settled` out of `unsettled`.
fn settled_through(unsettled: &mut BTreeSet<u64>, settled: &BTreeSet<u64>) -> Option<u64> {
    unsettled.retain(|tag| !settled.contains(tag));
    let first_open = unsettled.first().copied().unwrap_or(u64::MAX);
    settled.range(..first_open).next_back().copied()
}

/// Gives a message back to its queue, for somebody else. Not meant for waiting: it comes back at once.
pub async fn requeue(message: Message) {
    let tag = message.delivery.delivery_tag;
    let _in_turn = message.origin.settling.lock().await;
    message.origin.locked(|unsettled| unsettled.remove(&tag));
    let options = BasicNackOptions {
        multiple: false,
        requeue: true,
    };
    // When this fails, the channel is gone and the broker gives it back by itself.
    let _returned = timeout(SETTLE_TIMEOUT, message.delivery.acker.nack(options)).await;
}

/// Settles shares whose effect is durable; a message is acknowledged with the last of its shares.
pub async fn accept_all(shares: Vec<Share>) {
    let mut done = Vec::with_capacity(shares.len());
    for settled in shares.into_iter().filter_map(|share| share.settle(true)) {
        match settled {
            Settled::Done(message) => done.push(message),
            Settled::Failed(message) => requeue(message).await,
        }
    }
    ack_all(done).await;
}

/// Puts a message aside with the reason and who refuses it, or one task of a batch as the `task.execute` that it might have been: publishes
/// it to the dead exchange, and settles the share once that is confirmed.
///
/// A crash in between leaves it in both queues, with the same `message_id`; it is never in none.
///
/// # Errors
/// When the dead letter could not be published within some seconds; the message goes back to its queue, a batch once all
/// of its other tasks are settled.
pub async fn dead_letter(
    share: Share,
    refusal: &Refusal,
    by: &domain::Origin,
    publisher: &Publisher,
    topology: &Topology,
) -> Result<(), PublishError> {
    let letter = share
        .alone()
        .map(|(properties, key, body)| letter(&properties, key, body, refusal, topology))
        .map(|letter| letter.with_headers([(REFUSED_BY, by.actor.as_str())]));
    let tries = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_times(DEAD_LETTER_TRIES)
        .with_jitter();
    let published = match letter {
        Some(letter) => (|| publisher.publish(letter.clone())).retry(tries).await,
        // Its message was settled, which no share is ever before itself.
        None => Ok(()),
    };
    match share.settle(published.is_ok()) {
        Some(Settled::Done(message)) => {
            ack_all(vec![message]).await;
        }
        Some(Settled::Failed(message)) => requeue(message).await,
        None => {}
    }
    published
}

impl Share {
    /// The answer to whoever wants to know of its refusal, if anybody does.
    #[must_use]
    pub fn answer(&self, refusal: &Refusal) -> Option<Outgoing> {
        let (properties, _, _) = self.alone()?;
        let correlation_id = properties.correlation_id().as_ref().map(|id| id.as_str());
        let reply_to = properties.reply_to().as_ref().map(|queue| queue.as_str());
        let queue = reply_to.filter(|queue| !queue.is_empty())?;
        Outgoing::refusal(queue, correlation_id, refusal)
            .ok()
            .flatten()
    }
}

/// The message as it came, with its routing key, and headers that say why it is dead.
///
/// Left out are what would hurt here (a time to live, a user id that the broker would refuse, a credential), and headers
/// so large that together with ours they would not fit into one frame.
fn letter(
    original: &BasicProperties,
    routing_key: ShortString,
    body: Vec<u8>,
    refusal: &Refusal,
    topology: &Topology,
) -> Outgoing {
    let message_id = original.message_id().clone();
    let id = message_id.unwrap_or_else(|| Uuid::new_v4().to_string().into());
    let mut properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_message_id(id)
        .with_content_type(
            original
                .content_type()
                .clone()
                .unwrap_or_else(|| "application/json".into()),
        );
    let mut copy = |value: &Option<ShortString>,
                    with: fn(BasicProperties, ShortString) -> BasicProperties| {
        if let Some(value) = value {
            properties = with(std::mem::take(&mut properties), value.clone());
        }
    };
    copy(
        original.content_encoding(),
        BasicProperties::with_content_encoding,
    );
    copy(
        original.correlation_id(),
        BasicProperties::with_correlation_id,
    );
    copy(original.reply_to(), BasicProperties::with_reply_to);
    copy(original.kind(), BasicProperties::with_type);
    copy(original.app_id(), BasicProperties::with_app_id);
    if let Some(sent_at) = original.timestamp() {
        properties = properties.with_timestamp(*sent_at);
    }
    let mut headers = FieldTable::default();
    let mut room = MAX_HEADER_BYTES;
    for (name, value) in original.headers().iter().flat_map(|table| table.inner()) {
        let size = serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len());
        if name.as_str() != "authorization" && size < room {
            room -= size;
            headers.insert(name.clone(), value.clone());
        }
    }
    let problem = refusal.problem().to_string();
    let letter = Outgoing {
        exchange: topology.dead().clone(),
        routing_key,
        properties: properties.with_headers(headers),
        body,
        mandatory: true,
    };
    letter.with_headers([
        ("x-reason", refusal.reason.as_str()),
        ("x-problem", problem.as_str()),
    ])
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn acknowledging_up_to_a_tag_never_covers_one_that_is_still_open(
            unsettled in btree_set(1u64..50, 1..40), picks in proptest::collection::vec(any::<bool>(), 50)
        ) {
            let settled: BTreeSet<u64> =
                unsettled.iter().copied().filter(|tag| picks[*tag as usize]).collect();
            let mut left = unsettled.clone();
            let through = settled_through(&mut left, &settled);
            if let Some(through) = through {
                prop_assert!(settled.contains(&through));
                prop_assert!(left.iter().all(|open| *open > through));
            } else {
                prop_assert!(left.first() <= settled.first() || settled.is_empty());
            }
            prop_assert_eq!(left, &unsettled - &settled);
        }
    }
}
