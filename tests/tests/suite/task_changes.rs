//! Cancelling, reprioritising and retrying tasks over HTTP, embedded and at full strength.

use orchestrator_tests::on_both_strengths;
use orchestrator_tests::surface::Surface;
use serde_json::json;

on_both_strengths!(&[];
    a_waiting_task_is_cancelled_at_once_and_again,
    a_running_task_is_dropped,
    a_finished_task_is_not_cancelled,
    a_waiting_task_that_becomes_urgent_runs_first,
    a_failed_task_runs_again_under_its_own_name,
    what_there_is_not_cannot_be_changed,
);

async fn a_waiting_task_is_cancelled_at_once_and_again(surface: &Surface) -> anyhow::Result<()> {
    let running = surface.submit(json!({"delay_ms": 60_000})).await?;
    surface.until(&running, "running").await;
    let waiting = surface.submit(json!({})).await?;
    surface.until(&waiting, "queued").await;
    let events = match surface.servers() {
        Some(servers) => Some(servers.events("task.cancelled.#").await?),
        None => None,
    };
    // At full strength the first may still be on its way into the ledger; the second finds it there.
    let first = surface.delete(&waiting).await;
    assert!(matches!(first.status.as_u16(), 200 | 202), "{}", first.body);
    let task = surface.until(&waiting, "cancelled").await;
    assert_eq!(task["error"]["code"], "cancelled");
    let again = surface.delete(&waiting).await;
    assert_eq!(again.status, 200, "{}", again.body);
    assert_eq!(again.body["status"], "cancelled");
    if let (Some(servers), Some(events)) = (surface.servers(), events) {
        let event = servers.next(&events).await?;
        assert_eq!(event.body["task_id"], task["task_id"]);
    }
    surface.delete(&running).await;
    Ok(())
}

async fn a_running_task_is_dropped(surface: &Surface) -> anyhow::Result<()> {
    let running = surface.submit(json!({"delay_ms": 60_000})).await?;
    surface.until(&running, "running").await;
    let asked = surface.delete(&running).await;
    assert_eq!(asked.status, 202, "{}", asked.body);
    assert_eq!(asked.body["status"], "running");
    surface.until(&running, "cancelled").await;
    // Its slot is free again.
    let next = surface.submit(json!({})).await?;
    surface.until(&next, "completed").await;
    Ok(())
}

async fn a_finished_task_is_not_cancelled(surface: &Surface) -> anyhow::Result<()> {
    let finished = surface.submit(json!({})).await?;
    surface.until(&finished, "completed").await;
    let refused = surface.delete(&finished).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(
        refused.body["detail"]
            .as_str()
            .unwrap()
            .contains("is completed")
    );
    assert_eq!(surface.get(&finished).await.body["status"], "completed");
    let refused = surface
        .post(&format!("{finished}/priority"), &json!({"priority": 2}))
        .await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    let refused = surface.post(&format!("{finished}/retry"), &json!({})).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    Ok(())
}

async fn a_waiting_task_that_becomes_urgent_runs_first(surface: &Surface) -> anyhow::Result<()> {
    let running = surface.submit(json!({"delay_ms": 60_000})).await?;
    surface.until(&running, "running").await;
    let slow = surface.submit(json!({"delay_ms": 60_000})).await?;
    let urgent = surface.submit(json!({})).await?;
    let path = format!("{urgent}/priority");
    orchestrator_tests::eventually("the ledger has it", async || {
        let changed = surface.post(&path, &json!({"priority": 9})).await;
        assert!(
            matches!(changed.status.as_u16(), 200 | 202),
            "{}",
            changed.body
        );
        changed.status == 200
    })
    .await;
    assert_eq!(surface.get(&urgent).await.body["priority"], 9);
    surface.delete(&running).await;
    surface.until(&urgent, "completed").await;
    surface.until(&slow, "running").await;
    surface.delete(&slow).await;
    Ok(())
}

async fn a_failed_task_runs_again_under_its_own_name(surface: &Surface) -> anyhow::Result<()> {
    let more = json!({"max_attempts": 1});
    let failing = json!({"fail_attempts": 1});
    let address = surface.submit_with(failing, more).await?;
    let failed = surface.until(&address, "failed").await;
    assert_eq!(failed["attempt"], 1);
    let retried = surface
        .post(&format!("{address}/retry"), &json!({"max_attempts": 2}))
        .await;
    assert_eq!(retried.status, 200, "{}", retried.body);
    assert_eq!(retried.body["status"], "queued");
    let completed = surface.until(&address, "completed").await;
    assert_eq!(
        (&completed["attempt"], &completed["task_id"]),
        (&json!(2), &failed["task_id"])
    );
    Ok(())
}

async fn what_there_is_not_cannot_be_changed(surface: &Surface) -> anyhow::Result<()> {
    for name in ["0199a3c4-6f6e-7c3b-9b1e-3d1f0a5c7e21", "no-uuid"] {
        let address = format!("/orchestrator/tasks/{name}");
        assert_eq!(surface.delete(&address).await.status, 404);
        let urgent = json!({"priority": 9});
        let priority = surface.post(&format!("{address}/priority"), &urgent).await;
        assert_eq!(priority.status, 404, "{}", priority.body);
        let retry = surface.post(&format!("{address}/retry"), &json!({})).await;
        assert_eq!(retry.status, 404, "{}", retry.body);
        let faulty = surface
            .post(
                &format!("{address}/priority"),
                &json!({"priority": 11, "x": 1}),
            )
            .await;
        assert_eq!(faulty.status, 422, "{}", faulty.body);
        let fields: Vec<_> = faulty.body["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| &e["field"])
            .collect();
        assert_eq!(fields, ["priority", "x"]);
    }
    Ok(())
}
