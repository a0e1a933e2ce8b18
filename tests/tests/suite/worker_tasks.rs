//! A worker at full strength and its task queue: what comes in is run, recorded and announced, and nothing else harms.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use orchestrator_common::auth::{Endorser, Level};
use orchestrator_common::config::Secret;
use orchestrator_common::domain::{Priority, TaskId, TaskStatus, Timestamp};
use orchestrator_common::ledger::Cancelled;
use orchestrator_common::messaging::Source;
use orchestrator_tests::eventually;
use orchestrator_tests::full_worker::FullStrength;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_becomes_a_recorded_cached_and_announced_outcome() {
    let full = FullStrength::start().await.unwrap();
    let worker = full.worker(10).await.unwrap();
    let agent_id = full.agent("risk.agent", 5).await.unwrap();
    let events = full.events("task.completed.#").await.unwrap();
    let replies = full.queue().await.unwrap();
    let task_id = TaskId::generate();
    let properties = BasicProperties::default()
        .with_message_id(task_id.to_string().into())
        .with_correlation_id("c-1".into())
        .with_reply_to(replies.clone());
    let body = json!({"version": 1, "kind": "task.execute", "agent_id": agent_id, "task_type": "risk_assessment",
        "task_data": {"applicant_id": "APP001", "_simulate": {"tokens_used": 7, "cost_estimate": 0.25}}});
    full.send_raw("task.execute", properties, body.to_string().as_bytes())
        .await
        .unwrap();

    let task = full.reaches(task_id, TaskStatus::Completed).await.unwrap();
    assert_eq!((task.attempt, task.usage.tokens_used), (1, Some(7)));
    let event = full.next(&events).await.unwrap();
    assert_eq!(event.routing_key, "task.completed.risk.agent");
    assert_eq!(event.body["task_id"], task_id.to_string());
    assert_eq!(event.body["tokens_used"], 7);
    let result: Value = serde_json::from_str(task.result.as_ref().unwrap().get()).unwrap();
    assert_eq!(event.body["result"], result);
    assert_eq!(event.body["at"], json!(task.completed_at));
    let reply = full.next(&replies).await.unwrap();
    assert_eq!(reply.body, event.body);
    assert_eq!(
        reply.properties.correlation_id().as_ref().unwrap().as_str(),
        "c-1"
    );
    // Redis comes before the events.
    let cached = full.cache.get(task_id).await.unwrap().unwrap();
    let cached: Value = serde_json::from_str(&cached).unwrap();
    let recorded = orchestrator_common::domain::TaskDocument::from(task);
    assert_eq!(cached, serde_json::to_value(recorded).unwrap());
    eventually("the message is acknowledged", async || {
        full.broker.depth(Source::Tasks).await.unwrap() == 0
    })
    .await;
    worker.stop().await.unwrap();
    assert!(full.take(&replies).await.unwrap().is_none());
    full.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_many_times_is_one_task_and_one_outcome() {
    let full = FullStrength::start().await.unwrap();
    let (one, other) = (
        full.worker(10).await.unwrap(),
        full.worker(10).await.unwrap(),
    );
    let agent_id = full.agent("a", 5).await.unwrap();
    let events = full.events("task.completed.#").await.unwrap();
    let task_id = TaskId::generate();
    let body =
        json!({"task_id": task_id, "agent_id": agent_id, "task_type": "t", "task_data": {"n": 1}});
    for _ in 0..20 {
        full.send("task.execute", &body).await.unwrap();
    }
    let task = full.reaches(task_id, TaskStatus::Completed).await.unwrap();
    assert_eq!(task.attempt, 1);
    full.next(&events).await.unwrap();
    // Whatever is still in hand is settled before a worker ends.
    one.stop().await.unwrap();
    other.stop().await.unwrap();
    assert!(full.take(&events).await.unwrap().is_none());
    assert_eq!(full.broker.depth(Source::Tasks).await.unwrap(), 0);
    assert_eq!(full.broker.depth(Source::DeadLetters).await.unwrap(), 0);
    full.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_among_good_messages_is_put_aside_and_harms_nobody() {
    let full = FullStrength::start().await.unwrap();
    let worker = full.worker(100).await.unwrap();
    let agent_id = full.agent("a", 50).await.unwrap();
    let replies = full.queue().await.unwrap();
    let mut good = Vec::new();
    for n in 0..30 {
        good.push(full.send_task(&agent_id, json!({})).await.unwrap());
        if n % 10 == 0 {
            let properties = BasicProperties::default().with_reply_to(replies.clone());
            full.send_raw("task.execute", properties, b"{no json")
                .await
                .unwrap();
            let nul = json!({"agent_id": agent_id, "task_type": "t", "task_data": {"x": "\u{0}"}, "parent_task_id": 1});
            full.send("task.execute", &nul).await.unwrap();
        }
    }
    for task_id in good {
        full.reaches(task_id, TaskStatus::Completed).await.unwrap();
    }
    let dead = full.broker.topology.queue(Source::DeadLetters).clone();
    let mut reasons = Vec::new();
    for _ in 0..6 {
        let letter = full.next(&dead).await.unwrap();
        assert_eq!(letter.routing_key, "task.execute");
        reasons.push(letter.header("x-reason"));
    }
    reasons.sort();
    assert_eq!(
        reasons,
        [
            "invalid", "invalid", "invalid", "not_json", "not_json", "not_json"
        ]
    );
    for _ in 0..3 {
        let refusal = full.next(&replies).await.unwrap();
        assert_eq!(refusal.body["reason"], "not_json");
    }
    worker.stop().await.unwrap();
    assert_eq!(full.broker.depth(Source::Tasks).await.unwrap(), 0);
    full.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_for_an_unknown_agent_is_answered_and_put_aside() {
    let full = FullStrength::start().await.unwrap();
    let worker = full.worker(10).await.unwrap();
    let replies = full.queue().await.unwrap();
    let properties = BasicProperties::default()
        .with_correlation_id("c-2".into())
        .with_reply_to(replies.clone());
    let body = json!({"agent_id": "nobody", "task_type": "t", "task_data": {}});
    full.send_raw("task.execute", properties, body.to_string().as_bytes())
        .await
        .unwrap();
    let refusal = full.next(&replies).await.unwrap();
    assert_eq!(refusal.body["reason"], "unknown_agent");
    assert_eq!(refusal.body["status"], 404);
    assert_eq!(
        refusal
            .properties
            .correlation_id()
            .as_ref()
            .unwrap()
            .as_str(),
        "c-2"
    );
    let dead = full.broker.topology.queue(Source::DeadLetters).clone();
    let letter = full.next(&dead).await.unwrap();
    assert_eq!(letter.header("x-reason"), "unknown_agent");
    assert_eq!(letter.body, body);
    worker.stop().await.unwrap();
    full.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_tasks_are_cancelled_through_the_queue_wherever_they_run() {
    let full = FullStrength::start().await.unwrap();
    let (one, other) = (
        full.worker(10).await.unwrap(),
        full.worker(10).await.unwrap(),
    );
    let agent_id = full.agent("a", 10).await.unwrap();
    let events = full.events("task.cancelled.#").await.unwrap();
    let mut tasks = Vec::new();
    for _ in 0..6 {
        let slow = json!({"delay_ms": 60_000});
        tasks.push(full.send_task(&agent_id, slow).await.unwrap());
    }
    for task_id in &tasks {
        full.reaches(*task_id, TaskStatus::Running).await.unwrap();
        full.send("task.cancel", &json!({"task_id": task_id}))
            .await
            .unwrap();
    }
    for task_id in &tasks {
        full.reaches(*task_id, TaskStatus::Cancelled).await.unwrap();
        full.next(&events).await.unwrap();
    }
    assert_eq!(full.broker.depth(Source::DeadLetters).await.unwrap(), 0);
    one.stop().await.unwrap();
    other.stop().await.unwrap();
    full.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_whose_signal_was_lost_is_found_in_the_ledger() {
    let full = FullStrength::start().await.unwrap();
    let worker = full.worker(10).await.unwrap();
    let agent_id = full.agent("a", 10).await.unwrap();
    let events = full.events("task.cancelled.#").await.unwrap();
    let slow = json!({"delay_ms": 60_000});
    let cancelled = full.send_task(&agent_id, slow.clone()).await.unwrap();
    let other = full.send_task(&agent_id, slow).await.unwrap();
    for task_id in [cancelled, other] {
        full.reaches(task_id, TaskStatus::Running).await.unwrap();
    }
    // As a worker does that dies before it has told the others.
    let asked = full.ledger.cancel(cancelled, Timestamp::now()).await;
    assert_eq!(asked.unwrap(), Cancelled::Requested(worker.worker_id));
    full.reaches(cancelled, TaskStatus::Cancelled)
        .await
        .unwrap();
    let event = full.next(&events).await.unwrap();
    assert_eq!(event.body["task_id"], cancelled.to_string());
    let other = full.ledger.task(other).await.unwrap().unwrap();
    assert_eq!(other.status, TaskStatus::Running);
    // It need not wait for the other one.
    full.ledger
        .cancel(other.task.task_id, Timestamp::now())
        .await
        .unwrap();
    worker.stop().await.unwrap();
    full.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_task_is_made_urgent_and_cancelled_through_the_queue() {
    let full = FullStrength::start().await.unwrap();
    let worker = full.worker(10).await.unwrap();
    let agent_id = full.agent("a", 1).await.unwrap();
    let slow = json!({"delay_ms": 60_000});
    let running = full.send_task(&agent_id, slow.clone()).await.unwrap();
    full.reaches(running, TaskStatus::Running).await.unwrap();
    let waiting = full.send_task(&agent_id, slow).await.unwrap();
    // At once, while the task may still be on its way into the ledger.
    full.send(
        "task.reprioritise",
        &json!({"task_id": waiting, "priority": 9}),
    )
    .await
    .unwrap();
    eventually("the task is urgent", async || {
        let task = full.ledger.task(waiting).await.unwrap();
        task.is_some_and(|task| Some(task.task.priority) == Priority::new(9))
    })
    .await;
    full.send("task.cancel", &json!({"task_id": waiting}))
        .await
        .unwrap();
    full.reaches(waiting, TaskStatus::Cancelled).await.unwrap();
    eventually("pollers see it", async || {
        let cached = full.cache.get(waiting).await.unwrap();
        cached.is_some_and(|document| document.contains("\"cancelled\""))
    })
    .await;
    full.send("task.cancel", &json!({"task_id": TaskId::generate()}))
        .await
        .unwrap();
    let dead = full.broker.topology.queue(Source::DeadLetters).clone();
    let letter = full.next(&dead).await.unwrap();
    assert_eq!(letter.header("x-reason"), "unknown_task");
    full.send("task.cancel", &json!({"task_id": running}))
        .await
        .unwrap();
    full.reaches(running, TaskStatus::Cancelled).await.unwrap();
    worker.stop().await.unwrap();
    full.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_authentication_on_only_a_token_that_allows_it_lets_a_message_in() {
    let full = FullStrength::start().await.unwrap();
    let mut settings = full.settings.clone();
    settings.auth.required = true;
    settings.auth.jwt_secret = Secret::new("Zk3v9Qp1Lx7Wm5Rt8Ny2Bc6Hd4Jf0GsA".to_owned());
    let endorser = Endorser::new(&settings.auth).unwrap().unwrap();
    let worker = full.worker_with(settings).await.unwrap();
    let agent_id = full.agent("a", 1).await.unwrap();
    let dead = full.broker.topology.queue(Source::DeadLetters).clone();

    let without = full.send_task(&agent_id, json!({})).await.unwrap();
    let letter = full.next(&dead).await.unwrap();
    assert_eq!(letter.header("x-reason"), "unauthorized");
    assert!(full.ledger.task(without).await.unwrap().is_none());

    let with_token = async |kind: &str, level: Level, body: Value| {
        let token = endorser.endorse("somebody", level).unwrap();
        let mut headers = FieldTable::default();
        let token = AMQPValue::LongString(token.into_bytes().into());
        headers.insert("authorization".into(), token);
        let properties = BasicProperties::default().with_headers(headers);
        full.send_raw(kind, properties, body.to_string().as_bytes())
            .await
            .unwrap();
    };
    let start = json!({"agent_id": agent_id});
    with_token("agent.start", Level::Write, start).await;
    let letter = full.next(&dead).await.unwrap();
    assert_eq!(letter.header("x-reason"), "unauthorized");
    assert_eq!(letter.header("authorization"), "");

    let task_id = TaskId::generate();
    let task = json!({"task_id": task_id, "agent_id": agent_id, "task_type": "t", "task_data": {}});
    with_token("task.execute", Level::Write, task).await;
    full.reaches(task_id, TaskStatus::Completed).await.unwrap();
    worker.stop().await.unwrap();
    full.remove().await;
}
