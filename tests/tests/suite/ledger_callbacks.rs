//! Callbacks in the ledger: owed with every outcome, claimed by one worker at a time, and kept when done.

use std::collections::HashSet;
use std::time::Duration;

use orchestrator_common::domain::{
    AgentId, CallbackClaim, CallbackOutcome, CallbackStatus, ErrorCode, NewTask, Outcome,
    SettlementRules, TaskError, TaskId, Timestamp, WorkerId,
};
use orchestrator_common::ledger::{Ledger, LedgerOptions, Started, WaitingTarget};
use orchestrator_tests::ledger::{TestLedger, default_options, task};
use orchestrator_tests::ledger_steps::{active_agent, bring, claim, completed, end, retryable};
use orchestrator_tests::on_both_databases;
use serde_json::{Value, json};

const LEASE: Duration = Duration::from_secs(60);
const TARGET: &str = "receiver.example:443";

on_both_databases!(LedgerOptions { max_concurrent_sessions: 100, rules: one_crash(), ..default_options() };
    every_kind_of_outcome_owes_a_callback_and_nothing_else_does,
    a_claimed_callback_is_nobody_elses_until_its_lease_ends,
    many_workers_claim_each_callback_once,
    a_lost_workers_callbacks_are_due_at_once,
    what_came_of_a_callback_can_be_read,
    receivers_are_found_in_turn_however_many_callbacks_wait,
    a_retry_by_hand_forgets_the_old_outcomes_callback,
);

/// The first crash of a worker quarantines a task.
fn one_crash() -> SettlementRules {
    SettlementRules {
        max_crashes: 1,
        ..SettlementRules::default()
    }
}

fn calling_back(agent: &AgentId, more: Value) -> NewTask {
    let mut fields = json!({"callback_url": "https://receiver.example/hook?token=secret"});
    for (field, value) in more.as_object().into_iter().flatten() {
        fields[field] = value.clone();
    }
    task(agent, fields, Timestamp::now())
}

/// Runs tasks on `worker`.
async fn run(ledger: &Ledger, worker: WorkerId, arrivals: Vec<NewTask>) -> Vec<Started> {
    bring(ledger, worker, arrivals).await.started
}

async fn finish(ledger: &Ledger, started: &Started, outcome: Outcome) {
    let ended = end(ledger, &started.claim, outcome, Timestamp::now()).await;
    assert!(ended.completions[0].settlement.is_some());
}

/// A task that has ended, and owes a callback.
async fn owed(ledger: &Ledger, agent: &AgentId, number: usize) -> Vec<TaskId> {
    let tasks = (0..number).map(|_| calling_back(agent, json!({})));
    let started = run(ledger, WorkerId::generate(), tasks.collect()).await;
    assert_eq!(started.len(), number);
    for started in &started {
        finish(ledger, started, completed()).await;
    }
    started.iter().map(|s| s.claim.task_id).collect()
}

async fn claim_due(ledger: &Ledger, limit: u32, now: Timestamp) -> Vec<CallbackClaim> {
    ledger
        .claim_callbacks(WorkerId::generate(), TARGET, limit, now, LEASE)
        .await
        .unwrap()
}

async fn every_kind_of_outcome_owes_a_callback_and_nothing_else_does(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 100).await;
    let worker = WorkerId::generate();
    let error = || TaskError::new(ErrorCode::AgentFailed, "no");
    let mut owing = HashSet::new();

    let mine: Vec<_> = (0..5).map(|_| calling_back(&agent, json!({}))).collect();
    let started = run(ledger, worker, mine).await;
    let outcomes = [
        completed(),
        Outcome::Failed { error: error() },
        Outcome::TimedOut { error: error() },
        Outcome::Cancelled,
        retryable(),
    ];
    for (started, outcome) in started.iter().zip(outcomes) {
        let is_last = !matches!(outcome, Outcome::Retryable { .. });
        finish(ledger, started, outcome).await;
        if is_last {
            owing.insert(started.claim.task_id);
        }
    }

    // Nobody asked to be told of this one.
    let silent = task(&agent, json!({}), Timestamp::now());
    let silent = run(ledger, worker, vec![silent]).await;
    finish(ledger, &silent[0], completed()).await;

    // A task whose worker is lost is quarantined.
    let lost = WorkerId::generate();
    let started = run(ledger, lost, vec![calling_back(&agent, json!({}))]).await;
    ledger.recover(lost, Timestamp::now()).await.unwrap();
    owing.insert(started[0].claim.task_id);

    // What never runs.
    let waiting = calling_back(&agent, json!({"delay_seconds": 1_000}));
    let expiring = calling_back(
        &agent,
        json!({"delay_seconds": 900, "expires_in_seconds": 1}),
    );
    let left = calling_back(&agent, json!({"delay_seconds": 1_000}));
    owing.extend([waiting.task_id, expiring.task_id, left.task_id]);
    let now = Timestamp::now();
    let arrivals = vec![waiting.clone(), expiring, left];
    ledger.ingest(arrivals, now).await.unwrap();
    ledger.cancel(waiting.task_id, now).await.unwrap();
    let later = now.plus(Duration::from_secs(5));
    assert_eq!(ledger.expire(later).await.unwrap().len(), 1);
    let cancelled = ledger.cancel_waiting(&agent, now).await.unwrap();
    // The one that is to be retried, too.
    assert_eq!(cancelled.len(), 2);
    owing.extend(cancelled);

    let claims = claim_due(ledger, 100, later).await;
    let claimed: HashSet<TaskId> = claims.iter().map(|claim| claim.task_id).collect();
    assert_eq!(claimed, owing);
    for claim in claims {
        let task = ledger.task(claim.task_id).await.unwrap().unwrap();
        assert_eq!(Some(claim.outcome_at), task.completed_at);
        assert_eq!(claim.attempt, 1);
    }
    let callback = ledger.callback(silent[0].claim.task_id).await.unwrap();
    assert_eq!(callback, None);
}

