//! Choosing an agent while the ledger does not answer.

use orchestrator_common::domain::{Registration, Timestamp};
use serde_json::{Value, json};

use crate::testing::TestApi;

const PATH: &str = "/orchestrator/execute-task-intelligent";

fn task() -> Value {
    json!({"task_type": "quote", "task_data": {}})
}

#[tokio::test]
async fn while_the_ledger_does_not_answer_what_is_remembered_will_do() {
    let api = TestApi::with_working_ledger().await;
    let body = json!({"agent_id": "a", "task_types": ["quote"]});
    let registration = Registration::parse(body).unwrap();
    let registered = api.ledger.register(&registration, Timestamp::now()).await;
    registered.unwrap();
    assert_eq!(api.post(PATH, &task()).await.status, 200);
    api.ledger.close().await;
    // What is fresh is so for two seconds.
    let closed_at = std::time::Instant::now();
    while closed_at.elapsed() < std::time::Duration::from_millis(2_500) {
        let answer = api.post(PATH, &task()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["selection"]["agent_id"], "a");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let mut unknown = task();
    unknown["task_type"] = json!("summary");
    let refused = api.post(PATH, &unknown).await;
    refused.problem(503);
    assert!(!refused.header("retry-after").is_empty());
}

#[tokio::test]
async fn without_anything_remembered_it_is_a_503() {
    let refused = TestApi::new().await.post(PATH, &task()).await;
    refused.problem(503);
    assert!(!refused.header("retry-after").is_empty());
}
