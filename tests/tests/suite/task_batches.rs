//! Submitting many tasks at once, repeating requests, full queues, and listing, embedded and at full strength.

use futures::future::join_all;
use orchestrator_tests::full_api::{Answer, Servers};
use orchestrator_tests::surface::Surface;
use orchestrator_tests::{eventually, on_both_strengths};
use reqwest::Method;
use serde_json::{Value, json};

on_both_strengths!(&[];
    every_task_of_a_batch_is_accepted_or_refused_on_its_own,
    a_batch_must_hold_one_to_a_thousand_tasks,
    a_repeated_batch_leads_to_the_same_tasks,
    of_many_requests_at_once_under_one_name_one_task_comes,
    tasks_are_listed_newest_first_page_by_page_and_by_every_filter,
);

mod full_queue {
    use super::*;

    on_both_strengths!(&[("MAX_QUEUE_DEPTH_PER_AGENT", "3")]; a_full_queue_takes_no_more_until_it_is_shorter);
}

const EXECUTE: &str = "/orchestrator/execute-task";
const BATCH: &str = "/orchestrator/tasks/batch";

fn task(n: usize) -> Value {
    json!({"agent_id": "a", "task_type": "t", "task_data": {"n": n}})
}

async fn with_key(surface: &Surface, path: &str, key: &str, body: &Value) -> Answer {
    let request = surface.api.request(Method::POST, path).json(body);
    surface
        .api
        .send(request.header("idempotency-key", key))
        .await
}

async fn every_task_of_a_batch_is_accepted_or_refused_on_its_own(
    surface: &Surface,
) -> anyhow::Result<()> {
    let mut tasks: Vec<_> = (0..100).map(task).collect();
    tasks[10]["priority"] = json!(11);
    tasks[10]["surprise"] = json!(true);
    tasks[20]["agent_id"] = json!("nobody");
    tasks[30] = json!("no object");
    let answer = surface.post(BATCH, &json!({"tasks": tasks})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(
        (&answer.body["accepted"], &answer.body["refused"]),
        (&json!(97), &json!(3))
    );
    let results = answer.body["results"].as_array().unwrap();
    assert_eq!(results.len(), 100);
    let problem = |place: usize| &results[place]["problem"];
    let fields: Vec<_> = problem(10)["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["field"])
        .collect();
    assert_eq!(fields, ["tasks.10.priority", "tasks.10.surprise"]);
    assert_eq!(
        (&problem(20)["status"], &problem(30)["status"]),
        (&json!(404), &json!(422))
    );
    for (place, result) in results.iter().enumerate() {
        assert_eq!(
            result["success"],
            !matches!(place, 10 | 20 | 30),
            "{result}"
        );
    }
    let last = results[99]["accepted"]["task_status_endpoint"]
        .as_str()
        .unwrap();
    surface.until(last, "completed").await;
    Ok(())
}

async fn a_batch_must_hold_one_to_a_thousand_tasks(surface: &Surface) -> anyhow::Result<()> {
    let many: Vec<_> = (0..=1000).map(task).collect();
    for body in [
        json!({}),
        json!({"tasks": []}),
        json!({"tasks": many}),
        json!({"tasks": 1, "x": 2}),
    ] {
        let refused = surface.post(BATCH, &body).await;
        assert_eq!(refused.status, 422, "{}", refused.body);
        assert_eq!(refused.body["errors"][0]["field"], "tasks");
    }
    let answer = surface.post(BATCH, &json!({"tasks": many[..1000]})).await;
    assert_eq!(answer.body["accepted"], 1000, "{}", answer.body);
    Ok(())
}

async fn a_repeated_batch_leads_to_the_same_tasks(surface: &Surface) -> anyhow::Result<()> {
    let body = json!({"tasks": [task(1), task(1), task(2)]});
    let first = with_key(surface, BATCH, "k", &body).await;
    assert_eq!(first.body["accepted"], 3, "{}", first.body);
    let ids = |answer: &Answer| -> Vec<String> {
        let results = answer.body["results"].as_array().unwrap().clone();
        let id = |result: Value| {
            result["accepted"]["task_id"]
                .as_str()
                .unwrap_or("none")
                .to_owned()
        };
        results.into_iter().map(id).collect()
    };
    let mut distinct = ids(&first);
    distinct.dedup();
    assert_eq!(distinct.len(), 3);
    assert_eq!(
        ids(&with_key(surface, BATCH, "k", &body).await),
        ids(&first)
    );
    let other = json!({"tasks": [task(1), task(7), task(2)]});
    let other = with_key(surface, BATCH, "k", &other).await;
    assert_eq!(
        other.body["results"][1]["problem"]["status"], 409,
        "{}",
        other.body
    );
    assert_eq!(other.body["accepted"], 2);
    // The same key names another task when it comes with a single one.
    let single = with_key(surface, EXECUTE, "k", &task(1)).await;
    assert_eq!(single.status, 200, "{}", single.body);
    assert!(!ids(&first).contains(&single.body["task_id"].as_str().unwrap().to_owned()));
    assert_eq!(with_key(surface, BATCH, "a b", &body).await.status, 422);
    Ok(())
}

async fn of_many_requests_at_once_under_one_name_one_task_comes(
    surface: &Surface,
) -> anyhow::Result<()> {
    let bodies: Vec<_> = (0..20).map(|n| task(n % 2)).collect();
    let answers = join_all(
        bodies
            .iter()
            .map(|body| with_key(surface, EXECUTE, "k", body)),
    )
    .await;
    let accepted: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .collect();
    assert_eq!(accepted.len(), 10);
    assert!(
        accepted
            .iter()
            .all(|answer| answer.body["task_id"] == accepted[0].body["task_id"])
    );
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer.status.as_u16(), 200 | 409))
    );
    // All that were accepted have the same body.
    let parity: Vec<_> = (0..20)
        .filter(|n| answers[*n].status == 200)
        .map(|n| n % 2)
        .collect();
    assert!(parity.iter().all(|n| *n == parity[0]), "{parity:?}");
    Ok(())
}

