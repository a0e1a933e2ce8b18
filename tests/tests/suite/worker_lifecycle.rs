//! Commands on agents through the lifecycle queue, each also when it comes twice.

use std::time::Duration;

use orchestrator_common::domain::{AgentId, AgentStatus, DesiredState, TaskStatus};
use orchestrator_common::messaging::Source;
use orchestrator_tests::eventually;
use orchestrator_tests::full_worker::FullStrength;
use orchestrator_tests::ledger::agent_id;
use serde_json::{Value, json};

async fn send_twice(full: &FullStrength, kind: &str, body: Value) {
    full.send(kind, &body).await.unwrap();
    full.send(kind, &body).await.unwrap();
}

async fn becomes(full: &FullStrength, agent_id: &AgentId, status: AgentStatus) {
    eventually(&format!("the agent is {status}"), async || {
        let agent = full.ledger.agent(agent_id).await.unwrap();
        agent.is_some_and(|agent| agent.status == status)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_lives_its_whole_life_over_the_queue() {
    let mut full = FullStrength::start().await.unwrap();
    full.settings.shutdown_grace = Duration::ZERO;
    let worker = full.worker(10).await.unwrap();
    let events = full.events("agent.#").await.unwrap();
    let a = agent_id("a");
    send_twice(
        &full,
        "agent.register",
        json!({"agent_id": "a", "domain": "d"}),
    )
    .await;
    becomes(&full, &a, AgentStatus::Registered).await;
    send_twice(&full, "agent.start", json!({"agent_id": "a"})).await;
    becomes(&full, &a, AgentStatus::Active).await;

    send_twice(&full, "agent.pause", json!({"agent_id": "a"})).await;
    becomes(&full, &a, AgentStatus::Paused).await;
    let waiting = full.send_task(&a, json!({})).await.unwrap();
    full.reaches(waiting, TaskStatus::Queued).await.unwrap();
    send_twice(&full, "agent.resume", json!({"agent_id": "a"})).await;
    full.reaches(waiting, TaskStatus::Completed).await.unwrap();
    becomes(&full, &a, AgentStatus::Active).await;

    let slow = full
        .send_task(&a, json!({"delay_ms": 60_000}))
        .await
        .unwrap();
    full.reaches(slow, TaskStatus::Running).await.unwrap();
    send_twice(
        &full,
        "agent.stop",
        json!({"agent_id": "a", "drain": false}),
    )
    .await;
    full.reaches(slow, TaskStatus::Cancelled).await.unwrap();
    becomes(&full, &a, AgentStatus::Stopped).await;
    // A resumption that comes late does not undo it.
    full.send("agent.resume", &json!({"agent_id": "a"}))
        .await
        .unwrap();
    send_twice(&full, "agent.unregister", json!({"agent_id": "a"})).await;
    eventually("the agent is gone", async || {
        full.ledger.agent(&a).await.unwrap().is_none()
    })
    .await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "agent.stopped.a") {
        seen.push(full.next(&events).await.unwrap().routing_key);
    }
    // Whether anybody looks while it is stopping is a matter of time.
    seen.retain(|event| event != "agent.stopping.a");
    let expected = ["starting", "active", "paused", "active", "stopped"];
    assert_eq!(seen, expected.map(|status| format!("agent.{status}.a")));
    assert_eq!(full.broker.depth(Source::DeadLetters).await.unwrap(), 0);
    worker.stop().await.unwrap();
    assert_eq!(full.broker.depth(Source::Lifecycle).await.unwrap(), 0);
    full.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaling_changes_the_limit_at_once_and_refuses_what_there_is_not() {
    let mut full = FullStrength::start().await.unwrap();
    full.settings.shutdown_grace = Duration::ZERO;
    let worker = full.worker(10).await.unwrap();
    let a = full.agent("a", 1).await.unwrap();
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let slow = json!({"delay_ms": 60_000});
        tasks.push(full.send_task(&a, slow).await.unwrap());
    }
    eventually("one task runs and two wait", async || {
        let agent = full.ledger.agent(&a).await.unwrap().unwrap();
        (agent.running, agent.queued) == (1, 2)
    })
    .await;
    full.send(
        "agent.scale",
        &json!({"agent_id": "a", "max_concurrent_sessions": 3}),
    )
    .await
    .unwrap();
    for task_id in tasks {
        full.reaches(task_id, TaskStatus::Running).await.unwrap();
    }
    full.send("agent.scale", &json!({"agent_id": "a", "instances": 101}))
        .await
        .unwrap();
    full.send("agent.start", &json!({"agent_id": "nobody"}))
        .await
        .unwrap();
    let dead = full.broker.topology.queue(Source::DeadLetters).clone();
    for reason in ["invalid", "unknown_agent"] {
        let letter = full.next(&dead).await.unwrap();
        assert_eq!(letter.header("x-reason"), reason);
    }
    let agent = full.ledger.agent(&a).await.unwrap().unwrap();
    assert_eq!(agent.desired, DesiredState::Running);
    worker.stop().await.unwrap();
    full.remove().await;
}
