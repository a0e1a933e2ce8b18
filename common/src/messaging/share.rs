//! A message that is settled as a whole once each of its tasks is decided on: `task.execute` brings one, a batch many.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::consumer::Message;

/// What one task of a message is to the message.
///
/// Dropping it settles nothing: the broker keeps the message until the connection ends, and then gives it to somebody
/// else, who finds in the ledger what was accepted of it.
#[derive(Debug)]
pub struct Share {
    whole: Arc<Whole>,
    /// Which task of a batch; `None` when the message is the task.
    pub(super) index: Option<usize>,
}

#[derive(Debug)]
struct Whole {
    /// Taken by whoever settles the last share.
    message: Mutex<Option<Message>>,
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

    /// Looks at the message.
    pub(super) fn look<T>(&self, at: impl FnOnce(&Message) -> T) -> Option<T> {
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
            open: AtomicUsize::new(shares),
            failed: AtomicBool::new(false),
        })
    }
}
