//! Waiting for tasks over HTTP: held answers and server-sent events, embedded and at full strength.

use std::time::{Duration, Instant};

use futures::future::join_all;
use orchestrator_common::domain::{TaskId, Timestamp};
use orchestrator_tests::full_api::Servers;
use orchestrator_tests::surface::Surface;
use orchestrator_tests::{eventually, on_both_strengths};
use reqwest::{Method, Response};
use serde_json::{Value, json};

on_both_strengths!(&[];
    a_submitted_task_is_answered_with_its_outcome_when_that_is_waited_for,
    a_reader_gets_the_outcome_or_what_there_is_when_the_time_is_over,
    a_task_is_followed_to_its_outcome_and_the_stream_can_be_resumed,
    hundreds_of_readers_are_woken_at_once,
);

const EXECUTE: &str = "/orchestrator/execute-task";

async fn a_submitted_task_is_answered_with_its_outcome_when_that_is_waited_for(
    surface: &Surface,
) -> anyhow::Result<()> {
    let task =
        json!({"agent_id": "a", "task_type": "t", "task_data": {"_simulate": {"delay_ms": 300}}});
    let request = surface.api.request(Method::POST, EXECUTE).json(&task);
    let answer = request.header("prefer", "wait=50").send().await?;
    assert_eq!(answer.headers()["preference-applied"], "wait=50");
    assert_eq!(answer.status(), 200);
    let body: Value = answer.json().await?;
    assert_eq!(
        (&body["status"], &body["task"]["status"]),
        (&json!("completed"), &json!("completed"))
    );
    assert!(body["task"]["result"].is_object(), "{body}");

    let task = json!({"agent_id": "a", "task_type": "t", "task_data": {"_simulate": {"delay_ms": 60_000}}});
    let request = surface.api.request(Method::POST, EXECUTE).json(&task);
    let answer = request
        .header("prefer", "respond-async, wait=1")
        .send()
        .await?;
    assert_eq!(answer.status(), 202);
    let body: Value = answer.json().await?;
    assert!(
        matches!(body["status"].as_str(), Some("queued" | "running")),
        "{body}"
    );
    surface
        .delete(body["task_status_endpoint"].as_str().unwrap())
        .await;
    Ok(())
}

async fn a_reader_gets_the_outcome_or_what_there_is_when_the_time_is_over(
    surface: &Surface,
) -> anyhow::Result<()> {
    let address = surface.submit(json!({"delay_ms": 60_000})).await?;
    surface.until(&address, "running").await;
    let begun = Instant::now();
    let path = format!("{address}?wait=1");
    let unfinished = surface.get(&path).await;
    assert_eq!(
        (unfinished.status.as_u16(), &unfinished.body["status"]),
        (200, &json!("running"))
    );
    assert!(begun.elapsed() >= Duration::from_secs(1));

    let path = format!("{address}?wait=60");
    let (waited, _) = tokio::join!(surface.get(&path), surface.delete(&address));
    assert_eq!(waited.body["status"], "cancelled", "{}", waited.body);
    let at_once = surface.get(&path).await;
    assert_eq!(at_once.body["status"], "cancelled");
    for bad in ["61", "-1", "x", ""] {
        let refused = surface.get(&format!("{address}?wait={bad}")).await;
        assert_eq!(refused.status, 422, "{bad}");
        assert_eq!(refused.body["errors"][0]["field"], "wait");
    }
    let nobody = format!("/orchestrator/tasks/{}?wait=60", TaskId::generate());
    assert_eq!(surface.get(&nobody).await.status, 404);
    Ok(())
}

