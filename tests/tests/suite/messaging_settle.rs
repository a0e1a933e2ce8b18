//! Settling on a real broker: acknowledged is gone, given back comes again, and dead letters keep everything.

use std::collections::BTreeSet;

use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::AMQPValue;
use orchestrator_common::domain::{Origin, Timestamp, WorkerId};
use orchestrator_common::messaging::{
    Decoder, Message, PublisherOptions, Reason, Refusal, Share, Source, ack_all, dead_letter,
    requeue,
};
use orchestrator_tests::cancel_commands::{next, publisher, send_cancels, task_of};
use orchestrator_tests::test_broker::TestBroker;
use tokio::task::JoinSet;

fn worker() -> Origin {
    Origin::worker(WorkerId::generate())
}

/// Puts bytes straight into the task queue's exchange, as a foreign publisher would.
async fn send_raw(broker: &TestBroker, key: &str, body: &[u8], properties: BasicProperties) {
    let (connection, channel) = broker.channel().await.unwrap();
    channel
        .confirm_select(lapin::options::ConfirmSelectOptions::default())
        .await
        .unwrap();
    let exchange = broker.topology.commands().clone();
    let options = BasicPublishOptions::default();
    let confirm = channel.basic_publish(exchange, key.into(), options, body, properties);
    assert!(confirm.await.unwrap().await.unwrap().is_ack());
    connection.close(200, "sent".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_may_be_settled_from_many_tasks_at_once() {
    const MESSAGES: usize = 2_000;
    let broker = TestBroker::new(true).unwrap();
    let publisher = publisher(&broker).await;
    send_cancels(&broker, &publisher, MESSAGES).await;
    let mut supervisor = broker.supervisor(&broker.settings).unwrap();
    let mut tasks = supervisor.subscribe(Source::Tasks, 1_000);
    let (consuming, _) = supervisor.start();
    let mut settling = JoinSet::new();
    let mut received = 0;
    // The broker closes a channel on which something is acknowledged twice, and sends everything again.
    while received < MESSAGES {
        for message in next(&mut tasks, 1_000).await {
            assert!(!message.is_redelivered());
            received += 1;
            settling.spawn(ack_all(vec![message]));
        }
    }
    while let Some(acknowledged) = settling.join_next().await {
        assert_eq!(acknowledged.unwrap(), 1);
    }
    consuming.probe().await.unwrap();
    assert_eq!(broker.depth(Source::Tasks).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledging_some_of_a_batch_leaves_the_others() {
    let broker = TestBroker::new(true).unwrap();
    let publisher = publisher(&broker).await;
    send_cancels(&broker, &publisher, 6).await;
    let proxy = broker.proxy().await.unwrap();
    let mut supervisor = broker.supervisor(&broker.through(&proxy)).unwrap();
    let mut tasks = supervisor.subscribe(Source::Tasks, 10);
    let (consuming, _) = supervisor.start();
    let mut batch = Vec::new();
    while batch.len() < 6 {
        batch.extend(next(&mut tasks, 10).await);
    }
    let mut open = BTreeSet::new();
    let mut done = Vec::new();
    for (index, message) in batch.into_iter().enumerate() {
        if index == 2 || index == 4 {
            open.extend(task_of(&message));
        } else {
            done.push(message);
        }
    }
    assert_eq!(ack_all(done).await, 4);
    consuming.probe().await.unwrap();
    proxy.cut();
    let mut again = BTreeSet::new();
    while again.len() < 2 {
        again.extend(next(&mut tasks, 10).await.iter().filter_map(task_of));
    }
    assert_eq!(again, open);
    assert_eq!(broker.depth(Source::Tasks).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requeued_message_comes_again() {
    let broker = TestBroker::new(true).unwrap();
    let publisher = publisher(&broker).await;
    let sent = send_cancels(&broker, &publisher, 1).await;
    let mut supervisor = broker.supervisor(&broker.settings).unwrap();
    let mut tasks = supervisor.subscribe(Source::Tasks, 10);
    let (_consuming, _) = supervisor.start();
    for message in next(&mut tasks, 1).await {
        assert!(!message.is_redelivered());
        requeue(message).await;
    }
    let again = next(&mut tasks, 1).await;
    assert!(again.iter().all(Message::is_redelivered));
    assert_eq!(
        again.iter().filter_map(task_of).collect::<BTreeSet<_>>(),
        sent
    );
    ack_all(again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_goes_to_the_dead_letters_with_its_reason_and_harms_no_neighbour() {
    let broker = TestBroker::new(true).unwrap();
    let publisher = publisher(&broker).await;
    let good = send_cancels(&broker, &publisher, 2).await;
    let foreign = BasicProperties::default()
        .with_correlation_id("c-1".into())
        .with_reply_to("answers".into())
        .with_expiration("600000".into())
        .with_user_id("guest".into());
    send_raw(
        &broker,
        "task.execute",
        b"{\"agent_id\": 5, \"surprise\": 1}",
        foreign,
    )
    .await;
    let more = send_cancels(&broker, &publisher, 2).await;

    let mut supervisor = broker.supervisor(&broker.settings).unwrap();
    let mut tasks = supervisor.subscribe(Source::Tasks, 10);
    let mut dead = supervisor.subscribe(Source::DeadLetters, 10);
    let (_consuming, _) = supervisor.start();
    let decoder = Decoder::default();
    let mut taken = BTreeSet::new();
    let mut refused = 0;
    while taken.len() + refused < 5 {
        let mut done = Vec::new();
        for message in next(&mut tasks, 10).await {
            let (key, properties) = (message.routing_key(), message.properties());
            match decoder.decode(key, properties, message.body(), Timestamp::now()) {
                Ok(_) => {
                    taken.extend(task_of(&message));
                    done.push(message);
                }
                Err(refusal) => {
                    refused += 1;
                    let (publisher, topology) = (publisher.clone(), broker.topology.clone());
                    let aside = tokio::spawn(async move {
                        let share = Share::whole(message);
                        dead_letter(share, &refusal, &worker(), &publisher, &topology).await
                    });
                    aside.await.unwrap().unwrap();
                }
            }
        }
        ack_all(done).await;
    }
    assert_eq!(taken, &good | &more);

    let letters = next(&mut dead, 10).await;
    let letter = letters.first().unwrap();
    assert_eq!(letter.routing_key(), "task.execute");
    assert_eq!(letter.body(), b"{\"agent_id\": 5, \"surprise\": 1}");
    assert_eq!(
        letter
            .properties()
            .correlation_id()
            .as_ref()
            .unwrap()
            .as_str(),
        "c-1"
    );
    assert_eq!(
        letter.properties().reply_to().as_ref().unwrap().as_str(),
        "answers"
    );
    assert_eq!(letter.properties().expiration(), &None);
    let headers = letter.properties().headers().as_ref().unwrap().inner();
    assert_eq!(
        headers.get("x-reason"),
        Some(&AMQPValue::LongString("invalid".into()))
    );
    let Some(AMQPValue::LongString(problem)) = headers.get("x-problem") else {
        panic!("no problem document: {headers:?}");
    };
    let problem: serde_json::Value = serde_json::from_slice(problem.as_bytes()).unwrap();
    let fields: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["field"])
        .collect();
    assert_eq!(fields, ["task_type", "agent_id", "task_data", "surprise"]);
    ack_all(letters).await;
    assert_eq!(broker.depth(Source::Tasks).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_cannot_be_published_goes_back_to_its_queue() {
    let broker = TestBroker::new(true).unwrap();
    let healthy = publisher(&broker).await;
    send_cancels(&broker, &healthy, 1).await;
    let proxy = broker.proxy().await.unwrap();
    let options = PublisherOptions::default();
    let cut_off = broker.publisher(&broker.through(&proxy), options).unwrap();
    proxy.take_down();
    let mut supervisor = broker.supervisor(&broker.settings).unwrap();
    let mut tasks = supervisor.subscribe(Source::Tasks, 10);
    let (_consuming, _) = supervisor.start();
    let refusal = Refusal::new(Reason::UnknownAgent, "agent x is not registered");
    for message in next(&mut tasks, 1).await {
        let share = Share::whole(message);
        let fate = dead_letter(share, &refusal, &worker(), &cut_off, &broker.topology).await;
        assert!(fate.is_err());
    }
    let again = next(&mut tasks, 1).await;
    assert!(again.iter().all(Message::is_redelivered));
    assert_eq!(broker.depth(Source::DeadLetters).await.unwrap(), 0);
    ack_all(again).await;
}
