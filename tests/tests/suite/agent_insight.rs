//! How agents do, how healthy they are, and which one is chosen, embedded and at full strength.

use orchestrator_tests::full_api::Answer;
use orchestrator_tests::surface::Surface;
use orchestrator_tests::{eventually, on_both_strengths};
use reqwest::Method;
use serde_json::{Value, json};

on_both_strengths!(&[];
    the_sessions_of_an_agent_are_listed,
    a_conversation_is_told_by_its_name,
    what_an_agent_did_is_in_its_metrics_at_once,
    the_health_of_an_agent_says_what_is_wrong,
    a_task_goes_to_the_agent_that_fits_best,
    the_same_request_leads_to_the_same_agent,
    why_no_agent_is_chosen_is_answered,
);

const INTELLIGENT: &str = "/orchestrator/execute-task-intelligent";

/// A task of `a` that fails and one that completes in a conversation.
async fn two_tasks(surface: &Surface) -> anyhow::Result<()> {
    let failing = surface.submit(json!({"fail": "no"})).await?;
    surface.until(&failing, "failed").await;
    let more = json!({"session_id": "chat"});
    let completing = surface.submit_with(json!({}), more).await?;
    surface.until(&completing, "completed").await;
    Ok(())
}

async fn the_sessions_of_an_agent_are_listed(surface: &Surface) -> anyhow::Result<()> {
    two_tasks(surface).await?;
    let running = surface.submit(json!({"delay_ms": 60_000})).await?;
    surface.until(&running, "running").await;
    let path = "/orchestrator/agents/a/sessions";
    let all = surface.get(path).await.body;
    let outcomes: Vec<_> = all["sessions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|session| session["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["running", "completed", "failed"], "{all}");
    let failed = surface.get(&format!("{path}?outcome=failed")).await.body;
    assert_eq!(failed["count"], 1);
    let session = &failed["sessions"][0];
    assert_eq!(session["error_code"], "agent_failed", "{session}");
    assert!(session["ended_at"].is_string() && session["instance_id"].is_string());
    let first = surface.get(&format!("{path}?limit=2")).await.body;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = surface
        .get(&format!("{path}?limit=2&cursor={cursor}"))
        .await;
    assert_eq!(second.body["sessions"][0]["outcome"], "failed");
    assert!(second.body["next_cursor"].is_null());
    let of_chat = surface.get(&format!("{path}?session_id=chat")).await.body;
    assert_eq!(of_chat["count"], 1);
    let faulty = format!("{path}?outcome=x&task_id=x&since=x&limit=0&cursor=x&session_id=a%20b");
    let faulty = surface.get(&faulty).await;
    assert_eq!(faulty.status, 422);
    assert_eq!(faulty.body["errors"].as_array().map(Vec::len), Some(6));
    let nobody = surface.get("/orchestrator/agents/nobody/sessions").await;
    assert_eq!(nobody.status, 404);
    surface.delete(&running).await;
    Ok(())
}

async fn a_conversation_is_told_by_its_name(surface: &Surface) -> anyhow::Result<()> {
    let unknown = surface.get("/orchestrator/sessions/chat").await;
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    two_tasks(surface).await?;
    let found = surface.get("/orchestrator/sessions/chat").await.body;
    assert_eq!(
        (&found["state"], &found["tasks"], &found["agents"]),
        (&json!("open"), &json!({"completed": 1}), &json!(["a"])),
        "{found}"
    );
    assert!(found["ends_at"].as_str() > found["last_activity"].as_str());
    Ok(())
}

async fn what_an_agent_did_is_in_its_metrics_at_once(surface: &Surface) -> anyhow::Result<()> {
    two_tasks(surface).await?;
    let found = surface.get("/orchestrator/agents/a/metrics").await.body;
    for window in ["1h", "24h", "7d", "all"] {
        let window = &found["windows"][window];
        assert_eq!(window["tasks"]["completed"], 1, "{found}");
        assert_eq!(window["tasks"]["failed"], 1);
        assert_eq!(window["success_rate"], 0.5);
        assert_eq!(window["errors"], json!({"agent_failed": 1}));
        for times in ["response_time", "queue_wait"] {
            assert!(window[times]["p95"].is_number(), "{window}");
        }
        assert!(window["throughput_per_minute"].as_f64() > Some(0.0));
    }
    assert_eq!(found["load"]["max_concurrent_sessions"], 1);
    let nobody = surface.get("/orchestrator/agents/nobody/metrics").await;
    assert_eq!(nobody.status, 404);
    Ok(())
}

