//! Processes of the orchestrator that are killed or stand still.

use std::time::Instant;

use orchestrator_common::domain::{TaskId, WorkerId};
use orchestrator_tests::counting_agents::Repetition;
use orchestrator_tests::deployment::{Deployment, Load, LoadOptions, Places, Submitted};
use orchestrator_tests::eventually;
use serde_json::json;

use super::{BOUND, PROGRAMS, deployment};

/// Waits until a worker runs some of the load's tasks, and returns which.
async fn some_tasks_on(deployment: &Deployment, worker: WorkerId, load: &Load) -> Vec<TaskId> {
    let mut running = Vec::new();
    eventually("the worker runs tasks", async || {
        running = deployment.running_on(worker, &load.accepted()).await;
        running.len() > 1
    })
    .await;
    running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_under_load_loses_nothing() {
    let (deployment, options) = deployment(&Places::shared()).await;
    let api = deployment.api().await.unwrap();
    let mut killed = deployment.worker(100).await.unwrap();
    let other = deployment.worker(100).await.unwrap();
    let mut load = Load::start(options, &[&api]);
    load.more(100, "in good weather").await;
    some_tasks_on(&deployment, killed.worker_id, &load).await;
    let fault = Instant::now();
    killed.process.kill();
    load.more(50, "with one worker less").await;
    let accepted = load.accepted();
    let took = deployment.recovered("killed worker", fault, accepted).await;
    assert!(took < BOUND);
    let another = deployment.worker(100).await.unwrap();
    load.more(50, "with a new worker").await;
    let submitted = load.stop().await;
    deployment.audit(&submitted).await;
    deployment.end(vec![api], vec![other, another]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_api_under_load_loses_nothing_that_it_accepted() {
    let (deployment, options) = deployment(&Places::shared()).await;
    let mut killed = deployment.api().await.unwrap();
    let other = deployment.api().await.unwrap();
    let worker = deployment.worker(100).await.unwrap();
    let mut load = Load::start(options, &[&killed, &other]);
    load.more(100, "in good weather").await;
    let fault = Instant::now();
    killed.process.kill();
    load.more(50, "by the other API").await;
    let accepted = load.accepted();
    let took = deployment.recovered("killed API", fault, accepted).await;
    assert!(took < BOUND);
    let another = deployment.api().await.unwrap();
    load.turn_to(&another);
    load.more(50, "with a new API").await;
    let submitted = load.stop().await;
    assert!(submitted.refused > 0, "the killed API was in use");
    deployment.audit(&submitted).await;
    deployment.end(vec![other, another], vec![worker]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_frozen_past_its_heartbeat_loses_its_tasks_to_others_and_comes_back() {
    let (deployment, options) = deployment(&Places::shared()).await;
    let api = deployment.api().await.unwrap();
    let mut frozen = deployment.worker(100).await.unwrap();
    let other = deployment.worker(100).await.unwrap();
    // Over long before the worker counts as lost: nobody can end the calls of a process that stands still.
    let long = LoadOptions {
        long_millis: 300,
        callers: 2,
        ..options
    };
    let mut load = Load::start(long, &[&api]);
    load.more(50, "in good weather").await;
    let running = some_tasks_on(&deployment, frozen.worker_id, &load).await;
    let fault = Instant::now();
    frozen.process.freeze();
    // Some of them may have ended just before; those that hang show on the other worker.
    eventually("its tasks run elsewhere", async || {
        let tasks = deployment.ledger.tasks(&running).await;
        tasks.is_ok_and(|tasks| tasks.iter().any(|task| task.attempt > 1))
    })
    .await;
    eprintln!(
        "NOTICED frozen worker after {:.1} s",
        fault.elapsed().as_secs_f64()
    );
    frozen.process.go_on();
    let accepted = load.accepted();
    let took = deployment.recovered("frozen worker", fault, accepted).await;
    assert!(took < BOUND * 2);
    some_tasks_on(&deployment, frozen.worker_id, &load).await;
    let submitted = load.stop().await;
    deployment.audit(&submitted).await;
    deployment.end(vec![api], vec![frozen, other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_worker_killed_half_way_and_restarted_finishes_all_and_pays_nothing_twice() {
    let places = Places::shared();
    let created = Deployment::create(PROGRAMS, &places, Repetition::Honoured).await;
    let mut deployment = created.unwrap();
    let agent_id = deployment.agent("a", 125).await.unwrap();
    let mut killed = deployment.worker(500).await.unwrap();
    let tasks: Vec<TaskId> = (0..500).map(|_| TaskId::generate()).collect();
    for task_id in &tasks {
        let task = json!({"task_id": task_id, "agent_id": agent_id, "task_type": "t",
            "task_data": {"millis": 1_000}});
        deployment.publish("task.execute", &task).await.unwrap();
    }
    let done = "SELECT count(*) FROM tasks WHERE status = 'completed'";
    eventually("half of the tasks are done", async || {
        deployment.count(done).await >= 250
    })
    .await;
    let fault = Instant::now();
    killed.process.kill();
    let restarted = deployment.worker(500).await.unwrap();
    let what = "only worker, killed at half of 500 one-second tasks and restarted";
    let took = deployment.recovered(what, fault, tasks.clone()).await;
    assert!(took < BOUND);
    for task_id in &tasks {
        assert_eq!(deployment.agents.executions_of(*task_id), 1, "{task_id}");
    }
    deployment.audit(&Submitted::exactly(tasks)).await;
    deployment.end(Vec::new(), vec![restarted]).await;
}
