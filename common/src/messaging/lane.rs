//! One channel that publishes batch by batch.
//!
//! A channel belongs to one task: with two, confirms reach the wrong publisher. And because the broker's "returned" comes
//! with somebody's confirm, not with its own, a batch is settled as a whole, by `message_id`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::link::{Link, LinkError, prompt};
use super::outgoing::Outgoing;
use super::parcel::parcels;
use super::publisher::{PublishError, Request, Waiting};
use super::topology::Topology;

pub(super) struct Lane {
    pub(super) channel: Channel,
    pub(super) link: Arc<Link>,
    pub(super) topology: Arc<Topology>,
    pub(super) waiting: Waiting,
    pub(super) batch: usize,
    pub(super) stall: Duration,
    pub(super) shutdown: CancellationToken,
}

impl Lane {
    /// A channel with confirms.
    pub(super) async fn open(link: &Link) -> Result<Channel, LinkError> {
        prompt(async {
            let channel = link.channel().await?;
            let confirming = channel.confirm_select(ConfirmSelectOptions::default());
            confirming.await.map(|()| channel)
        })
        .await
    }

    /// Publishes what waits until the connection fails, or until the shutdown when nothing waits any more.
    pub(super) async fn run(self) -> Result<(), LinkError> {
        loop {
            let mut batch = self.take().await;
            if batch.is_empty() {
                return Ok(());
            }
            // Whoever gave up waiting may have found another way: sending it now would only be a surprise.
            batch.retain(|request| !request.fate.is_closed());
            if !self.link.is_up() {
                refuse(batch);
                return Err(LinkError::Unreachable("disconnected".to_owned()));
            }
            if self.link.is_blocked() {
                refuse(batch);
                continue;
            }
            self.publish(batch).await?;
        }
    }

    /// What waits, at least one; nothing once the shutdown is complete.
    async fn take(&self) -> Vec<Request> {
        let mut batch = Vec::new();
        let mut waiting = self.waiting.lock().await;
        tokio::select! {
            biased;
            _ = waiting.recv_many(&mut batch, self.batch) => {}
            () = self.shutdown.cancelled() => {
                waiting.close();
                waiting.recv_many(&mut batch, self.batch).await;
            }
        }
        batch
    }

    async fn publish(&self, batch: Vec<Request>) -> Result<(), LinkError> {
        let batch = parcels(batch, &self.topology);
        let deadline = Instant::now() + self.stall;
        let mut fates: Vec<Known> = batch.iter().map(|_| Known::Open).collect();
        let mut returned = HashSet::new();
        {
            let mut confirms: FuturesUnordered<_> = batch
                .iter()
                .enumerate()
                .map(|(index, parcel)| async move { (index, self.send(&parcel.outgoing).await) })
                .collect();
            while let Ok(Some((index, confirmation))) = timeout_at(deadline, confirms.next()).await
            {
                let fate = match confirmation {
                    Ok(Confirmation::Ack(back)) => {
                        returned.extend(back.and_then(|message| id_of(&message.properties)));
                        Known::Confirmed
                    }
                    Ok(Confirmation::Nack(back)) => {
                        returned.extend(back.and_then(|message| id_of(&message.properties)));
                        Known::Refused
                    }
                    Ok(Confirmation::NotRequested) => Known::Broken(None),
                    Err(error) => Known::Broken(Some(error)),
                };
                if let Some(open) = fates.get_mut(index) {
                    *open = fate;
                }
            }
        }
        let mut ended = Ok(());
        for (parcel, fate) in batch.into_iter().zip(fates) {
            let fate = match fate {
                Known::Confirmed => match id_of(&parcel.outgoing.properties) {
                    Some(id) if returned.contains(&id) => Err(PublishError::Unroutable),
                    Some(_) | None => Ok(()),
                },
                Known::Refused => Err(PublishError::Refused),
                Known::Broken(error) => {
                    ended = Err(error.map_or(LinkError::Silent(self.stall), LinkError::Broken));
                    Err(PublishError::NotConfirmed)
                }
                Known::Open => {
                    ended = Err(LinkError::Silent(self.stall));
                    Err(PublishError::TimedOut)
                }
            };
            parcel.tell(&fate);
        }
        ended
    }

    async fn send(&self, outgoing: &Outgoing) -> lapin::Result<Confirmation> {
        let options = BasicPublishOptions {
            mandatory: outgoing.mandatory,
            ..BasicPublishOptions::default()
        };
        let confirm = self.channel.basic_publish(
            outgoing.exchange.clone(),
            outgoing.routing_key.clone(),
            options,
            &outgoing.body,
            outgoing.properties.clone(),
        );
        confirm.await?.await
    }
}

/// What is known of one message of a batch.
enum Known {
    Open,
    Confirmed,
    Refused,
    Broken(Option<lapin::Error>),
}

fn id_of(properties: &lapin::BasicProperties) -> Option<String> {
    properties
        .message_id()
        .as_ref()
        .map(|id| id.as_str().to_owned())
}

fn refuse(requests: Vec<Request>) {
    for request in requests {
        let _gone = request.fate.send(Err(PublishError::Unavailable));
    }
}
