//! `Idempotency-Key`: joining, replaying, and what is not replayed.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{TestFactory, config, eventually, task};
use crate::brain_factory::BrainFactoryOptions;

const KEY: &[(&str, &str)] = &[("idempotency-key", "t:1")];

#[tokio::test]
async fn calls_with_one_key_join_one_execution_and_get_one_answer() {
    let factory = TestFactory::start().await;
    factory.agent(config("a")).await;
    let slow = task("t", json!({"_simulate": {"delay_ms": 1_000}}));
    let calls = (0..5).map(|_| async {
        let response = factory.call("a", &slow, KEY).await;
        response.text().await.unwrap()
    });
    let answers = join_all(calls).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(factory.stats.executions_of_task("t"), 1);
    assert_eq!(factory.stats.agent("a").max_executing, 1);
    let again = factory.call("a", &slow, KEY).await.text().await.unwrap();
    assert_eq!(again, answers[0], "the stored answer is replayed");
    assert_eq!(factory.stats.executions_of_task("t"), 1);
    let metrics: Value = factory.get("/metrics").await.json().await.unwrap();
    assert_eq!(metrics["calls_joined"], 4);
    assert_eq!(metrics["calls_replayed"], 1);
}

#[tokio::test]
async fn a_repeated_call_finds_the_execution_that_its_caller_hung_up_on() {
    let factory = TestFactory::start().await;
    factory.agent(config("a")).await;
    let slow = task("t", json!({"_simulate": {"delay_ms": 1_000}}));
    let call = tokio::spawn(factory.request("a", &slow, KEY).send());
    eventually("the task runs", || factory.stats.executing() == 1).await;
    call.abort();
    let answer = factory.call("a", &slow, KEY).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(factory.stats.executions_of_task("t"), 1);
}

#[tokio::test]
async fn another_key_task_or_no_key_executes_again() {
    let factory = TestFactory::start().await;
    factory.agent(config("a")).await;
    let one = task("t", json!({}));
    factory.call("a", &one, KEY).await;
    factory.call("a", &one, &[("idempotency-key", "t:2")]).await;
    factory.call("a", &one, &[]).await;
    assert_eq!(factory.stats.executions_of_task("t"), 3);
    factory.call("a", &task("u", json!({})), KEY).await;
    assert_eq!(factory.stats.executions_of_task("u"), 1);
}

#[tokio::test]
async fn a_failure_is_not_replayed() {
    let factory = TestFactory::start().await;
    factory.agent(config("a")).await;
    let failing = task("t", json!({"_simulate": {"fail": "no"}}));
    for _ in 0..2 {
        let answer: Value = factory.call("a", &failing, KEY).await.json().await.unwrap();
        assert_eq!(answer["status"], "failed");
    }
    assert_eq!(factory.stats.executions_of_task("t"), 2);
}

#[tokio::test]
async fn an_agent_that_was_made_anew_has_no_answers_of_its_predecessor() {
    let factory = TestFactory::with(BrainFactoryOptions::default()).await;
    factory.agent(config("a")).await;
    let one = task("t", json!({}));
    factory.call("a", &one, KEY).await;
    factory.delete("a").await;
    assert_eq!(factory.call("a", &one, KEY).await.status(), 404);
    factory.agent(config("a")).await;
    assert_eq!(factory.call("a", &one, KEY).await.status(), 200);
    assert_eq!(factory.stats.agent("a").ended, 1);
}