async fn a_claimed_callback_is_nobody_elses_until_its_lease_ends(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 100).await;
    owed(ledger, &agent, 3).await;
    let now = Timestamp::now();
    let first = claim_due(ledger, 2, now).await;
    let second = claim_due(ledger, 2, now).await;
    assert_eq!((first.len(), second.len()), (2, 1));
    assert!(claim_due(ledger, 2, now).await.is_empty());
    assert!(!first.contains(&second[0]));

    let delivered = vec![(first[0].clone(), CallbackOutcome::Delivered)];
    ledger.settle_callbacks(&delivered, now).await.unwrap();
    // Their holders crashed.
    let later = now.plus(LEASE);
    let mut again = claim_due(ledger, 10, later).await;
    again.sort_by_key(|claim| claim.task_id);
    let mut expected = vec![first[1].task_id, second[0].task_id];
    expected.sort_unstable();
    let ids: Vec<_> = again.iter().map(|claim| claim.task_id).collect();
    assert_eq!(ids, expected);
    assert!(again.iter().all(|claim| claim.attempt == 2));

    // One of them was only slow.
    let late = vec![(second[0].clone(), CallbackOutcome::Abandoned("late".into()))];
    ledger.settle_callbacks(&late, later).await.unwrap();
    let callback = ledger.callback(second[0].task_id).await.unwrap().unwrap();
    assert_eq!(callback.status, CallbackStatus::Pending);
    assert_eq!(callback.last_error, None);
}

async fn many_workers_claim_each_callback_once(test: &TestLedger) {
    let agent = active_agent(&test.ledger, "a", 100).await;
    let owing = owed(&test.ledger, &agent, 60).await;
    let now = Timestamp::now();
    let claiming = (0..8).map(|_| {
        let ledger = test.ledger.clone();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claims = claim_due(&ledger, 3, now).await;
                if claims.is_empty() {
                    return mine;
                }
                mine.extend(claims.into_iter().map(|claim| claim.task_id));
            }
        })
    });
    let mut claimed = Vec::new();
    for worker in claiming.collect::<Vec<_>>() {
        claimed.extend(worker.await.unwrap());
    }
    // Locked rows are skipped, not waited for: who found nothing may have left some to others, who went on.
    claimed.extend(
        claim_due(&test.ledger, 100, now)
            .await
            .iter()
            .map(|c| c.task_id),
    );
    assert_eq!(claimed.len(), owing.len());
    assert_eq!(
        claimed.into_iter().collect::<HashSet<_>>(),
        owing.into_iter().collect()
    );
}

async fn a_lost_workers_callbacks_are_due_at_once(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 100).await;
    owed(ledger, &agent, 3).await;
    let now = Timestamp::now();
    let (lost, other) = (WorkerId::generate(), WorkerId::generate());
    let take = async |worker, limit| {
        let claiming = ledger.claim_callbacks(worker, TARGET, limit, now, LEASE);
        claiming.await.unwrap()
    };
    let (of_lost, of_other) = (take(lost, 2).await, take(other, 1).await);
    assert_eq!((of_lost.len(), of_other.len()), (2, 1));
    // One of the two was done with.
    let delivered = vec![(of_lost[0].clone(), CallbackOutcome::Delivered)];
    ledger.settle_callbacks(&delivered, now).await.unwrap();
    ledger.recover(lost, now).await.unwrap();
    let freed = take(other, 10).await;
    assert_eq!(freed.len(), 1);
    assert_eq!(
        (freed[0].task_id, freed[0].attempt),
        (of_lost[1].task_id, 2)
    );
}

