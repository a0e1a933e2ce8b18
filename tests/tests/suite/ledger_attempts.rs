//! How attempts end in the ledger, and whose outcome counts, on SQLite and on PostgreSQL.

use orchestrator_common::domain::{
    Claim, Completion, ErrorCode, Outcome, TaskError, TaskId, TaskStatus, Timestamp, Usage,
    WorkerId,
};
use orchestrator_common::ledger::{Cancelled, Dispatch, WorkerRecord};
use orchestrator_tests::ledger::{TestLedger, default_options, task};
use orchestrator_tests::ledger_steps::{
    active_agent, bring, claim, completed, end, retryable, status,
};
use orchestrator_tests::on_both_databases;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;

on_both_databases!(default_options();
    only_the_current_claim_records_an_outcome,
    a_failed_attempt_is_retried_when_it_is_due,
    a_lost_workers_tasks_run_again_and_its_late_answers_are_refused,
    a_waiting_task_is_cancelled_at_once_and_a_running_one_when_it_ends,
    a_task_that_was_started_unheard_is_handed_back,
    a_handed_back_task_runs_elsewhere_at_once_and_costs_no_attempt,
    an_attempt_is_written_down_with_its_conversation,
);

async fn only_the_current_claim_records_an_outcome(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let started = bring(
        ledger,
        WorkerId::generate(),
        vec![task(&agent, json!({}), Timestamp::now())],
    )
    .await
    .started;
    let claim = &started[0].claim;
    let forged = Claim {
        worker_id: WorkerId::generate(),
        ..claim.clone()
    };
    assert!(
        end(ledger, &forged, completed(), Timestamp::now())
            .await
            .completions[0]
            .settlement
            .is_none()
    );
    let stale = Claim {
        number: 2,
        ..claim.clone()
    };
    assert!(
        end(ledger, &stale, completed(), Timestamp::now())
            .await
            .completions[0]
            .settlement
            .is_none()
    );
    assert!(
        end(ledger, claim, completed(), Timestamp::now())
            .await
            .completions[0]
            .settlement
            .is_some()
    );
    let error = TaskError::new(ErrorCode::AgentFailed, "late");
    let again = end(ledger, claim, Outcome::Failed { error }, Timestamp::now()).await;
    assert!(again.completions[0].settlement.is_none());
    assert_eq!(status(ledger, &started[0]).await, TaskStatus::Completed);
    let record = ledger.agent(&agent).await.unwrap().unwrap();
    assert_eq!((record.running, record.totals.sessions), (0, 1));
}

async fn a_failed_attempt_is_retried_when_it_is_due(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let worker = WorkerId::generate();
    let mut now = Timestamp::now();
    let mut started = bring(
        ledger,
        worker,
        vec![task(&agent, json!({"max_attempts": 2}), now)],
    )
    .await
    .started;
    end(ledger, &started[0].claim, retryable(), now).await;
    assert_eq!(status(ledger, &started[0]).await, TaskStatus::Retrying);
    let early = ledger.promote_due(now).await.unwrap();
    assert!(early.agents.is_empty());
    now = early.next_due.unwrap();
    let promoted = ledger.promote_due(now).await.unwrap();
    assert_eq!(promoted.agents, std::slice::from_ref(&agent));
    started = claim(ledger, worker, &agent, now).await;
    assert_eq!((started[0].claim.attempt, started[0].claim.number), (2, 2));
    end(ledger, &started[0].claim, retryable(), now).await;
    let failed = ledger
        .task(started[0].claim.task_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((failed.status, failed.attempt), (TaskStatus::Failed, 2));
    assert_eq!(failed.error.unwrap().code, ErrorCode::AgentUnreachable);
}

async fn a_lost_workers_tasks_run_again_and_its_late_answers_are_refused(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let now = Timestamp::now();
    let lost = WorkerRecord {
        worker_id: WorkerId::generate(),
        host: "here".into(),
        capacity: 10,
    };
    ledger.heartbeat(&lost, now).await.unwrap();
    let started = bring(
        ledger,
        lost.worker_id,
        vec![task(&agent, json!({"max_attempts": 1}), now)],
    )
    .await
    .started;

    let other = WorkerId::generate();
    let seen = ledger.other_workers(other).await.unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (seen[0].worker_id, seen[0].heartbeat_at),
        (lost.worker_id, Some(now))
    );
    assert_eq!(ledger.recover(lost.worker_id, now).await.unwrap().len(), 1);
    assert!(
        ledger
            .recover(lost.worker_id, now)
            .await
            .unwrap()
            .is_empty(),
        "recovering twice finds nothing more"
    );
    assert!(ledger.other_workers(other).await.unwrap().is_empty());

    let again = claim(ledger, other, &agent, now).await;
    assert_eq!(
        (
            again[0].claim.attempt,
            again[0].claim.number,
            again[0].claim.crashes
        ),
        (2, 2, 1)
    );
    assert!(
        end(ledger, &started[0].claim, completed(), now)
            .await
            .completions[0]
            .settlement
            .is_none()
    );
    assert_eq!(status(ledger, &again[0]).await, TaskStatus::Running);
    assert!(
        end(ledger, &again[0].claim, completed(), now)
            .await
            .completions[0]
            .settlement
            .is_some()
    );
}

