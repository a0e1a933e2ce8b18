//! What ended long ago is deleted, a batch at a time, and nothing else is.

use std::collections::BTreeMap;
use std::time::Duration;

use orchestrator_common::brain_factory::BrainFactoryClient;
use orchestrator_common::config::{BrainFactorySettings, Settings};
use orchestrator_common::domain::{
    AuditEntry, AuditOutcome, CallbackOutcome, DeadLetter, Expiring, NewTask, Origin, TaskId,
    Timestamp, WorkerId,
};
use orchestrator_common::ledger::{AuditQuery, Deleted, Ended, Ledger, LetterQuery};
use orchestrator_common::metrics::Metrics;
use orchestrator_tests::ledger::{TestLedger, default_options, task};
use orchestrator_tests::ledger_steps::{active_agent, bring, completed, end, retryable};
use orchestrator_tests::{eventually, on_both_databases};
use orchestrator_worker::{Outward, Worker, WorkerContext};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(86_400);
const TARGET: &str = "receiver.example:443";

on_both_databases!(default_options();
    only_tasks_that_ended_before_the_time_and_owe_nothing_are_deleted,
    attempts_callbacks_and_dead_letters_are_deleted_by_when_they_ended,
    entries_of_the_audit_log_are_deleted_by_age_and_kept_until_they_are_forwarded,
    batches_pass_by_what_stays_and_come_to_an_end,
    a_lease_is_one_holders_until_it_ends_or_is_given_up,
    a_worker_deletes_what_ended_long_ago,
);

/// Deletes all of `what` that ended before `before`, `limit` rows at a time; returns how many.
async fn delete(ledger: &Ledger, what: Expiring, before: Timestamp, limit: u32) -> u64 {
    let ended = Ended {
        what,
        before,
        keep_unforwarded: false,
    };
    let mut walked = None;
    let mut number = 0;
    for _ in 0..1_000 {
        let batch = ledger.delete_ended(ended, walked, limit).await.unwrap();
        number += batch.number;
        walked = batch.next;
        if walked.is_none() {
            return number;
        }
    }
    panic!("the walk does not end");
}

async fn exists(ledger: &Ledger, id: TaskId) -> bool {
    ledger.task(id).await.unwrap().is_some()
}

fn calling_back(more: Value) -> Value {
    let mut fields = json!({"callback_url": "https://receiver.example/hook"});
    for (name, value) in more.as_object().unwrap() {
        fields[name] = value.clone();
    }
    fields
}

/// Runs tasks to their ends at `at`.
async fn ended(ledger: &Ledger, tasks: Vec<NewTask>, at: Timestamp) -> Vec<TaskId> {
    let started = bring(ledger, WorkerId::generate(), tasks).await.started;
    for started in &started {
        end(ledger, &started.claim, completed(), at).await;
    }
    started.iter().map(|task| task.claim.task_id).collect()
}

async fn only_tasks_that_ended_before_the_time_and_owe_nothing_are_deleted(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let now = Timestamp::now();
    let long_ago = now.minus(DAY * 10);
    let new = |more| task(&agent, more, long_ago);

    let old = ended(ledger, vec![new(json!({}))], long_ago.plus(DAY)).await;
    let young = ended(ledger, vec![new(json!({}))], now).await;
    let owing = ended(ledger, vec![new(calling_back(json!({})))], long_ago).await;
    let told = ended(ledger, vec![new(calling_back(json!({})))], long_ago).await;
    let claims = ledger
        .claim_callbacks(WorkerId::generate(), TARGET, 10, now, DAY)
        .await
        .unwrap();
    let told_of = claims.into_iter().filter(|claim| claim.task_id == told[0]);
    let told_of: Vec<_> = told_of
        .map(|claim| (claim, CallbackOutcome::Delivered))
        .collect();
    ledger.settle_callbacks(&told_of, long_ago).await.unwrap();
    let running = bring(ledger, WorkerId::generate(), vec![new(json!({}))]).await;
    let retrying = bring(ledger, WorkerId::generate(), vec![new(json!({}))]).await;
    end(ledger, &retrying.started[0].claim, retryable(), long_ago).await;
    let waiting = new(json!({"run_at": "2999-01-01T00:00:00Z"}));
    ledger
        .ingest(vec![waiting.clone()], long_ago)
        .await
        .unwrap();

    let before = now.minus(DAY);
    assert_eq!(delete(ledger, Expiring::Tasks, before, 100).await, 2);
    for gone in [old[0], told[0]] {
        assert!(!exists(ledger, gone).await);
    }
    let kept = [
        young[0],
        owing[0],
        running.started[0].claim.task_id,
        retrying.started[0].claim.task_id,
        waiting.task_id,
    ];
    for kept in kept {
        assert!(exists(ledger, kept).await);
    }
    assert_eq!(delete(ledger, Expiring::Tasks, before, 100).await, 0);
}

