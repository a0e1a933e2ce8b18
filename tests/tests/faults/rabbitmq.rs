//! A broker that is killed and restarted, a connection that is cut, and messages that are no good.

use std::time::{Duration, Instant};

use orchestrator_common::domain::TaskId;
use orchestrator_common::messaging::Source;
use orchestrator_tests::deployment::{Load, Places, Submitted};
use orchestrator_tests::private_servers::PrivateRabbitMq;
use orchestrator_tests::tcp_proxy::TcpProxy;
use orchestrator_tests::test_broker::TestBroker;
use orchestrator_tests::{eventually, eventually_within};
use serde_json::json;

use super::{BOUND, deployment};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_rabbitmq_under_load_loses_nothing() {
    let Some(mut rabbitmq) = PrivateRabbitMq::start().await.unwrap() else {
        return;
    };
    let places = Places {
        rabbitmq_url: rabbitmq.url(),
        ..Places::shared()
    };
    let (deployment, options) = deployment(&places).await;
    let api = deployment.api().await.unwrap();
    let mut one = deployment.worker(100).await.unwrap();
    let mut other = deployment.worker(100).await.unwrap();
    let mut load = Load::start(options, &[&api]);
    load.more(100, "in good weather").await;
    // So that many are only in RabbitMQ, half of them on their way to a worker.
    one.process.freeze();
    other.process.freeze();
    load.more(100, "while no worker moves").await;
    rabbitmq.kill();
    one.process.go_on();
    other.process.go_on();
    load.more(50, "without RabbitMQ").await;
    rabbitmq.start_again().await.unwrap();
    let fault_over = Instant::now();
    let accepted = load.accepted();
    let took = deployment
        .recovered("restarted RabbitMQ", fault_over, accepted)
        .await;
    assert!(took < BOUND);
    let used_again = eventually("tasks go through RabbitMQ again", async || {
        deployment
            .broker
            .consumers(Source::Tasks)
            .await
            .is_ok_and(|number| number == 2)
            && super::is_healthy(&api).await
    });
    eprintln!(
        "CONNECTED to the restarted RabbitMQ after {:.1} s",
        used_again.await.as_secs_f64()
    );
    load.more(50, "with RabbitMQ again").await;
    let submitted = load.stop().await;
    deployment.audit(&submitted).await;
    deployment.end(vec![api], vec![one, other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_while_publishes_await_confirms_loses_nothing() {
    let broker = TestBroker::new(true).unwrap();
    let network = TcpProxy::in_front_of(&broker.address()).await.unwrap();
    let places = Places::shared().with_rabbitmq_behind(&network);
    let (deployment, options) = deployment(&places).await;
    let api = deployment.api().await.unwrap();
    let worker = deployment.worker(100).await.unwrap();
    let mut load = Load::start(options, &[&api]);
    load.more(100, "in good weather").await;
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        let before = load.accepted().len();
        network.hold_answers();
        // What reaches the broker now is not confirmed to the API; the queue has it all the same.
        eventually("publishes await their confirms", async || {
            load.waiting() == load.callers()
        })
        .await;
        network.cut();
        network.restore();
        let fault = Instant::now();
        load.more(50, "after the cut").await;
        assert!(load.accepted().len() > before);
        let accepted = load.accepted();
        let took = deployment
            .recovered("cut connection to RabbitMQ", fault, accepted)
            .await;
        slowest = slowest.max(took);
    }
    assert!(slowest < BOUND);
    let submitted = load.stop().await;
    deployment.audit(&submitted).await;
    deployment.end(vec![api], vec![worker]).await;
}

/// A fixed order that has nothing to do with the one that it is made from.
fn shuffled<T>(items: Vec<T>) -> Vec<T> {
    let mut numbered: Vec<(u64, T)> = items
        .into_iter()
        .enumerate()
        .map(|(index, item)| ((index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15), item))
        .collect();
    numbered.sort_by_key(|(number, _)| *number);
    numbered.into_iter().map(|(_, item)| item).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicate_and_reordered_deliveries_give_every_task_one_outcome() {
    let broker = TestBroker::new(true).unwrap();
    let network = TcpProxy::in_front_of(&broker.address()).await.unwrap();
    let places = Places::shared().with_rabbitmq_behind(&network);
    let (deployment, options) = deployment(&places).await;
    let one = deployment.worker(20).await.unwrap();
    let other = deployment.worker(20).await.unwrap();
    let tasks: Vec<TaskId> = (0..400).map(|_| TaskId::generate()).collect();
    let mut messages = Vec::new();
    for (number, task_id) in tasks.iter().enumerate() {
        let agent_id = &options.agents[number % options.agents.len()];
        let task = json!({"task_id": task_id, "agent_id": agent_id, "task_type": "t",
            "task_data": {"millis": 20}});
        messages.extend([
            ("task.execute", task.clone()),
            ("task.execute", task.clone()),
        ]);
        messages.push(("task.execute", task));
        if number % 4 == 0 {
            let urgent = json!({"task_id": task_id, "priority": 10});
            messages.push(("task.reprioritise", urgent));
        }
    }
    let begun = Instant::now();
    for (number, (kind, body)) in shuffled(messages).into_iter().enumerate() {
        deployment.publish(kind, &body).await.unwrap();
        if number % 400 == 399 {
            // What is delivered and not yet acknowledged comes again, behind what came after it.
            network.cut();
        }
    }
    let took = deployment
        .recovered("duplicates, reordering and cuts", begun, tasks.clone())
        .await;
    assert!(took < BOUND * 2);
    let empty = async || {
        deployment
            .broker
            .depth(Source::Tasks)
            .await
            .is_ok_and(|depth| depth == 0)
    };
    eventually("the queue is empty", empty).await;
    deployment.audit(&Submitted::exactly(tasks)).await;
    deployment.end(Vec::new(), vec![one, other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_poison_messages_delay_the_good_ones_among_them_only_a_little() {
    const POISON: usize = 10_000;
    let (deployment, options) = deployment(&Places::shared()).await;
    let worker = deployment.worker(100).await.unwrap();
    let bad = [
        b"not JSON".to_vec(),
        br#"{"version": 99}"#.to_vec(),
        br#"{"agent_id": "nobody", "task_type": "t", "task_data": {}}"#.to_vec(),
        br#"{"agent_id": "a", "task_type": "t", "task_data": {}, "priority": 11}"#.to_vec(),
        vec![0xff; 64],
    ];
    let tasks: Vec<TaskId> = (0..POISON / 50).map(|_| TaskId::generate()).collect();
    let mut messages = Vec::with_capacity(POISON + tasks.len());
    for (number, poison) in bad.iter().cycle().take(POISON).enumerate() {
        messages.push(poison.clone());
        if number % 50 == 0 {
            let agent_id = &options.agents[0];
            let task = json!({"task_id": tasks[number / 50], "agent_id": agent_id,
                "task_type": "t", "task_data": {}});
            messages.push(task.to_string().into_bytes());
        }
    }
    let begun = Instant::now();
    deployment
        .publish_all("task.execute", messages)
        .await
        .unwrap();
    let took = deployment
        .recovered("good among 10,000 poison messages", begun, tasks.clone())
        .await;
    assert!(took < BOUND * 2);
    let patience = Duration::from_secs(90);
    let aside = eventually_within(patience, "all poison is put aside", async || {
        let depth = deployment.broker.depth(Source::DeadLetters).await;
        depth.is_ok_and(|depth| depth as usize >= POISON)
    });
    aside.await;
    eprintln!(
        "PUT ASIDE 10,000 poison messages in {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    let left = deployment.broker.depth(Source::Tasks).await.unwrap();
    let dead = deployment.broker.depth(Source::DeadLetters).await.unwrap();
    assert_eq!((left, dead as usize), (0, POISON));
    deployment.audit(&Submitted::exactly(tasks)).await;
    deployment.end(Vec::new(), vec![worker]).await;
}
