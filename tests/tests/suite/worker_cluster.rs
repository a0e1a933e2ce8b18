//! Several workers at full strength: they share hot agents by doorbell, and take over what a stopping one hands back.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use orchestrator_common::domain::{AgentId, TaskId, TaskStatus, WorkerId};
use orchestrator_common::messaging::Source;
use orchestrator_tests::eventually;
use orchestrator_tests::full_worker::FullStrength;
use serde_json::json;

/// How many of the tasks each worker runs now.
async fn shares(full: &FullStrength, tasks: &[TaskId]) -> HashMap<WorkerId, usize> {
    let mut shares = HashMap::new();
    for task in full.ledger.tasks(tasks).await.unwrap() {
        if task.status == TaskStatus::Running {
            *shares.entry(task.worker_id.unwrap()).or_default() += 1;
        }
    }
    shares
}

async fn slow_tasks(full: &FullStrength, agent_id: &AgentId, number: usize) -> Vec<TaskId> {
    let mut tasks = Vec::new();
    for _ in 0..number {
        let slow = json!({"delay_ms": 60_000});
        tasks.push(full.send_task(agent_id, slow).await.unwrap());
    }
    tasks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_agent_fills_one_worker_and_the_other_takes_the_rest() {
    let mut full = FullStrength::start().await.unwrap();
    full.settings.shutdown_grace = Duration::ZERO;
    let agent_id = full.agent("hot", 10).await.unwrap();
    let small = full.worker(2).await.unwrap();
    let tasks = slow_tasks(&full, &agent_id, 12).await;
    eventually("the small worker is full", async || {
        shares(&full, &tasks).await == HashMap::from([(small.worker_id, 2)])
    })
    .await;
    let large = full.worker(100).await.unwrap();
    eventually("the agent's limit is used up", async || {
        let expected = HashMap::from([(small.worker_id, 2), (large.worker_id, 8)]);
        shares(&full, &tasks).await == expected
    })
    .await;
    small.stop().await.unwrap();
    large.stop().await.unwrap();
    full.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_worker_rings_and_leaves_the_bells_to_others() {
    let mut full = FullStrength::start().await.unwrap();
    full.settings.shutdown_grace = Duration::ZERO;
    let agent_id = full.agent("hot", 10).await.unwrap();
    let worker = full.worker(1).await.unwrap();
    let tasks = slow_tasks(&full, &agent_id, 3).await;
    eventually("the worker is full", async || {
        shares(&full, &tasks).await.len() == 1
    })
    .await;
    let bells = full.broker.topology.queue(Source::Doorbell).clone();
    // A bell is lost while the worker has no connection to publish with, which it may get later than the one to consume.
    let mut pace = tokio::time::interval(Duration::from_millis(500));
    let bell = tokio::select! {
        bell = full.first_delivered(&bells) => bell.unwrap(),
        () = async { loop {
            pace.tick().await;
            slow_tasks(&full, &agent_id, 1).await;
        } } => unreachable!("it sends for ever"),
    };
    assert_eq!(bell, json!({"agent_id": "hot"}));
    worker.stop().await.unwrap();
    full.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_worker_hands_back_what_runs_and_another_runs_it_at_once() {
    let mut full = FullStrength::start().await.unwrap();
    full.settings.shutdown_grace = Duration::ZERO;
    let agent_id = full.agent("a", 10).await.unwrap();
    let leaving = full.worker(10).await.unwrap();
    let tasks = slow_tasks(&full, &agent_id, 4).await;
    eventually("everything runs", async || {
        shares(&full, &tasks).await == HashMap::from([(leaving.worker_id, 4)])
    })
    .await;
    let staying = full.worker(10).await.unwrap();
    let begun = Instant::now();
    leaving.stop().await.unwrap();
    eventually("the other worker runs everything", async || {
        shares(&full, &tasks).await == HashMap::from([(staying.worker_id, 4)])
    })
    .await;
    // Long before the leaving worker would count as silent.
    assert!(begun.elapsed() < Duration::from_secs(8));
    for task in full.ledger.tasks(&tasks).await.unwrap() {
        assert_eq!(task.attempt, 1);
    }
    staying.stop().await.unwrap();
    full.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_within_the_grace_period_is_recorded_and_announced() {
    let full = FullStrength::start().await.unwrap();
    let agent_id = full.agent("a", 10).await.unwrap();
    let events = full.events("task.completed.#").await.unwrap();
    let worker = full.worker(10).await.unwrap();
    let short = json!({"delay_ms": 800});
    let task_id = full.send_task(&agent_id, short).await.unwrap();
    full.reaches(task_id, TaskStatus::Running).await.unwrap();
    worker.stop().await.unwrap();
    let task = full.ledger.task(task_id).await.unwrap().unwrap();
    assert_eq!(task.status, TaskStatus::Completed);
    let event = full.take(&events).await.unwrap().unwrap();
    assert_eq!(event.body["task_id"], task_id.to_string());
    full.remove().await;
}