async fn a_full_queue_takes_no_more_until_it_is_shorter(surface: &Surface) -> anyhow::Result<()> {
    let running = surface.submit(json!({"delay_ms": 60_000})).await?;
    surface.until(&running, "running").await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let address = surface.submit(json!({})).await?;
        eventually("it is in the ledger", async || {
            let waiting = surface.get("/orchestrator/tasks?status=queued").await;
            let tasks = waiting.body["tasks"].as_array().unwrap().clone();
            tasks
                .iter()
                .any(|task| address.ends_with(task["task_id"].as_str().unwrap()))
        })
        .await;
        waiting.push(address);
    }
    let refused = surface.post(EXECUTE, &task(4)).await;
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert_eq!(refused.retry_after.as_deref(), Some("5"));
    let batch = surface.post(BATCH, &json!({"tasks": [task(5)]})).await;
    assert_eq!(
        batch.body["results"][0]["problem"]["status"], 429,
        "{}",
        batch.body
    );
    assert_eq!(surface.delete(&waiting[0]).await.status, 200);
    assert_eq!(surface.post(EXECUTE, &task(6)).await.status, 200);
    surface.delete(&running).await;
    Ok(())
}

async fn list(surface: &Surface, query: &str) -> Value {
    let answer = surface.get(&format!("/orchestrator/tasks{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    answer.body
}

async fn tasks_are_listed_newest_first_page_by_page_and_by_every_filter(
    surface: &Surface,
) -> anyhow::Result<()> {
    assert_eq!(
        surface
            .post("/orchestrator/register", &json!({"agent_id": "b"}))
            .await
            .status,
        200
    );
    let mut ids = Vec::new();
    for n in 0..25 {
        let mut body = task(n);
        body["agent_id"] = json!(if n % 5 == 0 { "b" } else { "a" });
        body["task_type"] = json!(if n % 2 == 0 { "even" } else { "odd" });
        let accepted = surface.post(EXECUTE, &body).await;
        ids.push(accepted.body["task_id"].clone());
    }
    eventually("all have ended", async || {
        list(surface, "?status=completed&limit=1000").await["count"] == 25
    })
    .await;
    let mut seen = Vec::new();
    let mut query = "?limit=10".to_owned();
    loop {
        let page = list(surface, &query).await;
        seen.extend(page["tasks"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        query = format!("?limit=10&cursor={cursor}");
    }
    ids.reverse();
    let listed: Vec<_> = seen.iter().map(|task| task["task_id"].clone()).collect();
    assert_eq!(listed, ids);
    assert!(
        seen.iter()
            .all(|task| task["result"].is_null() && task["status"] == "completed")
    );

    assert_eq!(list(surface, "?agent_id=b").await["count"], 5);
    assert_eq!(list(surface, "?task_type=even").await["count"], 13);
    assert_eq!(
        list(surface, "?agent_id=b&task_type=odd&status=completed").await["count"],
        2
    );
    assert_eq!(list(surface, "?status=failed").await["count"], 0);
    assert_eq!(list(surface, "?agent_id=nobody").await["count"], 0);
    let since = seen[4]["submitted_at"].as_str().unwrap();
    assert_eq!(list(surface, &format!("?since={since}")).await["count"], 5);
    assert_eq!(
        list(surface, "?since=2999-01-01T00:00:00Z").await["count"],
        0
    );

    let of_agent = surface
        .get("/orchestrator/agents/b/tasks?task_type=odd")
        .await;
    assert_eq!(of_agent.body["count"], 2, "{}", of_agent.body);
    assert_eq!(
        surface
            .get("/orchestrator/agents/nobody/tasks")
            .await
            .status,
        404
    );
    let faulty = surface
        .get("/orchestrator/tasks?status=done&since=x&limit=0&cursor=z&agent_id=a%20b")
        .await;
    assert_eq!(faulty.status, 422);
    assert_eq!(
        faulty.body["errors"].as_array().unwrap().len(),
        5,
        "{}",
        faulty.body
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_taken_in_every_process_before_its_task_is_ingested() {
    let servers = Servers::create().await;
    let (one, other) = (servers.start_api().await, servers.start_api().await);
    for api in [&one, &other] {
        eventually("everything answers", async || {
            api.get("/health").await.body["status"] == "healthy"
        })
        .await;
    }
    assert_eq!(one.register().await.status, 200);
    let with_key = async |n: usize| {
        let api = if n == 1 { &one } else { &other };
        let request = api.request(Method::POST, EXECUTE).json(&task(n));
        api.send(request.header("idempotency-key", "k")).await
    };
    let first = with_key(1).await;
    assert_eq!(first.status, 200, "{}", first.body);
    assert_eq!(with_key(2).await.status, 409);
    servers.remove().await;
}