async fn what_came_of_a_callback_can_be_read(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 100).await;
    let now = Timestamp::now();
    let later = now.plus(Duration::from_secs(7));
    for (outcome, status, error, next) in [
        (
            CallbackOutcome::Delivered,
            CallbackStatus::Delivered,
            None,
            None,
        ),
        (
            CallbackOutcome::Gone("status 410".into()),
            CallbackStatus::Gone,
            Some("status 410"),
            None,
        ),
        (
            CallbackOutcome::Abandoned("status 500".into()),
            CallbackStatus::Abandoned,
            Some("status 500"),
            None,
        ),
        (
            CallbackOutcome::Again("status 500".into(), later),
            CallbackStatus::Pending,
            Some("status 500"),
            Some(later),
        ),
        (
            CallbackOutcome::HandedBack,
            CallbackStatus::Pending,
            None,
            Some(now),
        ),
    ] {
        let task_id = owed(ledger, &agent, 1).await[0];
        // Those of the rounds before that are still pending are due again, too.
        let claims = claim_due(ledger, 10, Timestamp::now()).await;
        let claim = claims.into_iter().find(|claim| claim.task_id == task_id);
        let settled = [(claim.unwrap(), outcome)];
        ledger.settle_callbacks(&settled, now).await.unwrap();
        let callback = ledger.callback(task_id).await.unwrap().unwrap();
        assert_eq!((callback.status, callback.attempts), (status, 1));
        assert_eq!(callback.last_error.as_deref(), error);
        assert_eq!(callback.next_attempt_at, next);
        assert_eq!(callback.ended_at.is_some(), next.is_none());
    }
}

async fn receivers_are_found_in_turn_however_many_callbacks_wait(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 100).await;
    let mut tasks = Vec::new();
    for n in [3, 1, 2, 2, 3, 3] {
        let url = format!("http://host-{n}.example/{}", tasks.len());
        tasks.push(calling_back(&agent, json!({"callback_url": url})));
    }
    for started in run(ledger, WorkerId::generate(), tasks).await {
        finish(ledger, &started, completed()).await;
    }
    let name = |n| format!("host-{n}.example:80");
    let names = |found: &[WaitingTarget]| -> Vec<String> {
        found.iter().map(|waiting| waiting.target.clone()).collect()
    };
    let all = ledger.waiting_targets("", 10).await.unwrap();
    assert_eq!(names(&all), [name(1), name(2), name(3)]);
    assert!(all.iter().all(|waiting| waiting.due_at <= Timestamp::now()));
    let first = ledger.waiting_targets("", 2).await.unwrap();
    assert_eq!(names(&first), [name(1), name(2)]);
    let rest = ledger.waiting_targets(&name(2), 2).await.unwrap();
    assert_eq!(names(&rest), [name(3)]);

    let now = Timestamp::now();
    let claims = ledger
        .claim_callbacks(WorkerId::generate(), &name(2), 10, now, LEASE)
        .await
        .unwrap();
    let settled: Vec<_> = claims
        .into_iter()
        .map(|claim| (claim, CallbackOutcome::Delivered))
        .collect();
    assert_eq!(settled.len(), 2);
    ledger.settle_callbacks(&settled, now).await.unwrap();
    let left = ledger.waiting_targets("", 10).await.unwrap();
    assert_eq!(names(&left), [name(1), name(3)]);
}

async fn a_retry_by_hand_forgets_the_old_outcomes_callback(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 100).await;
    let worker = WorkerId::generate();
    let more = json!({"max_attempts": 1});
    let started = run(ledger, worker, vec![calling_back(&agent, more)]).await;
    let task_id = started[0].claim.task_id;
    let error = TaskError::new(ErrorCode::AgentFailed, "no");
    finish(ledger, &started[0], Outcome::Failed { error }).await;
    let old = claim_due(ledger, 1, Timestamp::now()).await;
    ledger.retry(task_id, 3, Timestamp::now()).await.unwrap();
    assert_eq!(ledger.callback(task_id).await.unwrap(), None);

    let now = Timestamp::now();
    let again = claim(ledger, worker, &agent, now).await;
    finish(ledger, &again[0], completed()).await;
    // The attempt at the old one comes back only now.
    let gone = [(old[0].clone(), CallbackOutcome::Gone("status 410".into()))];
    ledger.settle_callbacks(&gone, now).await.unwrap();
    let callback = ledger.callback(task_id).await.unwrap().unwrap();
    assert_eq!(
        (callback.status, callback.attempts),
        (CallbackStatus::Pending, 0)
    );
    assert_eq!(claim_due(ledger, 1, Timestamp::now()).await.len(), 1);
}
