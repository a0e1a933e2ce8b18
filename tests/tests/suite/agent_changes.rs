//! Pausing, resuming, scaling, stopping and terminating agents over HTTP, and counting what happened, embedded and at full
//! strength.

use orchestrator_tests::surface::Surface;
use orchestrator_tests::{eventually, on_both_strengths};
use serde_json::{Value, json};

on_both_strengths!(&[];
    a_paused_agent_starts_nothing_until_its_pause_ends,
    what_an_agent_is_not_cannot_be_ended_or_begun,
    a_higher_limit_starts_what_waits,
    stopping_without_draining_drops_what_runs,
    a_terminated_agent_is_gone_and_its_tasks_are_cancelled,
    the_cluster_and_its_counts_are_told,
);

const AGENT: &str = "/orchestrator/agents/a";

async fn change(surface: &Surface, what: &str) -> Value {
    let changed = surface.post(&format!("{AGENT}/{what}"), &json!({})).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    changed.body
}

async fn is(surface: &Surface, status: &str) {
    eventually(&format!("the agent is {status}"), async || {
        surface.get(AGENT).await.body["status"] == status
    })
    .await;
}

async fn a_paused_agent_starts_nothing_until_its_pause_ends(
    surface: &Surface,
) -> anyhow::Result<()> {
    let first = surface.submit(json!({})).await?;
    surface.until(&first, "completed").await;
    assert_eq!(change(surface, "pause").await["desired_state"], "paused");
    is(surface, "paused").await;
    let waiting = surface.submit(json!({})).await?;
    surface.until(&waiting, "queued").await;
    assert_eq!(change(surface, "pause").await["desired_state"], "paused");
    assert_eq!(change(surface, "resume").await["desired_state"], "running");
    surface.until(&waiting, "completed").await;
    Ok(())
}

async fn what_an_agent_is_not_cannot_be_ended_or_begun(surface: &Surface) -> anyhow::Result<()> {
    let refused = surface.post(&format!("{AGENT}/resume"), &json!({})).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(
        detail.contains("idle") && detail.contains("start it instead"),
        "{detail}"
    );
    let stopped = surface
        .post("/orchestrator/stop?agent_id=a", &json!({}))
        .await;
    assert_eq!(stopped.status, 200, "{}", stopped.body);
    for what in ["pause", "resume"] {
        let refused = surface.post(&format!("{AGENT}/{what}"), &json!({})).await;
        assert_eq!(refused.status, 409, "{}", refused.body);
        assert_eq!(surface.get(AGENT).await.body["desired_state"], "stopped");
    }
    for (body, field) in [
        (json!({}), "instances"),
        (json!({"instances": 101}), "instances"),
        (
            json!({"max_concurrent_sessions": 0}),
            "max_concurrent_sessions",
        ),
        (json!({"max_concurrent_sessions": 1, "size": 1}), "size"),
    ] {
        let refused = surface.post(&format!("{AGENT}/scale"), &body).await;
        assert_eq!(refused.status, 422, "{}", refused.body);
        assert_eq!(refused.body["errors"][0]["field"], field);
    }
    for what in ["pause", "resume", "scale"] {
        let body = json!({"max_concurrent_sessions": 1});
        let unknown = surface
            .post(&format!("/orchestrator/agents/b/{what}"), &body)
            .await;
        assert_eq!(unknown.status, 404, "{}", unknown.body);
    }
    Ok(())
}

async fn a_higher_limit_starts_what_waits(surface: &Surface) -> anyhow::Result<()> {
    let running = surface.submit(json!({"delay_ms": 60_000})).await?;
    surface.until(&running, "running").await;
    let waiting = surface.submit(json!({})).await?;
    surface.until(&waiting, "queued").await;
    let limit = json!({"max_concurrent_sessions": 2});
    let scaled = surface.post(&format!("{AGENT}/scale"), &limit).await;
    assert_eq!(scaled.status, 200, "{}", scaled.body);
    assert_eq!(scaled.body["agent"]["limits"]["max_concurrent_sessions"], 2);
    surface.until(&waiting, "completed").await;
    surface.delete(&running).await;
    Ok(())
}

async fn stopping_without_draining_drops_what_runs(surface: &Surface) -> anyhow::Result<()> {
    let running = surface.submit(json!({"delay_ms": 60_000})).await?;
    surface.until(&running, "running").await;
    let stop = json!({"agent_id": "a", "drain": false});
    let stopped = surface.post("/orchestrator/stop", &stop).await;
    assert_eq!(stopped.status, 200, "{}", stopped.body);
    surface.until(&running, "cancelled").await;
    is(surface, "stopped").await;
    Ok(())
}

async fn a_terminated_agent_is_gone_and_its_tasks_are_cancelled(
    surface: &Surface,
) -> anyhow::Result<()> {
    let running = surface.submit(json!({"delay_ms": 60_000})).await?;
    surface.until(&running, "running").await;
    let waiting = surface.submit(json!({})).await?;
    surface.until(&waiting, "queued").await;
    let faulty = surface.delete(&format!("{AGENT}?drain=perhaps")).await;
    assert_eq!(faulty.status, 422, "{}", faulty.body);
    let gone = surface.delete(&format!("{AGENT}?drain=false")).await;
    assert_eq!(gone.status, 200, "{}", gone.body);
    surface.until(&running, "cancelled").await;
    surface.until(&waiting, "cancelled").await;
    assert_eq!(surface.get(AGENT).await.status, 404);
    assert_eq!(surface.delete(AGENT).await.status, 404);
    Ok(())
}

async fn the_cluster_and_its_counts_are_told(surface: &Surface) -> anyhow::Result<()> {
    let quote = json!({"agent_id": "b", "domain": "pricing", "template_type": "quoter"});
    assert_eq!(
        surface.post("/orchestrator/register", &quote).await.status,
        200
    );
    let done = surface.submit(json!({})).await?;
    surface.until(&done, "completed").await;
    let failed = surface.submit(json!({"fail": "no data"})).await?;
    surface.until(&failed, "failed").await;

    let cluster = surface.get("/orchestrator/cluster/status").await;
    assert_eq!(cluster.status, 200, "{}", cluster.body);
    let cluster = cluster.body;
    assert_eq!(cluster["workers"].as_array().unwrap().len(), 1, "{cluster}");
    assert_eq!(cluster["capacity"], cluster["workers"][0]["capacity"]);
    assert_eq!(
        (&cluster["completed_tasks"], &cluster["failed_tasks"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(cluster["agents"], json!({"active": 1, "registered": 1}));

    // What happened is counted once, some seconds later, whichever of the calls tells it.
    let (mut completions, mut errors, mut created) = (0, 0, Vec::new());
    eventually("everything is counted", async || {
        let tasks = surface.get("/orchestrator/metrics/tasks").await.body;
        assert_eq!(
            (&tasks["completed_tasks"], &tasks["failed_tasks"]),
            (&json!(1), &json!(1))
        );
        let new = surface.get("/orchestrator/metrics/creations").await.body;
        let sum = |counts: &Value| {
            let counts = counts.as_object().unwrap().values();
            counts.map(|count| count.as_u64().unwrap()).sum::<u64>()
        };
        completions += sum(&tasks["completions_by_type"]);
        errors += sum(&tasks["errors_by_type"]);
        created.extend(new.as_object().unwrap().keys().cloned());
        completions >= 1 && errors >= 1 && created.len() >= 2
    })
    .await;
    created.sort();
    assert_eq!(created, ["quoter", "unknown"]);
    assert_eq!((completions, errors), (1, 1));
    Ok(())
}
