//! What the API puts on the broker, and what it reads while a task is only there.

use lapin::message::BasicGetMessage;
use lapin::options::BasicGetOptions;
use lapin::types::AMQPValue;
use orchestrator_common::domain::TaskId;
use orchestrator_common::messaging::Source;
use orchestrator_tests::eventually;
use orchestrator_tests::full_api::{Answer, FullApi, Servers};
use reqwest::Method;
use serde_json::{Value, json};

const EXECUTE: &str = "/orchestrator/execute-task";

async fn ready() -> (Servers, FullApi) {
    let servers = Servers::create().await;
    let api = servers.start_api().await;
    healthy(&api).await;
    assert_eq!(api.register().await.status, 200);
    (servers, api)
}

async fn healthy(api: &FullApi) {
    let is_healthy = async || api.get("/health").await.body["status"] == "healthy";
    eventually("everything answers", is_healthy).await;
}

async fn only_message(servers: &Servers, source: Source) -> BasicGetMessage {
    let (_connection, channel) = servers.broker.channel().await.unwrap();
    let queue = servers.broker.topology.queue(source).clone();
    let options = BasicGetOptions { no_ack: true };
    let message = channel.basic_get(queue, options).await.unwrap();
    let message = message.expect("a message");
    assert_eq!(message.message_count, 0);
    message
}

