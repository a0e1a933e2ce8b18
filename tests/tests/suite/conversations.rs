//! Conversations: tasks that carry the same `session_id`, embedded and at full strength.

use orchestrator_tests::surface::Surface;
use orchestrator_tests::{eventually, on_both_strengths};
use serde_json::{Value, json};

on_both_strengths!(&[];
    a_task_carries_its_conversation_and_is_listed_by_it,
    the_name_of_a_conversation_is_checked,
);

async fn a_task_carries_its_conversation_and_is_listed_by_it(
    surface: &Surface,
) -> anyhow::Result<()> {
    let task = |session: Value| json!({"agent_id": "a", "task_type": "t", "task_data": {}, "session_id": session});
    let batch = json!({"tasks": [task(json!("chat:1")), task(json!("chat:2")), task(Value::Null)]});
    let answer = surface.post("/orchestrator/tasks/batch", &batch).await;
    assert_eq!(answer.body["accepted"], 3, "{}", answer.body);
    let more = json!({"session_id": "chat:1"});
    let address = surface.submit_with(json!({}), more).await?;
    let done = surface.until(&address, "completed").await;
    assert_eq!(done["session_id"], "chat:1");
    eventually("all have ended", async || {
        let listed = surface.get("/orchestrator/tasks?status=completed").await;
        listed.body["count"] == 4
    })
    .await;
    for (path, count) in [
        ("/orchestrator/tasks?session_id=chat:1", 2),
        ("/orchestrator/agents/a/tasks?session_id=chat:1", 2),
        ("/orchestrator/tasks?session_id=chat:2&agent_id=a", 1),
        ("/orchestrator/tasks?session_id=chat:3", 0),
    ] {
        let listed = surface.get(path).await.body;
        assert_eq!(listed["count"], count, "{path}: {listed}");
        for task in listed["tasks"].as_array().into_iter().flatten() {
            assert!(path.contains(task["session_id"].as_str().unwrap_or("none")));
        }
    }
    Ok(())
}

async fn the_name_of_a_conversation_is_checked(surface: &Surface) -> anyhow::Result<()> {
    for bad in [json!(""), json!("a b"), json!("x".repeat(101)), json!(5)] {
        let task = json!({"agent_id": "a", "task_type": "t", "task_data": {}, "session_id": bad});
        let refused = surface.post("/orchestrator/execute-task", &task).await;
        assert_eq!(refused.status, 422, "{}", refused.body);
        assert_eq!(refused.body["errors"][0]["field"], "session_id");
    }
    let refused = surface.get("/orchestrator/tasks?session_id=a%20b").await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.body["errors"][0]["field"], "session_id");
    Ok(())
}
