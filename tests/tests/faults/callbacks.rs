//! Callbacks of workers that die, stop, and work side by side.

use std::collections::BTreeSet;

use orchestrator_common::domain::{AgentId, TaskId};
use orchestrator_tests::counting_agents::Repetition;
use orchestrator_tests::deployment::{Deployment, Places};
use orchestrator_tests::eventually;
use orchestrator_tests::receiver::{Behaviour, Receiver, SECRET};
use serde_json::json;

use super::PROGRAMS;

/// A deployment whose workers may call this machine back, and its agent.
async fn calling_back() -> (Deployment, AgentId) {
    let places = Places::shared();
    let created = Deployment::create(PROGRAMS, &places, Repetition::RunsAgain).await;
    let mut deployment = created.unwrap();
    for (name, value) in [
        ("WEBHOOK_SECRET", SECRET),
        ("CALLBACK_ALLOWED_HOSTS", "127.0.0.0/8"),
    ] {
        let variable = (name.to_owned(), value.to_owned());
        deployment.variables.extend([variable]);
    }
    let agent = deployment.agent("a", 50).await.unwrap();
    (deployment, agent)
}

async fn send(deployment: &Deployment, agent: &AgentId, receiver: &Receiver) -> TaskId {
    let task_id = TaskId::generate();
    let task = json!({"task_id": task_id, "agent_id": agent, "task_type": "t", "task_data": {},
        "callback_url": receiver.url("/")});
    deployment.publish("task.execute", &task).await.unwrap();
    task_id
}

/// Waits until so many callbacks of the ledger are delivered, which must be all that there are.
async fn delivered(deployment: &Deployment, number: i64) {
    let sql = "SELECT COUNT(*) FROM callbacks WHERE status = 'delivered'";
    eventually(&format!("{number} callbacks are delivered"), async || {
        deployment.count(sql).await == number
    })
    .await;
    let all = deployment.count("SELECT COUNT(*) FROM callbacks").await;
    assert_eq!(all, number);
}

/// Of some callbacks an attempt is under way, others are owed and not begun.
async fn some_hang(deployment: &Deployment, agent: &AgentId, receiver: &Receiver) {
    for _ in 0..6 {
        send(deployment, agent, receiver).await;
    }
    let sql = "SELECT COUNT(*) FROM callbacks";
    eventually("six callbacks are owed", async || {
        deployment.count(sql).await == 6
    })
    .await;
    eventually("the receiver hangs", async || {
        !receiver.received().is_empty()
    })
    .await;
    let begun = "SELECT COUNT(*) FROM callbacks WHERE attempts > 0";
    assert!((1..6).contains(&deployment.count(begun).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_workers_callbacks_are_made_by_another() {
    let (deployment, agent) = calling_back().await;
    let receiver = Receiver::start(Behaviour::Hangs).await.unwrap();
    let mut killed = deployment.worker(50).await.unwrap();
    some_hang(&deployment, &agent, &receiver).await;
    killed.process.kill();
    receiver.set(Behaviour::accepts());
    let other = deployment.worker(50).await.unwrap();
    // Long before the leases of the killed one end.
    delivered(&deployment, 6).await;
    let ids: BTreeSet<_> = receiver.received().into_iter().map(|r| r.id).collect();
    assert_eq!(ids.len(), 6);
    deployment.end(vec![], vec![other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_worker_hands_its_callbacks_back() {
    let (deployment, agent) = calling_back().await;
    let receiver = Receiver::start(Behaviour::Hangs).await.unwrap();
    let stopped = deployment.worker(50).await.unwrap();
    some_hang(&deployment, &agent, &receiver).await;
    assert!(stopped.process.stop().await.success());
    receiver.set(Behaviour::accepts());
    let other = deployment.worker(50).await.unwrap();
    delivered(&deployment, 6).await;
    deployment.end(vec![], vec![other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_make_each_callback_once() {
    let (deployment, agent) = calling_back().await;
    let receiver = Receiver::start(Behaviour::accepts()).await.unwrap();
    let one = deployment.worker(50).await.unwrap();
    let other = deployment.worker(50).await.unwrap();
    let mut expected = BTreeSet::new();
    for _ in 0..200 {
        expected.insert(send(&deployment, &agent, &receiver).await.to_string());
    }
    delivered(&deployment, 200).await;
    let told = receiver.received();
    assert_eq!(told.len(), 200);
    let tasks = told.iter().map(|told| &told.document["task_id"]);
    let tasks: BTreeSet<String> = tasks
        .map(|id| id.as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(tasks, expected);
    deployment.end(vec![], vec![one, other]).await;
}
