//! Consuming from a real broker: everything comes, comes again when it was not settled, and is settled in one place.

use std::collections::BTreeSet;
use std::time::Duration;

use orchestrator_common::domain::TaskId;
use orchestrator_common::messaging::{Control, Doorbell, Message, Outgoing, Source, ack_all};
use orchestrator_tests::cancel_commands::{cancel, next, publisher, send_cancels, task_of};
use orchestrator_tests::eventually;
use orchestrator_tests::test_broker::TestBroker;

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_whatever_has_arrived() {
    let broker = TestBroker::new(true).unwrap();
    let publisher = publisher(&broker).await;
    let sent = send_cancels(&broker, &publisher, 300).await;
    let mut supervisor = broker.supervisor(&broker.settings).unwrap();
    let mut tasks = supervisor.subscribe(Source::Tasks, 64);
    let (consuming, _) = supervisor.start();

    let mut seen = BTreeSet::new();
    let mut batches = 0;
    while seen.len() < sent.len() {
        let batch = next(&mut tasks, 50).await;
        assert!(batch.len() <= 50);
        seen.extend(batch.iter().filter_map(task_of));
        let arrived = batch.len();
        assert_eq!(ack_all(batch).await, arrived);
        batches += 1;
    }
    assert_eq!(seen, sent);
    assert!(batches < 300, "messages came one by one");
    assert!(consuming.is_connected());
    assert!(consuming.probe().await.unwrap() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn prefetch_bounds_what_is_in_hand() {
    let broker = TestBroker::new(true).unwrap();
    let publisher = publisher(&broker).await;
    send_cancels(&broker, &publisher, 20).await;
    let mut supervisor = broker.supervisor(&broker.settings).unwrap();
    let mut tasks = supervisor.subscribe(Source::Tasks, 5);
    let (_consuming, _) = supervisor.start();
    let mut held = Vec::new();
    while held.len() < 5 {
        held.extend(next(&mut tasks, 100).await);
    }
    assert_eq!(held.len(), 5);
    assert_eq!(broker.depth(Source::Tasks).await.unwrap(), 15);
    ack_all(held).await;
    assert!(!next(&mut tasks, 100).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_cut_unsettled_messages_come_again_and_old_ones_cannot_be_settled() {
    let broker = TestBroker::new(true).unwrap();
    let publisher = publisher(&broker).await;
    let proxy = broker.proxy().await.unwrap();
    let sent = send_cancels(&broker, &publisher, 40).await;
    let mut supervisor = broker.supervisor(&broker.through(&proxy)).unwrap();
    let mut tasks = supervisor.subscribe(Source::Tasks, 100);
    let (consuming, _) = supervisor.start();
    let mut held = Vec::new();
    while held.len() < 40 {
        held.extend(next(&mut tasks, 100).await);
    }
    let kept = held.split_off(10);
    assert_eq!(ack_all(held).await, 10);

    // What was acknowledged is on its way; the broker has it when it says so.
    consuming.probe().await.unwrap();
    proxy.cut();
    eventually("the old messages are known to be lost", async || {
        kept.iter().all(|message| !message.is_current())
    })
    .await;
    let expected: BTreeSet<_> = kept.iter().filter_map(task_of).collect();
    let mut again = BTreeSet::new();
    while again.len() < 30 {
        let batch = next(&mut tasks, 100).await;
        assert!(batch.iter().all(Message::is_redelivered));
        again.extend(batch.iter().filter_map(task_of));
        let arrived = batch.len();
        assert_eq!(ack_all(batch).await, arrived);
    }
    assert_eq!(again, expected);
    assert!(again.is_subset(&sent));
    // Tags start at 1 on every channel: settling an old message must not touch a new one.
    assert_eq!(ack_all(kept).await, 0);
    eventually("connected again", async || consuming.is_connected()).await;
    eventually("nothing is left", async || {
        broker.depth(Source::Tasks).await.unwrap() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_survives_the_loss_of_its_queue() {
    let broker = TestBroker::new(false).unwrap();
    let mut supervisor = broker.supervisor(&broker.settings).unwrap();
    let mut tasks = supervisor.subscribe(Source::Tasks, 10);
    let (consuming, _) = supervisor.start();
    eventually("connected", async || consuming.is_connected()).await;
    let publisher = publisher(&broker).await;
    let (_connection, channel) = broker.channel().await.unwrap();
    let queue = broker.topology.queue(Source::Tasks).clone();
    let options = lapin::options::QueueDeleteOptions::default();
    channel.queue_delete(queue, options).await.unwrap();

    let id = TaskId::generate();
    eventually("a command can be published again", async || {
        publisher.publish(cancel(&broker, id)).await.is_ok()
    })
    .await;
    let batch = next(&mut tasks, 10).await;
    assert_eq!(batch.first().and_then(task_of), Some(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_worker_hears_control_signals_and_one_hears_a_doorbell() {
    let broker = TestBroker::new(true).unwrap();
    let publisher = publisher(&broker).await;
    let mut first = broker.supervisor(&broker.settings).unwrap();
    let mut second = broker.supervisor(&broker.settings).unwrap();
    let mut controls = [
        first.subscribe(Source::Control, 10),
        second.subscribe(Source::Control, 10),
    ];
    let mut bells = first.subscribe(Source::Doorbell, 10);
    let (first, _) = first.start();
    let (second, _) = second.start();
    eventually("both listen", async || {
        first.is_connected() && second.is_connected()
    })
    .await;

    let signal = Control::CancelTask {
        task_id: TaskId::generate(),
    };
    let message = Outgoing::control(&broker.topology, &signal).unwrap();
    publisher.publish(message).await.unwrap();
    for control in &mut controls {
        let heard = next(control, 1).await;
        assert_eq!(
            Control::decode(heard.first().unwrap().body()),
            Some(signal.clone())
        );
    }
    let bell = Doorbell {
        agent_id: "a".to_owned().try_into().unwrap(),
    };
    let message = Outgoing::doorbell(&broker.topology, &bell).unwrap();
    publisher.publish(message).await.unwrap();
    let heard = next(&mut bells, 1).await;
    assert_eq!(Doorbell::decode(heard.first().unwrap().body()), Some(bell));
    ack_all(heard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_consumer_can_still_acknowledge_and_leaves_the_rest() {
    let broker = TestBroker::new(true).unwrap();
    let publisher = publisher(&broker).await;
    send_cancels(&broker, &publisher, 10).await;
    let mut supervisor = broker.supervisor(&broker.settings).unwrap();
    let mut tasks = supervisor.subscribe(Source::Tasks, 10);
    let (_consuming, running) = supervisor.start();
    let in_hand = next(&mut tasks, 4).await;
    let taken = in_hand.len();
    broker.shutdown.cancel();
    assert!(tasks.recv_batch(10).await.is_empty());
    assert_eq!(ack_all(in_hand).await, taken);
    drop(tasks);
    tokio::time::timeout(Duration::from_secs(10), running)
        .await
        .unwrap()
        .unwrap();
    let left = u32::try_from(10 - taken).unwrap();
    eventually("the rest is back in the queue", async || {
        broker.depth(Source::Tasks).await.unwrap() == left
    })
    .await;
}