async fn attempts_callbacks_and_dead_letters_are_deleted_by_when_they_ended(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let now = Timestamp::now();
    let long_ago = now.minus(DAY * 10);
    let new = |at| task(&agent, calling_back(json!({})), at);
    ended(ledger, vec![new(long_ago)], long_ago).await;
    ended(ledger, vec![new(now)], now).await;
    let before = now.minus(DAY);
    assert_eq!(delete(ledger, Expiring::Sessions, before, 100).await, 1);

    // What is owed stays, however old it is.
    assert_eq!(delete(ledger, Expiring::Callbacks, before, 100).await, 0);
    let claims = ledger
        .claim_callbacks(WorkerId::generate(), TARGET, 10, now, DAY)
        .await
        .unwrap();
    assert_eq!(claims.len(), 2);
    let again = CallbackOutcome::Again("no".to_owned(), now);
    let outcomes = [CallbackOutcome::Delivered, again];
    let settled: Vec<_> = claims.into_iter().zip(outcomes).collect();
    ledger.settle_callbacks(&settled, long_ago).await.unwrap();
    assert_eq!(delete(ledger, Expiring::Callbacks, before, 100).await, 1);

    let letters = [long_ago, now].map(letter);
    ledger.keep_dead_letters(&letters).await.unwrap();
    assert_eq!(delete(ledger, Expiring::DeadLetters, before, 100).await, 1);
    let query = LetterQuery {
        limit: 10,
        ..LetterQuery::default()
    };
    let left = ledger.dead_letters(&query).await.unwrap();
    assert_eq!(left[0].letter_id, letters[1].letter_id);
}

fn letter(received_at: Timestamp) -> DeadLetter {
    DeadLetter {
        letter_id: Uuid::new_v4().into(),
        received_at,
        reason: "not_json".to_owned(),
        problem: None,
        routing_key: "task.execute".to_owned(),
        message_id: None,
        correlation_id: None,
        reply_to: None,
        content_type: None,
        headers: BTreeMap::new(),
        body: Vec::new(),
        size: 0,
        times: 1,
        replayed_at: None,
        refused_by: None,
        replayed_by: None,
    }
}

/// Writes an entry of the audit log at each of these times.
async fn write(ledger: &Ledger, times: &[Timestamp]) {
    let entry = |at: &Timestamp| AuditEntry {
        at: *at,
        origin: Origin::new("alice", None),
        action: "x".to_owned(),
        resource: "y".to_owned(),
        outcome: AuditOutcome::Done,
        detail: None,
    };
    let entries: Vec<_> = times.iter().map(entry).collect();
    ledger.note_refusals(&entries).await.unwrap();
}

async fn entries_of_the_audit_log_are_deleted_by_age_and_kept_until_they_are_forwarded(
    test: &TestLedger,
) {
    let ledger = &test.ledger;
    let now = Timestamp::now();
    let long_ago = now.minus(DAY * 10);
    let before = now.minus(DAY);
    write(ledger, &[long_ago, long_ago, long_ago, now, long_ago, now]).await;
    let unforwarded = Ended {
        what: Expiring::Audit,
        before,
        keep_unforwarded: true,
    };
    let nothing = ledger.delete_ended(unforwarded, None, 100).await.unwrap();
    let none = Deleted {
        number: 0,
        next: None,
    };
    assert_eq!(nothing, none);
    ledger.note_forwarded(2).await.unwrap();
    ledger.note_forwarded(1).await.unwrap();
    let two = ledger.delete_ended(unforwarded, None, 100).await.unwrap();
    assert_eq!(two.number, 2);
    assert_eq!(delete(ledger, Expiring::Audit, before, 2).await, 2);
    let query = AuditQuery {
        limit: 10,
        ..AuditQuery::default()
    };
    let left = ledger.audit_page(&query).await.unwrap().entries;
    assert!(left.iter().all(|(_, entry)| entry.at > before), "{left:?}");
    assert_eq!(left.len(), 2);
}

