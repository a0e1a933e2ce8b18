//! Trying tasks again by hand in the ledger, on SQLite and on PostgreSQL.

use std::time::Duration;

use orchestrator_common::domain::{TaskId, TaskStatus, Timestamp, Wish, WorkerId};
use orchestrator_common::ledger::{Cancelled, Retried};
use orchestrator_tests::ledger::{TestLedger, default_options, task};
use orchestrator_tests::ledger_steps::{active_agent, bring, claim, completed, end, retryable};
use orchestrator_tests::on_both_databases;
use serde_json::json;

on_both_databases!(default_options();
    a_failed_task_runs_again_with_new_attempts_that_go_on_counting,
    a_cancelled_task_waits_again_and_only_once,
    what_has_not_failed_is_not_tried_again,
    a_task_of_an_agent_that_is_gone_stays_ended,
);

async fn a_failed_task_runs_again_with_new_attempts_that_go_on_counting(test: &TestLedger) {
    let ledger = &test.ledger;
    let id = active_agent(ledger, "a", 10).await;
    let worker = WorkerId::generate();
    let only = task(&id, json!({"max_attempts": 1}), Timestamp::now());
    let task_id = only.task_id;
    let first = bring(ledger, worker, vec![only]).await.started.remove(0);
    end(ledger, &first.claim, retryable(), Timestamp::now()).await;
    let failed = ledger.task(task_id).await.unwrap().unwrap();
    assert_eq!(failed.status, TaskStatus::Failed);

    let retried = ledger.retry(task_id, 2, Timestamp::now()).await.unwrap();
    assert_eq!(retried, Retried::Now(id.clone()));
    let waiting = ledger.task(task_id).await.unwrap().unwrap();
    assert_eq!(
        (
            waiting.status,
            waiting.attempt,
            waiting.error,
            waiting.completed_at
        ),
        (TaskStatus::Queued, 1, None, None)
    );
    assert_eq!(ledger.agent(&id).await.unwrap().unwrap().queued, 1);

    for (attempt, status) in [(2, TaskStatus::Retrying), (3, TaskStatus::Failed)] {
        let again = claim(ledger, worker, &id, Timestamp::now()).await;
        assert_eq!(again[0].claim.attempt, attempt);
        end(ledger, &again[0].claim, retryable(), Timestamp::now()).await;
        assert_eq!(ledger.task(task_id).await.unwrap().unwrap().status, status);
        let later = Timestamp::now().plus(Duration::from_secs(3_600));
        ledger.promote_due(later).await.unwrap();
    }
}

async fn a_cancelled_task_waits_again_and_only_once(test: &TestLedger) {
    let ledger = &test.ledger;
    let id = active_agent(ledger, "a", 10).await;
    let now = Timestamp::now();
    let only = task(&id, json!({"expires_in_seconds": 1}), now);
    let task_id = only.task_id;
    ledger.ingest(vec![only], now).await.unwrap();
    assert_eq!(ledger.cancel(task_id, now).await.unwrap(), Cancelled::Now);
    assert_eq!(
        ledger.retry(task_id, 3, now).await.unwrap(),
        Retried::Now(id.clone())
    );
    assert_eq!(
        ledger.retry(task_id, 3, now).await.unwrap(),
        Retried::NotFailed(TaskStatus::Queued)
    );
    assert_eq!(ledger.agent(&id).await.unwrap().unwrap().queued, 1);
    let later = now.plus(Duration::from_secs(3_600));
    assert!(ledger.expire(later).await.unwrap().is_empty());
    let started = claim(ledger, WorkerId::generate(), &id, Timestamp::now()).await;
    assert_eq!(started[0].claim.task_id, task_id);
}

async fn what_has_not_failed_is_not_tried_again(test: &TestLedger) {
    let ledger = &test.ledger;
    let id = active_agent(ledger, "a", 10).await;
    let (worker, now) = (WorkerId::generate(), Timestamp::now());
    let only = task(&id, json!({}), now);
    let task_id = only.task_id;
    ledger.ingest(vec![only], now).await.unwrap();
    let retry = async || ledger.retry(task_id, 3, now).await.unwrap();
    assert_eq!(retry().await, Retried::NotFailed(TaskStatus::Queued));
    let started = claim(ledger, worker, &id, now).await;
    assert_eq!(retry().await, Retried::NotFailed(TaskStatus::Running));
    end(ledger, &started[0].claim, completed(), now).await;
    assert_eq!(retry().await, Retried::NotFailed(TaskStatus::Completed));
    let unknown = ledger.retry(TaskId::generate(), 3, now).await.unwrap();
    assert_eq!(unknown, Retried::Unknown);
}

async fn a_task_of_an_agent_that_is_gone_stays_ended(test: &TestLedger) {
    let ledger = &test.ledger;
    let id = active_agent(ledger, "a", 10).await;
    let now = Timestamp::now();
    let only = task(&id, json!({}), now);
    let task_id = only.task_id;
    ledger.ingest(vec![only], now).await.unwrap();
    ledger.cancel(task_id, now).await.unwrap();
    ledger.wish(&id, Wish::Remove, now).await.unwrap();
    let retried = ledger.retry(task_id, 3, now).await.unwrap();
    assert_eq!(retried, Retried::UnknownAgent(id));
    let task = ledger.task(task_id).await.unwrap().unwrap();
    assert_eq!(task.status, TaskStatus::Cancelled);
}