async fn a_waiting_task_is_cancelled_at_once_and_a_running_one_when_it_ends(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 1).await;
    let now = Timestamp::now();
    let worker = WorkerId::generate();
    let tasks: Vec<_> = (0..2).map(|_| task(&agent, json!({}), now)).collect();
    let waiting = tasks[1].task_id;
    let started = bring(ledger, worker, tasks).await.started;
    assert_eq!(ledger.cancel(waiting, now).await.unwrap(), Cancelled::Now);
    assert_eq!(
        ledger.cancel(waiting, now).await.unwrap(),
        Cancelled::AlreadyEnded(TaskStatus::Cancelled)
    );
    assert_eq!(ledger.agent(&agent).await.unwrap().unwrap().queued, 0);

    let running = started[0].claim.task_id;
    assert_eq!(
        ledger.cancel(running, now).await.unwrap(),
        Cancelled::Requested(worker)
    );
    assert_eq!(ledger.to_cancel(worker).await.unwrap(), [running]);
    let other = ledger.to_cancel(WorkerId::generate()).await.unwrap();
    assert_eq!(other, []);
    end(ledger, &started[0].claim, retryable(), now).await;
    let record = ledger.task(running).await.unwrap().unwrap();
    assert_eq!(
        (record.status, record.error.unwrap().code),
        (TaskStatus::Cancelled, ErrorCode::Cancelled)
    );
    assert_eq!(ledger.to_cancel(worker).await.unwrap(), []);
    assert_eq!(
        ledger.cancel(TaskId::generate(), now).await.unwrap(),
        Cancelled::Unknown
    );
}

async fn a_task_that_was_started_unheard_is_handed_back(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let (worker, now) = (WorkerId::generate(), Timestamp::now());
    let tasks = (0..2).map(|_| task(&agent, json!({}), now)).collect();
    let started = bring(ledger, worker, tasks).await.started;
    let (heard, unheard) = (&started[0].claim, &started[1].claim);
    let known = [heard.task_id].into();
    let handed_back = ledger.hand_back_unknown(worker, &known, now).await.unwrap();
    assert_eq!(handed_back.len(), 1);
    assert_eq!(handed_back[0].claim, *unheard);
    assert!(
        ledger
            .hand_back_unknown(worker, &known, now)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(status(ledger, &started[0]).await, TaskStatus::Running);
    let record = ledger.task(unheard.task_id).await.unwrap().unwrap();
    assert_eq!((record.status, record.attempt), (TaskStatus::Queued, 0));
    let agent = ledger.agent(&agent).await.unwrap().unwrap();
    assert_eq!((agent.running, agent.queued), (1, 1));
}

async fn a_handed_back_task_runs_elsewhere_at_once_and_costs_no_attempt(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 1).await;
    let now = Timestamp::now();
    let started = bring(
        ledger,
        WorkerId::generate(),
        vec![task(&agent, json!({}), now)],
    )
    .await
    .started;
    let completion = Completion {
        claim: started[0].claim.clone(),
        outcome: Outcome::HandedBack,
        usage: Usage::default(),
    };
    let handing_back = Dispatch {
        completions: vec![completion],
        ..Dispatch::default()
    };
    let back = ledger
        .dispatch(started[0].claim.worker_id, handing_back, now)
        .await
        .unwrap();
    assert_eq!(
        back.hungry,
        std::slice::from_ref(&agent),
        "a worker without room says that there is work"
    );
    let dispatch = Dispatch {
        claims: back.hungry,
        room: 1,
        ..Dispatch::default()
    };
    let again = ledger
        .dispatch(WorkerId::generate(), dispatch, now)
        .await
        .unwrap()
        .started;
    assert_eq!((again[0].claim.attempt, again[0].claim.number), (1, 2));
}

async fn an_attempt_is_written_down_with_its_conversation(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let now = Timestamp::now();
    let tasks = vec![
        task(&agent, json!({"session_id": "chat:1"}), now),
        task(&agent, json!({}), now),
    ];
    let mut expected: Vec<_> = tasks
        .iter()
        .map(|task| task.session_id.as_ref().map(ToString::to_string))
        .collect();
    let started = bring(ledger, WorkerId::generate(), tasks).await.started;
    end(ledger, &started[0].claim, completed(), now).await;
    end(ledger, &started[1].claim, retryable(), now).await;
    let connection = ledger.connection();
    let sql = "SELECT session_id FROM sessions ORDER BY session_id";
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let rows = connection.query_all_raw(statement).await.unwrap();
    let mut written: Vec<Option<String>> = rows
        .iter()
        .map(|row| row.try_get_by_index(0).unwrap())
        .collect();
    written.sort();
    expected.sort();
    assert_eq!(written, expected);
    let back = ledger.task(started[0].claim.task_id).await.unwrap();
    assert_eq!(back.unwrap().task.session_id, started[0].task.session_id);
}