async fn the_health_of_an_agent_says_what_is_wrong(surface: &Surface) -> anyhow::Result<()> {
    let path = "/orchestrator/agents/a/health";
    let done = surface.submit(json!({})).await?;
    surface.until(&done, "completed").await;
    let well = surface.get(path).await.body;
    assert_eq!(
        (&well["status"], &well["score"]),
        (&json!("healthy"), &json!(100)),
        "{well}"
    );
    for _ in 0..6 {
        let failing = surface.submit(json!({"fail": "no"})).await?;
        surface.until(&failing, "failed").await;
    }
    let failing = surface.get(path).await.body;
    assert_eq!(failing["status"], "unhealthy", "{failing}");
    let reason = failing["reasons"][0].as_str().unwrap();
    assert!(
        reason.contains("86 %") && reason.contains("agent_failed"),
        "{reason}"
    );
    let nobody = surface.get("/orchestrator/agents/nobody/health").await;
    assert_eq!(nobody.status, 404);
    Ok(())
}

async fn register(surface: &Surface, body: Value) {
    let registered = surface.post("/orchestrator/register", &body).await;
    assert_eq!(registered.status, 200, "{}", registered.body);
}

fn open_task(task_type: &str) -> Value {
    json!({"task_type": task_type, "task_data": {}})
}

async fn a_task_goes_to_the_agent_that_fits_best(surface: &Surface) -> anyhow::Result<()> {
    for body in [
        json!({"agent_id": "b", "domain": "d", "task_types": ["quote"]}),
        json!({"agent_id": "c", "domain": "d"}),
        json!({"agent_id": "d", "capabilities": ["summary"]}),
    ] {
        register(surface, body).await;
    }
    let mut task = open_task("quote");
    task["domain"] = json!("d");
    let request = surface.api.request(Method::POST, INTELLIGENT).json(&task);
    let answer = surface.api.send(request.header("prefer", "wait=30")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let selection = &answer.body["selection"];
    assert_eq!(
        (&answer.body["agent_id"], &selection["agent_id"]),
        (&json!("b"), &json!("b"))
    );
    assert_eq!(answer.body["status"], "completed");
    let candidates = selection["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 2, "{selection}");
    assert!(candidates[0]["score"].as_u64() > candidates[1]["score"].as_u64());
    assert_eq!(selection["reasons"][0], "it declares quote");
    let summary = surface.post(INTELLIGENT, &open_task("summary")).await;
    assert_eq!(summary.body["agent_id"], "d", "{}", summary.body);
    Ok(())
}

async fn the_same_request_leads_to_the_same_agent(surface: &Surface) -> anyhow::Result<()> {
    for name in ["b", "c"] {
        register(surface, json!({"agent_id": name, "task_types": ["quote"]})).await;
    }
    let send = async |body: Value| -> Answer {
        let request = surface.api.request(Method::POST, INTELLIGENT).json(&body);
        surface
            .api
            .send(request.header("idempotency-key", "k"))
            .await
    };
    let first = send(open_task("quote")).await;
    assert_eq!(first.status, 200, "{}", first.body);
    let agent_id = first.body["agent_id"].as_str().unwrap();
    let pause = format!("/orchestrator/agents/{agent_id}/pause");
    assert_eq!(surface.post(&pause, &json!({})).await.status, 200);
    eventually("others go to the other agent", async || {
        let next = surface.post(INTELLIGENT, &open_task("quote")).await.body;
        next["agent_id"] != first.body["agent_id"]
    })
    .await;
    let again = send(open_task("quote")).await;
    assert_eq!(again.body["task_id"], first.body["task_id"]);
    assert_eq!(again.body["agent_id"], first.body["agent_id"]);
    let mut other = open_task("quote");
    other["priority"] = json!(9);
    assert_eq!(send(other).await.status, 409);
    Ok(())
}

async fn why_no_agent_is_chosen_is_answered(surface: &Surface) -> anyhow::Result<()> {
    let post = async |body: Value| surface.post(INTELLIGENT, &body).await;
    let unknown = post(open_task("quote")).await;
    assert_eq!(unknown.status, 422, "{}", unknown.body);
    assert_eq!(unknown.body["errors"][0]["field"], "task_type");
    let mut elsewhere = open_task("quote");
    elsewhere["domain"] = json!("nowhere");
    let elsewhere = post(elsewhere).await;
    assert_eq!(elsewhere.status, 422);
    assert_eq!(elsewhere.body["errors"][0]["field"], "domain");
    let faulty = json!({"agent_id": "a", "task_data": {}, "domain": ""});
    let faulty = post(faulty).await.body;
    assert_eq!(
        faulty["errors"].as_array().map(Vec::len),
        Some(3),
        "{faulty}"
    );
    register(surface, json!({"agent_id": "b", "task_types": ["summary"]})).await;
    let stopped = surface
        .post("/orchestrator/stop?agent_id=b", &json!({}))
        .await;
    assert_eq!(stopped.status, 200, "{}", stopped.body);
    eventually("nobody takes it", async || {
        let refused = post(open_task("summary")).await;
        refused.status == 409 && refused.body["detail"].as_str().unwrap().contains("stopped")
    })
    .await;
    Ok(())
}
