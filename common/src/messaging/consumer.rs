//! Messages as they arrive, in whatever numbers have arrived.

use std::sync::Arc;

use lapin::BasicProperties;
use lapin::message::Delivery;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::settle::Origin;

/// A message in our hands and not yet settled. Dropping it settles nothing: the broker keeps it until the connection
/// ends, and then gives it to somebody else.
#[derive(Debug)]
pub struct Message {
    pub(super) delivery: Delivery,
    pub(super) origin: Arc<Origin>,
}

impl Message {
    /// The routing key it was published with.
    #[must_use]
    pub fn routing_key(&self) -> &str {
        self.delivery.routing_key.as_str()
    }

    /// Its properties.
    #[must_use]
    pub fn properties(&self) -> &BasicProperties {
        &self.delivery.properties
    }

    /// Its body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.delivery.data
    }

    /// Whether somebody may have had it before.
    #[must_use]
    pub fn is_redelivered(&self) -> bool {
        self.delivery.redelivered
    }

    /// Whether it can still be settled: the channel that brought it is open.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.delivery.acker.usable()
    }
}

/// The receiving end of one subscription; it outlives connections.
#[derive(Debug)]
pub struct Consumer {
    pub(super) arriving: mpsc::Receiver<Message>,
    pub(super) shutdown: CancellationToken,
}

impl Consumer {
    /// Everything that has arrived, at least one and at most `max` messages; empty once the shutdown has begun.
    ///
    /// Does not wait for more once there is one. Messages whose connection has gone meanwhile are left out, since they
    /// will come again. Cancelling the wait loses nothing.
    pub async fn recv_batch(&mut self, max: usize) -> Vec<Message> {
        let mut batch = Vec::new();
        while batch.is_empty() {
            let received = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => 0,
                received = self.arriving.recv_many(&mut batch, max.max(1)) => received,
            };
            if received == 0 {
                return Vec::new();
            }
            batch.retain(Message::is_current);
        }
        batch
    }
}
