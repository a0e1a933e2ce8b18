//! One agent with a mountain of waiting tasks beside one with none.

use std::time::{Duration, Instant};

use orchestrator_common::domain::TaskId;
use orchestrator_tests::counting_agents::Repetition;
use orchestrator_tests::deployment::{Deployment, Places};
use orchestrator_tests::eventually;
use sea_orm::ConnectionTrait;
use serde_json::json;

use super::PROGRAMS;

const WAITING: i64 = 50_000;
/// Room of the worker: all of it is in use by the hot agent.
const CAPACITY: u32 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_an_agent_with_50_000_waiting_tasks_a_quiet_ones_next_task_starts_within_a_second() {
    let places = Places::shared();
    let created = Deployment::create(PROGRAMS, &places, Repetition::RunsAgain).await;
    let mut deployment = created.unwrap();
    let hot = deployment.agent("hot", 100).await.unwrap();
    let quiet = deployment.agent("quiet", 10).await.unwrap();
    let insert = format!(
        "INSERT INTO tasks (task_id, agent_id, task_type, task_data, status, priority, timeout_seconds, max_attempts, \
         submitted_at) SELECT gen_random_uuid(), 'hot', 't', '{{\"millis\": 100}}', 'queued', 10, 300, 3, \
         (extract(epoch FROM now()) * 1000000)::bigint + number FROM generate_series(1, {WAITING}) AS number; \
         UPDATE agents SET queued = {WAITING} WHERE agent_id = 'hot'"
    );
    let ledger = deployment.ledger.connection();
    ledger.execute_unprepared(&insert).await.unwrap();
    let api = deployment.api().await.unwrap();
    let worker = deployment.worker(CAPACITY).await.unwrap();
    // Both agents are made ready by a task.
    for agent_id in [&hot, &quiet] {
        submit(&deployment, &api.url, agent_id.as_str()).await;
    }
    eventually("the hot agent fills the worker", async || {
        deployment.agents.running(&hot) >= CAPACITY - 1
    })
    .await;

    let mut delays = Vec::new();
    for _ in 0..15 {
        let task_id = submit(&deployment, &api.url, quiet.as_str()).await;
        let task = deployment.ledger.task(task_id).await.unwrap().unwrap();
        let started_at = task.started_at.unwrap();
        delays.push(started_at.since(task.task.submitted_at));
        assert_eq!(task.attempt, 1);
    }
    delays.sort_unstable();
    let (median, longest) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    eprintln!("STARTED beside {WAITING} waiting tasks: median {median:?}, longest {longest:?}");
    assert!(median < Duration::from_secs(1), "{delays:?}");
    // The machine may stand still for other reasons than ours, once.
    assert!(longest < Duration::from_secs(10), "{delays:?}");
    let waiting = "SELECT queued FROM agents WHERE agent_id = 'hot'";
    assert!(deployment.count(waiting).await > WAITING / 2);

    let stopped = Instant::now();
    assert!(worker.process.stop().await.success());
    eprintln!(
        "STOPPED a full worker in {:.1} s",
        stopped.elapsed().as_secs_f64()
    );
    let rows =
        "SELECT count(*) FROM tasks WHERE agent_id = 'hot' AND status IN ('queued', 'completed')";
    assert_eq!(deployment.count(rows).await, WAITING + 1);
    let counted = "SELECT queued + completed + running FROM agents WHERE agent_id = 'hot'";
    assert_eq!(deployment.count(counted).await, WAITING + 1);
    deployment.assert_limits();
    deployment.end(vec![api], Vec::new()).await;
}

/// Submits a task of 10 ms and waits until it is completed.
async fn submit(deployment: &Deployment, api: &str, agent_id: &str) -> TaskId {
    let task = json!({"agent_id": agent_id, "task_type": "t", "task_data": {"millis": 10},
        "priority": 10});
    let request = reqwest::Client::new().post(format!("{api}/orchestrator/execute-task"));
    let answer = request.json(&task).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: serde_json::Value = answer.json().await.unwrap();
    let task_id: TaskId = answer["task_id"].as_str().unwrap().parse().unwrap();
    if agent_id == "quiet" {
        eventually("the quiet agent's task is done", async || {
            deployment
                .unfinished(&[task_id])
                .await
                .is_ok_and(|ids| ids.is_empty())
        })
        .await;
    }
    task_id
}
