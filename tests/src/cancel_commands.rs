//! The smallest commands there are, for tests that only care how messages travel.

use std::collections::BTreeSet;
use std::time::Duration;

use orchestrator_common::domain::{TaskId, Timestamp};
use orchestrator_common::messaging::{
    Command, Consumer, Decoder, Message, Outgoing, Publisher, PublisherOptions,
};

use crate::eventually;
use crate::test_broker::TestBroker;

/// A publisher that is connected.
///
/// # Panics
/// When it does not get there.
pub async fn publisher(broker: &TestBroker) -> Publisher {
    let options = PublisherOptions::default();
    let publisher = broker.publisher(&broker.settings, options).unwrap();
    eventually("connected", async || publisher.is_connected()).await;
    publisher
}

/// The command to cancel a task.
///
/// # Panics
/// Never: it has a message.
#[must_use]
pub fn cancel(broker: &TestBroker, task_id: TaskId) -> Outgoing {
    let command = Command::CancelTask {
        task_id,
        reason: None,
    };
    Outgoing::command(&broker.topology, &command).unwrap()
}

/// Publishes `count` of them, each for another task.
///
/// # Panics
/// When the broker does not confirm one.
pub async fn send_cancels(
    broker: &TestBroker,
    publisher: &Publisher,
    count: usize,
) -> BTreeSet<TaskId> {
    let ids: BTreeSet<_> = (0..count).map(|_| TaskId::generate()).collect();
    let messages = ids.iter().map(|id| cancel(broker, *id)).collect();
    for fate in publisher.publish_all(messages).await {
        fate.unwrap();
    }
    ids
}

/// The task that a message wants cancelled; `None` when it cannot be read.
///
/// # Panics
/// When it wants something else.
#[must_use]
pub fn task_of(message: &Message) -> Option<TaskId> {
    let decoder = Decoder::default();
    let (key, properties, body) = (message.routing_key(), message.properties(), message.body());
    match decoder
        .decode(key, properties, body, Timestamp::now())
        .ok()?
        .command
    {
        Command::CancelTask { task_id, .. } => Some(task_id),
        other => panic!("unexpected {other:?}"),
    }
}

/// What arrives next, at most `max` messages.
///
/// # Panics
/// When nothing arrives within ten seconds.
pub async fn next(consumer: &mut Consumer, max: usize) -> Vec<Message> {
    tokio::time::timeout(Duration::from_secs(10), consumer.recv_batch(max))
        .await
        .expect("something arrives within ten seconds")
}
