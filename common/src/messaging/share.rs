//! A message that is settled as a whole once each of its tasks is decided on: `task.execute` brings one, a batch many.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lapin::BasicProperties;
use lapin::types::ShortString;

use super::batch;
use super::command::Kind;
use super::consumer::Message;

/// What one task of a message is to the message.
///
/// Dropping it settles nothing: the broker keeps the message until the connection ends, and then gives it to somebody
/// else, who finds in the ledger what was accepted of it.
#[derive(Debug)]
pub struct Share {
    whole: Arc<Whole>,
    /// Which task of a batch; `None` when the message is the task.
    index: Option<usize>,
}

#[derive(Debug)]
struct Whole {
    /// Taken by whoever settles the last share.
    message: Mutex<Option<Message>>,
    /// Where each task stands in the message; looked up when the first one is refused.
    places: OnceLock<Vec<Range<usize>>>,
    open: AtomicUsize,
    failed: AtomicBool,
}

/// A message of which every share is settled.
#[derive(Debug)]
pub(super) enum Settled {
    /// What came of each is durable.
    Done(Message),
    /// One came to nothing: the message is to come again.
    Failed(Message),
}

impl Share {
    /// The only share of a message.
    #[must_use]
    pub fn whole(message: Message) -> Self {
        Self {
            whole: Whole::new(message, 1),
            index: None,
        }
    }

    /// The shares of `number` tasks that came in one message, in their order.
    pub fn each(message: Message, number: usize) -> impl Iterator<Item = Self> {
        let whole = Whole::new(message, number);
        (0..number).map(move |index| Self {
            whole: Arc::clone(&whole),
            index: Some(index),
        })
    }

    /// Whether the message can still be settled: the channel that brought it is open.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.look(Message::is_current).unwrap_or(false)
    }

    /// The message that this task might have been alone: its properties, its routing key and its body.
    pub(super) fn alone(&self) -> Option<(BasicProperties, ShortString, Vec<u8>)> {
        self.look(|message| {
            let (properties, body) = (message.properties(), message.body());
            let task = self.index.and_then(|index| {
                let places = self.whole.places.get_or_init(|| batch::places(body));
                let raw = std::str::from_utf8(body.get(places.get(index)?.clone())?).ok()?;
                let (properties, body) = batch::single(properties, raw, index);
                Some((properties, Kind::Execute.as_str().into(), body))
            });
            task.unwrap_or_else(|| {
                let key = message.delivery.routing_key.clone();
                (properties.clone(), key, body.to_vec())
            })
        })
    }

    /// Looks at the message.
    fn look<T>(&self, at: impl FnOnce(&Message) -> T) -> Option<T> {
        let message = self.whole.message.lock();
        message
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(at)
    }

    /// Settles this share; the message, if it was the last.
    pub(super) fn settle(self, is_durable: bool) -> Option<Settled> {
        let whole = &self.whole;
        if !is_durable {
            whole.failed.store(true, Ordering::Release);
        }
        if whole.open.fetch_sub(1, Ordering::AcqRel) != 1 {
            return None;
        }
        let message = whole.message.lock();
        let message = message.unwrap_or_else(PoisonError::into_inner).take()?;
        Some(if whole.failed.load(Ordering::Acquire) {
            Settled::Failed(message)
        } else {
            Settled::Done(message)
        })
    }
}

impl Whole {
    fn new(message: Message, shares: usize) -> Arc<Self> {
        Arc::new(Self {
            message: Mutex::new(Some(message)),
            places: OnceLock::new(),
            open: AtomicUsize::new(shares),
            failed: AtomicBool::new(false),
        })
    }
}