async fn batches_pass_by_what_stays_and_come_to_an_end(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 100).await;
    let long_ago = Timestamp::now().minus(DAY * 10);
    let mut all = Vec::new();
    for n in 0..20u64 {
        let at = long_ago.plus(Duration::from_secs(n / 4));
        let more = if n % 3 == 0 {
            json!({"run_at": "2999-01-01T00:00:00Z"})
        } else {
            json!({})
        };
        all.push(task(&agent, more, at));
    }
    ended(ledger, all, long_ago.plus(DAY)).await;
    let before = Timestamp::now().minus(DAY);
    assert_eq!(delete(ledger, Expiring::Tasks, before, 3).await, 13);
    assert_eq!(delete(ledger, Expiring::Sessions, before, 4).await, 13);
}

async fn a_lease_is_one_holders_until_it_ends_or_is_given_up(test: &TestLedger) {
    let ledger = &test.ledger;
    let (a, b, now) = (WorkerId::generate(), WorkerId::generate(), Timestamp::now());
    let later = now.plus(Duration::from_secs(30));
    let minute = Duration::from_secs(60);
    assert!(ledger.lease("x", a, minute, now).await.unwrap());
    assert!(!ledger.lease("x", b, minute, later).await.unwrap());
    assert!(ledger.lease("y", b, minute, now).await.unwrap());
    assert!(ledger.lease("x", a, minute, later).await.unwrap());
    assert!(
        !ledger
            .lease("x", b, minute, now.plus(minute))
            .await
            .unwrap()
    );
    assert!(
        ledger
            .lease("x", b, minute, later.plus(minute))
            .await
            .unwrap()
    );
    ledger.release("x", a).await.unwrap();
    assert!(!ledger.lease("x", a, minute, later).await.unwrap());
    ledger.release("x", b).await.unwrap();
    assert!(ledger.lease("x", a, minute, later).await.unwrap());
}

async fn a_worker_deletes_what_ended_long_ago(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let (now, long_ago) = (Timestamp::now(), Timestamp::now().minus(DAY * 10));
    let new = |at| task(&agent, json!({}), at);
    let old = ended(ledger, vec![new(long_ago)], long_ago).await[0];
    let young = ended(ledger, vec![new(now)], now).await[0];

    let variables = [
        ("TASK_RETENTION_DAYS", "9"),
        ("SESSION_RETENTION_DAYS", "0"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = Settings::from_variables(BTreeMap::from(variables)).unwrap();
    let brain = BrainFactorySettings {
        url: "http://127.0.0.1:1".parse().unwrap(),
        configured: true,
        generate_timeout: Duration::from_secs(10),
        simulation: false,
    };
    let metrics = std::sync::Arc::new(Metrics::new(true).unwrap());
    let stop = CancellationToken::new();
    let worker = Worker::new(WorkerContext {
        worker_id: WorkerId::generate(),
        host: "test".to_owned(),
        ledger: ledger.clone(),
        brain: BrainFactoryClient::new(&brain).unwrap(),
        pipeline: None,
        callbacks: None,
        audit_service: None,
        retention: settings.retention,
        metrics: metrics.clone(),
        capacity: 10,
        generate_timeout: brain.generate_timeout,
        probe_interval: Duration::from_secs(30),
        silence: Duration::from_secs(15),
        shutdown_grace: Duration::ZERO,
        outward: Outward::default(),
    });
    let working = tokio::spawn(worker.run_until_stopped(stop.clone()));
    eventually("the old task is deleted", async || {
        !exists(ledger, old).await
    })
    .await;
    assert!(exists(ledger, young).await);
    let counted = "agent_orchestrator_retention_deleted_total{kind=\"tasks\"} 1";
    eventually("it is counted", async || metrics.render().contains(counted)).await;
    let sql = "SELECT COUNT(*) FROM sessions";
    let statement =
        sea_orm::Statement::from_string(ledger.connection().get_database_backend(), sql);
    let sessions = ledger.connection().query_one_raw(statement).await.unwrap();
    let sessions: i64 = sessions.unwrap().try_get_by_index(0).unwrap();
    assert_eq!(sessions, 2, "those are kept for ever");
    stop.cancel();
    working.await.unwrap().unwrap();
}
