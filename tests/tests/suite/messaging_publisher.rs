//! Publishing to a real broker: what is confirmed is there, and what is not is said.

use std::time::{Duration, Instant};

use lapin::types::FieldTable;
use orchestrator_common::domain::{AgentId, TaskId};
use orchestrator_common::messaging::{
    Command, Outgoing, PublishError, Publisher, PublisherOptions, Source, Topology,
};
use orchestrator_tests::eventually;
use orchestrator_tests::test_broker::TestBroker;

fn cancel(topology: &Topology) -> Outgoing {
    let task_id = TaskId::generate();
    let command = Command::CancelTask {
        task_id,
        reason: None,
    };
    Outgoing::command(topology, &command).unwrap()
}

fn start(topology: &Topology) -> Outgoing {
    let agent_id = AgentId::parse("a.b").unwrap();
    Outgoing::command(topology, &Command::Start { agent_id }).unwrap()
}

async fn connected(publisher: &Publisher) {
    eventually("connected", async || publisher.is_connected()).await;
}

/// Short time-outs, so that tests of silence are short.
fn impatient() -> PublisherOptions {
    PublisherOptions {
        timeout: Duration::from_millis(300),
        stall: Duration::from_millis(300),
        ..PublisherOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_command_is_in_its_queue() {
    for quorum in [true, false] {
        let broker = TestBroker::new(quorum).unwrap();
        let options = PublisherOptions::default();
        let publisher = broker.publisher(&broker.settings, options).unwrap();
        connected(&publisher).await;
        publisher.publish(cancel(&broker.topology)).await.unwrap();
        publisher.publish(start(&broker.topology)).await.unwrap();
        assert_eq!(broker.depth(Source::Tasks).await.unwrap(), 1);
        assert_eq!(broker.depth(Source::Lifecycle).await.unwrap(), 1);
        assert!(publisher.probe().await.unwrap() < Duration::from_secs(2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unroutable_messages_fail_and_their_neighbours_do_not() {
    let broker = TestBroker::new(false).unwrap();
    let options = PublisherOptions::default();
    let publisher = broker.publisher(&broker.settings, options).unwrap();
    connected(&publisher).await;
    let (_connection, channel) = broker.channel().await.unwrap();
    let lifecycle = broker.topology.queue(Source::Lifecycle).clone();
    let commands = broker.topology.commands().clone();
    channel
        .queue_unbind(lifecycle, commands, "agent.*".into(), FieldTable::default())
        .await
        .unwrap();

    let messages = (0..600)
        .map(|index| match index % 3 {
            0 => start(&broker.topology),
            _ => cancel(&broker.topology),
        })
        .collect();
    for (index, fate) in publisher
        .publish_all(messages)
        .await
        .into_iter()
        .enumerate()
    {
        let expected = match index % 3 {
            0 => Err(PublishError::Unroutable),
            _ => Ok(()),
        };
        assert_eq!(fate, expected, "message {index}");
    }
    assert_eq!(broker.depth(Source::Tasks).await.unwrap(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_before_the_confirm_is_an_error_and_the_next_publish_succeeds() {
    let broker = TestBroker::new(true).unwrap();
    let proxy = broker.proxy().await.unwrap();
    let options = PublisherOptions::default();
    let publisher = broker.publisher(&broker.through(&proxy), options).unwrap();
    connected(&publisher).await;

    proxy.hold_answers();
    let unconfirmed = {
        let (publisher, message) = (publisher.clone(), cancel(&broker.topology));
        tokio::spawn(async move { publisher.publish(message).await })
    };
    eventually("the message has reached the broker", async || {
        broker.depth(Source::Tasks).await.unwrap() == 1
    })
    .await;
    proxy.cut();
    let fate = unconfirmed.await.unwrap();
    assert_eq!(fate, Err(PublishError::NotConfirmed));

    proxy.restore();
    eventually("publishing works again", async || {
        publisher.publish(cancel(&broker.topology)).await.is_ok()
    })
    .await;
    // What was not confirmed has arrived all the same: that is why receivers have to recognise it.
    assert!(broker.depth(Source::Tasks).await.unwrap() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_fails_at_once_while_the_broker_is_away() {
    let broker = TestBroker::new(false).unwrap();
    let proxy = broker.proxy().await.unwrap();
    let options = PublisherOptions::default();
    let publisher = broker.publisher(&broker.through(&proxy), options).unwrap();
    connected(&publisher).await;
    proxy.take_down();
    eventually("noticed", async || !publisher.is_connected()).await;
    assert!(publisher.probe().await.is_err());

    let asked = Instant::now();
    let fate = publisher.publish(cancel(&broker.topology)).await;
    assert_eq!(fate, Err(PublishError::Unavailable));
    assert!(asked.elapsed() < options.timeout / 2);

    proxy.restore();
    connected(&publisher).await;
    publisher.publish(cancel(&broker.topology)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_broker_costs_one_timeout_and_a_new_connection() {
    let broker = TestBroker::new(false).unwrap();
    let proxy = broker.proxy().await.unwrap();
    let settings = broker.through(&proxy);
    let publisher = broker.publisher(&settings, impatient()).unwrap();
    connected(&publisher).await;
    proxy.pause();
    let fate = publisher.publish(cancel(&broker.topology)).await;
    assert_eq!(fate, Err(PublishError::TimedOut));
    eventually("the silent connection is given up", async || {
        !publisher.is_connected()
    })
    .await;
    proxy.restore();
    eventually("publishing works again", async || {
        publisher.publish(cancel(&broker.topology)).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_wait_is_refused() {
    let broker = TestBroker::new(false).unwrap();
    let proxy = broker.proxy().await.unwrap();
    let options = PublisherOptions {
        lanes: 1,
        batch: 1,
        waiting: 2,
        stall: Duration::from_secs(60),
        ..impatient()
    };
    let publisher = broker.publisher(&broker.through(&proxy), options).unwrap();
    connected(&publisher).await;
    proxy.pause();
    let messages = (0..20).map(|_| cancel(&broker.topology)).collect();
    let fates = publisher.publish_all(messages).await;
    let full = fates
        .iter()
        .filter(|fate| **fate == Err(PublishError::Full));
    let unconfirmed = fates
        .iter()
        .filter(|fate| **fate == Err(PublishError::TimedOut));
    assert_eq!((full.count(), unconfirmed.count()), (17, 3), "{fates:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_publisher_sends_what_waits_and_takes_no_more() {
    let broker = TestBroker::new(false).unwrap();
    let options = PublisherOptions {
        lanes: 1,
        batch: 8,
        ..PublisherOptions::default()
    };
    let publisher = broker.publisher(&broker.settings, options).unwrap();
    connected(&publisher).await;
    let messages: Vec<_> = (0..200).map(|_| cancel(&broker.topology)).collect();
    let publishing = {
        let publisher = publisher.clone();
        tokio::spawn(async move { publisher.publish_all(messages).await })
    };
    eventually("publishing has begun", async || {
        broker.depth(Source::Tasks).await.unwrap() > 0
    })
    .await;
    broker.shutdown.cancel();
    let confirmed = publishing.await.unwrap().into_iter().filter(Result::is_ok);
    assert_eq!(confirmed.count(), 200);
    eventually("it takes no more", async || {
        publisher.publish(cancel(&broker.topology)).await == Err(PublishError::Unavailable)
    })
    .await;
}
