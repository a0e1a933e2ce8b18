//! Who may change tasks, and what is told to workers and readers.

use orchestrator_common::commands::TaskChange;
use orchestrator_common::domain::{Submission, SubmissionDefaults, TaskId, Timestamp};
use poem::Body;
use poem::http::Method;
use serde_json::json;

use crate::testing::TestApi;

#[tokio::test]
async fn changing_a_task_needs_a_token() {
    let api = TestApi::with_auth().await;
    let address = format!("/orchestrator/tasks/{}", TaskId::generate());
    let cancelled = api.send(Method::DELETE, &address, &[], Body::empty()).await;
    cancelled.problem(401);
    for change in ["priority", "retry"] {
        let changed = api.post(&format!("{address}/{change}"), &json!({})).await;
        changed.problem(401);
    }
}

#[tokio::test]
async fn what_was_changed_is_told() {
    let api = TestApi::with_working_ledger().await;
    let agent = json!({"agent_id": "a"});
    assert_eq!(api.post("/orchestrator/register", &agent).await.status, 200);
    let body = json!({"agent_id": "a", "task_type": "t", "task_data": {}});
    let submission = Submission::parse(body, SubmissionDefaults::default()).unwrap();
    let task_id = TaskId::generate();
    let now = Timestamp::now();
    let task = submission.into_task(task_id, now);
    api.ledger.ingest(vec![task], now).await.unwrap();

    let address = format!("/orchestrator/tasks/{task_id}");
    let urgent = json!({"priority": 9});
    let changed = api.post(&format!("{address}/priority"), &urgent).await;
    assert_eq!(changed.json()["status"], "queued");
    let cancelled = api.send(Method::DELETE, &address, &[], Body::empty()).await;
    assert_eq!(cancelled.json()["status"], "cancelled");
    let retried = api.post(&format!("{address}/retry"), &json!({})).await;
    assert_eq!(retried.json()["status"], "queued");
    let agent_id = "a".to_owned().try_into().unwrap();
    assert_eq!(
        *api.commands.told.lock().unwrap(),
        [
            TaskChange::Reprioritised(task_id),
            TaskChange::Ended(task_id),
            TaskChange::Retried { task_id, agent_id },
        ]
    );
}