/// Opens the stream of a task.
async fn follow(surface: &Surface, address: &str, last: Option<&str>) -> anyhow::Result<Response> {
    let mut request = surface
        .api
        .request(Method::GET, &format!("{address}/events"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    Ok(request.send().await?)
}

/// Identifier, name and data of each event of a stream.
fn parsed(text: &str) -> anyhow::Result<Vec<(String, String, Value)>> {
    let mut events = Vec::new();
    for frame in text.split("\n\n").filter(|frame| frame.starts_with("id: ")) {
        let mut lines = frame.lines();
        let mut field = |name| lines.next().unwrap().strip_prefix(name).unwrap().to_owned();
        let (id, event) = (field("id: "), field("event: "));
        events.push((id, event, serde_json::from_str(&field("data: "))?));
    }
    Ok(events)
}

async fn a_task_is_followed_to_its_outcome_and_the_stream_can_be_resumed(
    surface: &Surface,
) -> anyhow::Result<()> {
    let before = surface.submit(json!({"delay_ms": 60_000})).await?;
    surface.until(&before, "running").await;
    let address = surface.submit(json!({"delay_ms": 60_000})).await?;
    let mut stream = follow(surface, &address, None).await?;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut told = String::new();
    for (awaited, then_cancelled) in [
        ("event: task.queued\n", &before),
        ("event: task.running\n", &address),
    ] {
        while !told.contains(awaited) {
            let chunk = stream.chunk().await?.expect("the stream goes on");
            told.push_str(std::str::from_utf8(&chunk)?);
        }
        surface.delete(then_cancelled).await;
    }
    while let Some(chunk) = stream.chunk().await? {
        told.push_str(std::str::from_utf8(&chunk)?);
    }
    let events = parsed(&told)?;
    let names: Vec<_> = events.iter().map(|(_, name, _)| name.as_str()).collect();
    assert_eq!(names, ["task.queued", "task.running", "task.cancelled"]);
    let (last, _, task) = events.last().unwrap();
    assert_eq!(task["error"]["code"], "cancelled");

    let resumed = follow(surface, &address, Some(&events[1].0)).await?;
    assert_eq!(parsed(&resumed.text().await?)?, events[2..]);
    assert_eq!(follow(surface, &address, Some(last)).await?.status(), 204);
    let nobody = format!("/orchestrator/tasks/{}", TaskId::generate());
    assert_eq!(follow(surface, &nobody, None).await?.status(), 404);
    Ok(())
}

async fn hundreds_of_readers_are_woken_at_once(surface: &Surface) -> anyhow::Result<()> {
    let mut addresses = Vec::new();
    for _ in 0..20 {
        addresses.push(surface.submit(json!({"delay_ms": 60_000})).await?);
    }
    for address in &addresses {
        eventually("it is in the ledger", async || {
            surface.get(address).await.status == 200
        })
        .await;
    }
    let readers = join_all((0..400).map(async |n: usize| {
        let path = format!("{}?wait=60", addresses[n % addresses.len()]);
        surface.get(&path).await
    }));
    let cancelling = async {
        for address in addresses.iter().rev() {
            // At full strength the first may still be on its way into the ledger.
            surface.delete(address).await;
        }
    };
    let (answers, ()) = tokio::join!(readers, cancelling);
    for answer in answers {
        assert_eq!(answer.body["status"], "cancelled", "{}", answer.body);
    }
    Ok(())
}

/// A task that waits in the ledger, and its address.
async fn waiting_task(servers: &Servers) -> (TaskId, String) {
    let api = servers.start_api().await;
    eventually("everything answers", async || {
        api.get("/health").await.body["status"] == "healthy"
    })
    .await;
    assert_eq!(api.register().await.status, 200);
    servers.ingest();
    let accepted = api.submit().await;
    let task_id: TaskId = accepted.body["task_id"].as_str().unwrap().parse().unwrap();
    let ledger = &servers.ledger.ledger;
    eventually("it is ingested", async || {
        ledger.task(task_id).await.unwrap().is_some()
    })
    .await;
    (task_id, format!("/orchestrator/tasks/{task_id}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_signal_costs_seconds_and_not_the_answer() {
    let servers = Servers::create().await;
    let (task_id, address) = waiting_task(&servers).await;
    for redis_is_down in [false, true] {
        if redis_is_down {
            servers.redis.take_down();
        }
        let api = servers.start_api().await;
        let path = format!("{address}?wait=60");
        let begun = Instant::now();
        // Past every process, so that nobody announces it, and once the reader is likely to wait.
        let changing = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let ledger = &servers.ledger.ledger;
            ledger.cancel(task_id, Timestamp::now()).await.unwrap();
        };
        if redis_is_down {
            let ledger = &servers.ledger.ledger;
            ledger.retry(task_id, 1, Timestamp::now()).await.unwrap();
        }
        let (waited, ()) = tokio::join!(api.get(&path), changing);
        assert_eq!(waited.body["status"], "cancelled", "{}", waited.body);
        assert!(begun.elapsed() < Duration::from_secs(40));
    }
    servers.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_api_lets_its_readers_go_with_what_there_is() {
    let servers = Servers::create().await;
    let (_, address) = waiting_task(&servers).await;
    let api = servers.start_api().await;
    let waiting = api.request(Method::GET, &format!("{address}?wait=60"));
    let following = api.request(Method::GET, &format!("{address}/events"));
    let mut stream = following.send().await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    let begun = Instant::now();
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(api);
    };
    let (waited, ()) = tokio::join!(waiting.send(), stopping);
    let task: Value = waited.unwrap().json().await.unwrap();
    assert_eq!(task["status"], "queued");
    assert!(stream.chunk().await.unwrap().is_none());
    assert!(begun.elapsed() < Duration::from_secs(25));
    servers.remove().await;
}
