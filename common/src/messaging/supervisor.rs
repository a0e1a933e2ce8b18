//! Keeps subscriptions alive: rebuilds connection, topology, channels and consumers after any failure.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::consumer::{Consumer, Message};
use super::link::{Broker, Link, LinkError, Pauses, prompt};
use super::settle::Origin;
use super::topology::{Source, Topology};

/// How long a stopping supervisor keeps the connection open for acknowledgements of what is in hand.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// One queue that is consumed.
#[derive(Clone, Debug)]
struct Subscription {
    source: Source,
    prefetch: u16,
    arriving: mpsc::Sender<Message>,
}

/// Collects subscriptions, then keeps them alive.
#[derive(Debug)]
pub struct Supervisor {
    broker: Broker,
    topology: Arc<Topology>,
    subscriptions: Vec<Subscription>,
    shutdown: CancellationToken,
    state: watch::Sender<Option<Arc<Link>>>,
}

impl Supervisor {
    /// Without subscriptions yet. Use a [`Broker`] that nothing publishes with.
    #[must_use]
    pub fn new(broker: Broker, topology: Arc<Topology>, shutdown: CancellationToken) -> Self {
        Self {
            broker,
            topology,
            subscriptions: Vec::new(),
            shutdown,
            state: watch::Sender::new(None),
        }
    }

    /// Adds a queue, on a channel of its own; at most `prefetch` of its messages are unsettled at any time.
    #[must_use]
    pub fn subscribe(&mut self, source: Source, prefetch: u16) -> Consumer {
        let prefetch = prefetch.max(1);
        let (sender, arriving) = mpsc::channel(usize::from(prefetch));
        self.subscriptions.push(Subscription {
            source,
            prefetch,
            arriving: sender,
        });
        Consumer {
            arriving,
            shutdown: self.shutdown.clone(),
        }
    }

    /// Starts consuming. After the shutdown the connection stays open until every [`Consumer`] was dropped, at most
    /// five seconds, so that what is in hand can be acknowledged; the rest stays with the broker.
    #[must_use]
    pub fn start(self) -> (Consuming, JoinHandle<()>) {
        (self.consuming(), tokio::spawn(self.run()))
    }

    /// What can be asked about the subscriptions; they do not run before [`Self::start`].
    #[must_use]
    pub fn consuming(&self) -> Consuming {
        Consuming {
            link: self.state.subscribe(),
            topology: Arc::clone(&self.topology),
        }
    }

    async fn run(self) {
        let mut pauses = Pauses::new();
        while !self.shutdown.is_cancelled() && self.has_listeners() {
            let link = tokio::select! {
                link = self.broker.connect_at_last(&self.topology, &mut pauses) => Arc::new(link),
                () = self.shutdown.cancelled() => return,
            };
            let ended = self.consume_over(&link).await;
            self.state.send_replace(None);
            if let Err(error) = ended {
                tracing::warn!(%error, "the connection for consuming is given up");
            }
            link.give_up().await;
        }
    }

    fn has_listeners(&self) -> bool {
        let mut subscriptions = self.subscriptions.iter();
        subscriptions.any(|subscription| !subscription.arriving.is_closed())
    }

    /// Runs every subscription until one of them fails, the connection is gone, or the shutdown is complete.
    async fn consume_over(&self, link: &Arc<Link>) -> Result<(), LinkError> {
        let mut running = JoinSet::new();
        for subscription in &self.subscriptions {
            let subscription = subscription.clone();
            let arrivals = prompt(subscription.open(link, &self.topology)).await?;
            running.spawn(subscription.forward(arrivals, self.shutdown.clone()));
        }
        self.state.send_replace(Some(Arc::clone(link)));
        while !running.is_empty() {
            let ended = tokio::select! {
                ended = running.join_next() => ended,
                () = link.wait_down() => return Err(LinkError::Unreachable("disconnected".into())),
            };
            match ended {
                Some(Ok(Ok(()))) | None => {}
                Some(Ok(Err(error))) => return Err(error),
                Some(Err(panic)) => return Err(LinkError::Unreachable(panic.to_string())),
            }
        }
        if self.shutdown.is_cancelled() {
            let in_hand = self
                .subscriptions
                .iter()
                .map(|subscription| subscription.arriving.closed());
            let settled = futures::future::join_all(in_hand);
            if tokio::time::timeout(DRAIN_TIMEOUT, settled).await.is_err() {
                tracing::warn!("messages were still in hand when the connection was closed");
            }
        }
        Ok(())
    }
}

/// A consumer of the broker's, with the channel that it belongs to.
struct Arrivals {
    deliveries: lapin::Consumer,
    channel: lapin::Channel,
    origin: Arc<Origin>,
}

impl Subscription {
    async fn open(&self, link: &Link, topology: &Topology) -> lapin::Result<Arrivals> {
        let channel = link.channel().await?;
        channel
            .basic_qos(self.prefetch, BasicQosOptions::default())
            .await?;
        let queue = match self.source {
            Source::Control => topology.declare_control(&channel).await?,
            Source::Tasks | Source::Lifecycle | Source::Doorbell | Source::DeadLetters => {
                topology.queue(self.source).clone()
            }
        };
        let deliveries = channel
            .basic_consume(
                queue,
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok(Arrivals {
            origin: Origin::new(channel.clone()),
            deliveries,
            channel,
        })
    }

    /// Passes on what arrives; ends well only on shutdown or when nobody listens any more.
    async fn forward(
        self,
        mut arrivals: Arrivals,
        shutdown: CancellationToken,
    ) -> Result<(), LinkError> {
        loop {
            let delivery = tokio::select! {
                delivery = arrivals.deliveries.next() => delivery,
                () = shutdown.cancelled() => break,
                () = self.arriving.closed() => break,
            };
            let delivery = match delivery {
                Some(delivery) => delivery?,
                // The broker cancelled it, for example because the queue was deleted.
                None => return Err(LinkError::Unreachable("the consumer was cancelled".into())),
            };
            arrivals.origin.delivered(delivery.delivery_tag);
            let message = Message {
                delivery,
                origin: Arc::clone(&arrivals.origin),
            };
            if self.arriving.send(message).await.is_err() {
                break;
            }
        }
        let tag = arrivals.deliveries.tag();
        let cancelled = arrivals
            .channel
            .basic_cancel(tag, BasicCancelOptions::default());
        let _left_to_the_broker = tokio::time::timeout(DRAIN_TIMEOUT, cancelled).await;
        Ok(())
    }
}

/// What can be asked about running subscriptions; cheap to clone.
#[derive(Clone, Debug)]
pub struct Consuming {
    link: watch::Receiver<Option<Arc<Link>>>,
    topology: Arc<Topology>,
}

impl Consuming {
    /// Whether every subscription is running, as far as is known without asking.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.borrow().as_ref().is_some_and(|link| link.is_up())
    }

    /// Proves the connection by a question to the broker; returns how long the answer took.
    ///
    /// # Errors
    /// When there is no connection or no answer within two seconds.
    pub async fn probe(&self) -> Result<Duration, LinkError> {
        let link = self.link.borrow().clone();
        match link {
            Some(link) => link.probe(self.topology.queue(Source::Tasks)).await,
            None => Err(LinkError::Unreachable("not connected".to_owned())),
        }
    }
}
