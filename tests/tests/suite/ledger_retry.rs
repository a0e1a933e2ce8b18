//! Trying tasks again by hand in the ledger, on SQLite and on PostgreSQL.

use std::time::Duration;

use orchestrator_common::domain::{
    AgentId, Completion, DesiredState, ErrorCode, Outcome, Registration, TaskError, TaskId,
    TaskStatus, Timestamp, Usage, WorkerId,
};
use orchestrator_common::ledger::{Cancelled, Dispatch, Dispatched, Ledger, Retried};
use orchestrator_tests::ledger::{TestLedger, agent_id, default_options, task};
use orchestrator_tests::on_both_databases;
use serde_json::json;

on_both_databases!(default_options();
    a_failed_task_runs_again_with_new_attempts_that_go_on_counting,
    a_cancelled_task_waits_again_and_only_once,
    what_has_not_failed_is_not_tried_again,
    a_task_of_an_agent_that_is_gone_stays_ended,
);

async fn active_agent(ledger: &Ledger) -> AgentId {
    let id = agent_id("a");
    let now = Timestamp::now();
    let registration = Registration::parse(json!({"agent_id": "a"})).unwrap();
    ledger.register(&registration, now).await.unwrap();
    ledger
        .set_desired(&id, DesiredState::Running, now)
        .await
        .unwrap();
    let lease = ledger
        .lease_agent(&id, WorkerId::generate(), Duration::from_secs(60), now)
        .await
        .unwrap()
        .unwrap();
    ledger
        .activate(&lease, "http://127.0.0.1:1/agents/x", now)
        .await
        .unwrap();
    ledger.end_lease(&lease, 0, None).await.unwrap();
    id
}

async fn dispatch(ledger: &Ledger, worker: WorkerId, dispatch: Dispatch) -> Dispatched {
    let dispatched = ledger.dispatch(worker, dispatch, Timestamp::now()).await;
    dispatched.unwrap()
}

/// Claims what waits for the agent.
async fn claim(ledger: &Ledger, worker: WorkerId, id: &AgentId) -> Dispatched {
    let claims = Dispatch {
        claims: vec![id.clone()],
        room: 10,
        ..Dispatch::default()
    };
    dispatch(ledger, worker, claims).await
}

async fn a_failed_task_runs_again_with_new_attempts_that_go_on_counting(test: &TestLedger) {
    let ledger = &test.ledger;
    let id = active_agent(ledger).await;
    let worker = WorkerId::generate();
    let only = task(&id, json!({"max_attempts": 1}), Timestamp::now());
    let task_id = only.task_id;
    let arrive = Dispatch {
        arrivals: vec![only],
        room: 10,
        ..Dispatch::default()
    };
    let mut claim_now = dispatch(ledger, worker, arrive)
        .await
        .started
        .remove(0)
        .claim;
    let fail = |claim| Dispatch {
        completions: vec![Completion {
            claim,
            outcome: Outcome::Retryable {
                error: TaskError::new(ErrorCode::AgentUnreachable, "no answer"),
                retry_after: None,
            },
            usage: Usage::default(),
        }],
        ..Dispatch::default()
    };
    dispatch(ledger, worker, fail(claim_now)).await;
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
        claim_now = claim(ledger, worker, &id).await.started.remove(0).claim;
        assert_eq!(claim_now.attempt, attempt);
        dispatch(ledger, worker, fail(claim_now)).await;
        assert_eq!(ledger.task(task_id).await.unwrap().unwrap().status, status);
        let later = Timestamp::now().plus(Duration::from_secs(3_600));
        ledger.promote_due(later).await.unwrap();
    }
}

async fn a_cancelled_task_waits_again_and_only_once(test: &TestLedger) {
    let ledger = &test.ledger;
    let id = active_agent(ledger).await;
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
    let started = claim(ledger, WorkerId::generate(), &id).await.started;
    assert_eq!(started[0].claim.task_id, task_id);
}

async fn what_has_not_failed_is_not_tried_again(test: &TestLedger) {
    let ledger = &test.ledger;
    let id = active_agent(ledger).await;
    let (worker, now) = (WorkerId::generate(), Timestamp::now());
    let only = task(&id, json!({}), now);
    let task_id = only.task_id;
    ledger.ingest(vec![only], now).await.unwrap();
    let retry = async || ledger.retry(task_id, 3, now).await.unwrap();
    assert_eq!(retry().await, Retried::NotFailed(TaskStatus::Queued));
    let started = claim(ledger, worker, &id).await.started.remove(0);
    assert_eq!(retry().await, Retried::NotFailed(TaskStatus::Running));
    let completed = Dispatch {
        completions: vec![Completion {
            claim: started.claim,
            outcome: Outcome::Completed {
                result: started.task.task_data,
            },
            usage: Usage::default(),
        }],
        ..Dispatch::default()
    };
    dispatch(ledger, worker, completed).await;
    assert_eq!(retry().await, Retried::NotFailed(TaskStatus::Completed));
    let unknown = ledger.retry(TaskId::generate(), 3, now).await.unwrap();
    assert_eq!(unknown, Retried::Unknown);
}

async fn a_task_of_an_agent_that_is_gone_stays_ended(test: &TestLedger) {
    let ledger = &test.ledger;
    let id = active_agent(ledger).await;
    let now = Timestamp::now();
    let only = task(&id, json!({}), now);
    let task_id = only.task_id;
    ledger.ingest(vec![only], now).await.unwrap();
    ledger.cancel(task_id, now).await.unwrap();
    ledger
        .set_desired(&id, DesiredState::Removed, now)
        .await
        .unwrap();
    let retried = ledger.retry(task_id, 3, now).await.unwrap();
    assert_eq!(retried, Retried::UnknownAgent(id));
    let task = ledger.task(task_id).await.unwrap().unwrap();
    assert_eq!(task.status, TaskStatus::Cancelled);
}