fn status_path(accepted: &Answer) -> String {
    let endpoint = &accepted.body["task_status_endpoint"];
    endpoint.as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accepted_task_is_on_the_queue_as_the_contract_says() {
    let (servers, api) = ready().await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let task = json!({"agent_id": "a", "task_type": "risk_assessment", "task_data": {"b": 1, "a": [2.50]},
        "priority": 7, "timeout_seconds": 60, "metadata": {"case": 7}});
    let request = api.request(Method::POST, EXECUTE).json(&task);
    let accepted = api.send(request.header("traceparent", traceparent)).await;
    assert_eq!(accepted.status, 200, "{}", accepted.body);
    let task_id = &accepted.body["task_id"];
    assert_eq!(accepted.body["status"], "queued");

    let message = only_message(&servers, Source::Tasks).await;
    assert_eq!(message.routing_key.as_str(), "task.execute");
    assert_eq!(&message.exchange, servers.broker.topology.commands());
    let mut body: Value = serde_json::from_slice(&message.data).unwrap();
    let submitted_at = body.as_object_mut().unwrap().remove("submitted_at");
    assert!(submitted_at.unwrap().as_str().unwrap().ends_with('Z'));
    assert_eq!(
        body,
        json!({"version": 1, "kind": "task.execute", "task_id": task_id, "agent_id": "a",
            "task_type": "risk_assessment", "task_data": {"b": 1, "a": [2.50]}, "priority": 7,
            "timeout_seconds": 60, "max_attempts": 3, "metadata": {"case": 7}})
    );
    let properties = &message.properties;
    assert_eq!(
        properties.content_type().as_ref().unwrap().as_str(),
        "application/json"
    );
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(
        properties.message_id().as_ref().unwrap().as_str(),
        task_id.as_str().unwrap()
    );
    let headers = properties.headers().as_ref().unwrap().inner();
    let Some(AMQPValue::LongString(sent)) = headers.get("traceparent") else {
        panic!("no traceparent in {headers:?}");
    };
    // The span is the API's own; the trace is the caller's.
    assert_eq!(&sent.as_bytes()[..35], &traceparent.as_bytes()[..35]);
    servers.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_prefers_202_gets_it() {
    let (servers, api) = ready().await;
    let task = json!({"agent_id": "a", "task_type": "t", "task_data": {}});
    let request = api.request(Method::POST, EXECUTE).json(&task);
    let accepted = api.send(request.header("prefer", "respond-async")).await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    servers.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_only_the_broker_has_is_queued_for_every_reader() {
    let (servers, api) = ready().await;
    let other = servers.start_api().await;
    let accepted = api.submit().await;
    for api in [&api, &other] {
        let found = api.get(&status_path(&accepted)).await;
        assert_eq!(
            (found.status.as_u16(), &found.body["status"]),
            (200, &json!("queued"))
        );
    }
    servers.redis.take_down();
    let found = api.get(&status_path(&accepted)).await;
    assert_eq!(
        (found.status.as_u16(), &found.body["status"]),
        (200, &json!("queued"))
    );

    let scheduled =
        json!({"agent_id": "a", "task_type": "t", "task_data": {}, "delay_seconds": 600});
    let accepted = api.post(EXECUTE, &scheduled).await;
    assert_eq!(accepted.body["status"], "scheduled");
    let found = api.get(&status_path(&accepted)).await;
    assert_eq!(found.body["status"], "scheduled");
    servers.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_ledger_readers_get_what_redis_knows_and_never_a_false_404() {
    let (servers, api) = ready().await;
    let other = servers.start_api().await;
    let accepted = api.submit().await;
    let unknown = format!("/orchestrator/tasks/{}", TaskId::generate());
    assert_eq!(other.get(&unknown).await.status, 404);
    servers.postgres.take_down();
    let found = other.get(&status_path(&accepted)).await;
    assert_eq!(
        (found.status.as_u16(), &found.body["status"]),
        (200, &json!("queued"))
    );
    let unanswered = other.get(&unknown).await;
    assert_eq!(unanswered.status, 503);
    assert_eq!(unanswered.retry_after.as_deref(), Some("2"));
    servers.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_to_a_task_follow_it_while_only_the_broker_has_it_or_the_ledger_is_away() {
    let (servers, api) = ready().await;
    let accepted = api.submit().await;
    let path = status_path(&accepted);
    only_message(&servers, Source::Tasks).await;
    for away in [false, true] {
        if away {
            servers.postgres.take_down();
        }
        let cancelled = api.send(api.request(Method::DELETE, &path)).await;
        assert_eq!(cancelled.status, 202, "{}", cancelled.body);
        assert_eq!(cancelled.body["status"], Value::Null);
        let message = only_message(&servers, Source::Tasks).await;
        assert_eq!(message.routing_key.as_str(), "task.cancel");
        let sent: Value = serde_json::from_slice(&message.data).unwrap();
        assert_eq!(sent["task_id"], accepted.body["task_id"]);
        let urgent = api
            .post(&format!("{path}/priority"), &json!({"priority": 8}))
            .await;
        assert_eq!(urgent.status, 202, "{}", urgent.body);
        let message = only_message(&servers, Source::Tasks).await;
        assert_eq!(message.routing_key.as_str(), "task.reprioritise");
    }
    servers.rabbitmq.take_down();
    let cancelled = api.send(api.request(Method::DELETE, &path)).await;
    assert_eq!(cancelled.status, 503);
    servers.remove().await;
}

async fn with_key(api: &FullApi, n: u32) -> Answer {
    let task = json!({"agent_id": "a", "task_type": "t", "task_data": {"n": n}});
    let request = api.request(Method::POST, EXECUTE).json(&task);
    api.send(request.header("idempotency-key", "k")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_key_is_recognised_before_and_after_ingest() {
    let (servers, api) = ready().await;
    let first = with_key(&api, 1).await;
    assert_eq!(first.status, 200, "{}", first.body);
    let again = with_key(&api, 1).await;
    assert_eq!(
        (again.status.as_u16(), &again.body["task_id"]),
        (200, &first.body["task_id"])
    );
    assert_eq!(with_key(&api, 2).await.status, 409);
    assert_eq!(servers.broker.depth(Source::Tasks).await.unwrap(), 1);

    servers.ingest();
    let task_id: TaskId = first.body["task_id"].as_str().unwrap().parse().unwrap();
    let ledger = &servers.ledger.ledger;
    let ingested = async || ledger.task(task_id).await.unwrap().is_some();
    eventually("it is ingested", ingested).await;
    let other = servers.start_api().await;
    assert_eq!(
        with_key(&other, 1).await.body["task_id"],
        first.body["task_id"]
    );
    assert_eq!(with_key(&other, 2).await.status, 409);
    servers.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_agent_is_a_404_by_either_way() {
    let (servers, api) = ready().await;
    let task = json!({"agent_id": "nobody", "task_type": "t", "task_data": {}});
    assert_eq!(api.post(EXECUTE, &task).await.status, 404);
    servers.rabbitmq.take_down();
    assert_eq!(api.post(EXECUTE, &task).await.status, 404);
    servers.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_ledger_changes_to_agents_wait_at_the_broker() {
    let (servers, api) = ready().await;
    servers.postgres.take_down();
    let agent = json!({"agent_id": "b", "domain": "d"});
    for (path, kind) in [
        ("/orchestrator/register", "agent.register"),
        ("/orchestrator/start", "agent.start"),
        ("/orchestrator/stop", "agent.stop"),
        ("/orchestrator/unregister", "agent.unregister"),
    ] {
        let body = if kind == "agent.register" {
            agent.clone()
        } else {
            json!({"agent_id": "b"})
        };
        let changed = api.post(path, &body).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        assert_eq!(
            (&changed.body["success"], &changed.body["status"]),
            (&json!(true), &Value::Null)
        );
        let message = only_message(&servers, Source::Lifecycle).await;
        assert_eq!(message.routing_key.as_str(), kind);
        let sent: Value = serde_json::from_slice(&message.data).unwrap();
        assert_eq!(
            (&sent["kind"], &sent["agent_id"]),
            (&json!(kind), &json!("b"))
        );
    }
    servers.rabbitmq.take_down();
    assert_eq!(api.post("/orchestrator/register", &agent).await.status, 503);
    servers.remove().await;
}
