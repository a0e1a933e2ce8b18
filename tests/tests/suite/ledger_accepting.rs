//! Taking tasks into the ledger and starting them in their order, on SQLite and on PostgreSQL.

use std::time::Duration;

use orchestrator_common::domain::{ErrorCode, TaskStatus, Timestamp, WorkerId};
use orchestrator_common::ledger::{Dispatch, Ingested};
use orchestrator_tests::ledger::{TestLedger, agent_id, default_options, task};
use orchestrator_tests::ledger_steps::{active_agent, bring, completed, end};
use orchestrator_tests::on_both_databases;
use serde_json::json;

on_both_databases!(default_options();
    a_task_starts_at_once_where_a_slot_is_free_and_waits_where_none_is,
    the_most_urgent_waiting_task_starts_first,
    accepting_a_task_twice_changes_nothing,
    the_same_identifier_asked_for_differently_is_a_conflict,
    a_delayed_task_waits_for_its_time,
    a_task_that_was_not_started_in_time_is_given_up,
    a_full_worker_leaves_tasks_waiting_and_says_which_agents_are_hungry,
    a_payload_with_any_character_comes_back_as_it_was,
);

async fn a_task_starts_at_once_where_a_slot_is_free_and_waits_where_none_is(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 2).await;
    let worker = WorkerId::generate();
    let tasks: Vec<_> = (0..3)
        .map(|_| task(&agent, json!({}), Timestamp::now()))
        .collect();
    let last = tasks[2].task_id;
    let dispatched = bring(ledger, worker, tasks).await;
    assert_eq!(dispatched.started.len(), 2);
    assert_eq!(
        dispatched.arrivals[2].outcome,
        Ingested::New {
            status: TaskStatus::Queued,
            waiting: 0
        }
    );
    let record = ledger.agent(&agent).await.unwrap().unwrap();
    assert_eq!(
        (record.running, record.queued, record.instances[0].running),
        (2, 1, 2)
    );

    let next = end(
        ledger,
        &dispatched.started[0].claim,
        completed(),
        Timestamp::now(),
    )
    .await;
    assert_eq!(
        next.started[0].claim.task_id, last,
        "the freed slot is used in the same transaction"
    );
    let record = ledger.agent(&agent).await.unwrap().unwrap();
    assert_eq!(
        (
            record.running,
            record.queued,
            record.totals.completed,
            record.totals.sessions
        ),
        (2, 0, 1, 1)
    );
    let done = ledger
        .task(dispatched.started[0].claim.task_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((done.status, done.attempt), (TaskStatus::Completed, 1));
    assert_eq!(done.result.unwrap().get(), r#"{"decision":"approve"}"#);
}

async fn the_most_urgent_waiting_task_starts_first(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 1).await;
    let worker = WorkerId::generate();
    let start = Timestamp::now();
    let mut running = bring(ledger, worker, vec![task(&agent, json!({}), start)])
        .await
        .started;
    for (millis, priority) in [(1, 3), (2, 10), (3, 3), (4, 7)] {
        let at = start.plus(Duration::from_millis(millis));
        bring(
            ledger,
            worker,
            vec![task(
                &agent,
                json!({"priority": priority, "metadata": {"n": millis}}),
                at,
            )],
        )
        .await;
    }
    let mut order = Vec::new();
    while let Some(started) = running.pop() {
        order.push(started.task.metadata.map(|notes| notes.get().to_owned()));
        running = end(ledger, &started.claim, completed(), Timestamp::now())
            .await
            .started;
    }
    let expected: Vec<_> = [2, 4, 1, 3]
        .into_iter()
        .map(|n| Some(format!("{{\"n\":{n}}}")))
        .collect();
    assert_eq!(order[1..], expected);
}

async fn accepting_a_task_twice_changes_nothing(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let worker = WorkerId::generate();
    let twice = task(&agent, json!({}), Timestamp::now());
    let first = bring(ledger, worker, vec![twice.clone(), twice.clone()]).await;
    assert_eq!(first.started.len(), 1);
    assert_eq!(
        first.arrivals[1].outcome,
        Ingested::Repeated {
            status: TaskStatus::Running
        }
    );
    let second = bring(ledger, WorkerId::generate(), vec![twice.clone()]).await;
    assert!(second.started.is_empty());
    assert_eq!(
        second.arrivals[0].outcome,
        Ingested::Repeated {
            status: TaskStatus::Running
        }
    );
    end(
        ledger,
        &first.started[0].claim,
        completed(),
        Timestamp::now(),
    )
    .await;
    let third = bring(ledger, worker, vec![twice]).await;
    assert_eq!(
        third.arrivals[0].outcome,
        Ingested::Repeated {
            status: TaskStatus::Completed
        }
    );
    let record = ledger.agent(&agent).await.unwrap().unwrap();
    assert_eq!(
        (record.running, record.queued, record.instances[0].running),
        (0, 0, 0)
    );
}

async fn the_same_identifier_asked_for_differently_is_a_conflict(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let mut first = task(&agent, json!({}), Timestamp::now());
    first.fingerprint = Some([1; 32]);
    let mut other = first.clone();
    other.fingerprint = Some([2; 32]);
    ledger
        .ingest(vec![first.clone()], Timestamp::now())
        .await
        .unwrap();
    let outcomes = ledger
        .ingest(vec![other, first], Timestamp::now())
        .await
        .unwrap();
    assert_eq!(outcomes[0].outcome, Ingested::Conflict);
    assert_eq!(
        outcomes[1].outcome,
        Ingested::Repeated {
            status: TaskStatus::Queued
        }
    );
    let stranger = ledger
        .ingest(
            vec![task(&agent_id("nobody"), json!({}), Timestamp::now())],
            Timestamp::now(),
        )
        .await;
    assert_eq!(stranger.unwrap()[0].outcome, Ingested::UnknownAgent);
}

async fn a_delayed_task_waits_for_its_time(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let now = Timestamp::now();
    let dispatched = bring(
        ledger,
        WorkerId::generate(),
        vec![task(&agent, json!({"delay_seconds": 60}), now)],
    )
    .await;
    assert!(dispatched.started.is_empty());
    assert_eq!(
        dispatched.arrivals[0].outcome,
        Ingested::New {
            status: TaskStatus::Scheduled,
            waiting: 0
        }
    );
    assert!(
        ledger
            .promote_due(now.plus(Duration::from_secs(59)))
            .await
            .unwrap()
            .agents
            .is_empty()
    );
    assert_eq!(
        ledger
            .promote_due(now.plus(Duration::from_secs(60)))
            .await
            .unwrap()
            .agents,
        std::slice::from_ref(&agent)
    );
    assert_eq!(ledger.runnable_agents(10).await.unwrap(), [agent]);
}

async fn a_task_that_was_not_started_in_time_is_given_up(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 1).await;
    let now = Timestamp::now();
    let tasks: Vec<_> = (0..2)
        .map(|_| task(&agent, json!({"expires_in_seconds": 5}), now))
        .collect();
    let waiting = tasks[1].task_id;
    bring(ledger, WorkerId::generate(), tasks).await;
    assert!(ledger.expire(now).await.unwrap().is_empty());
    let later = now.plus(Duration::from_secs(5));
    assert_eq!(
        ledger.expire(later).await.unwrap(),
        [waiting],
        "what runs has been started in time"
    );
    assert!(ledger.expire(later).await.unwrap().is_empty());
    let record = ledger.task(waiting).await.unwrap().unwrap();
    assert_eq!(
        (record.status, record.error.unwrap().code),
        (TaskStatus::Failed, ErrorCode::Expired)
    );
    assert_eq!(ledger.agent(&agent).await.unwrap().unwrap().queued, 0);
}

async fn a_full_worker_leaves_tasks_waiting_and_says_which_agents_are_hungry(test: &TestLedger) {
    let ledger = &test.ledger;
    let hot = active_agent(ledger, "hot", 100).await;
    let quiet = active_agent(ledger, "quiet", 100).await;
    let worker = WorkerId::generate();
    let now = Timestamp::now();
    let mut arrivals: Vec<_> = (0..20).map(|_| task(&hot, json!({}), now)).collect();
    arrivals.push(task(&quiet, json!({}), now));
    let dispatch = Dispatch {
        arrivals,
        room: 5,
        ..Dispatch::default()
    };
    let dispatched = ledger.dispatch(worker, dispatch, now).await.unwrap();
    let quiet_started = dispatched
        .started
        .iter()
        .filter(|task| task.claim.agent_id == quiet)
        .count();
    assert_eq!(
        (dispatched.started.len(), quiet_started),
        (5, 1),
        "a hot agent does not delay a quiet one"
    );
    assert_eq!(dispatched.hungry, [hot]);
}

async fn a_payload_with_any_character_comes_back_as_it_was(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let data =
        json!({"nul": "a\u{0}b", "quote": "'\"\\", "emoji": "🦀", "nested": {"x": [1, 2.5, null]}});
    let odd = task(
        &agent,
        json!({"task_data": data, "metadata": {"k": "\u{0}"}}),
        Timestamp::now(),
    );
    let id = odd.task_id;
    bring(
        ledger,
        WorkerId::generate(),
        vec![task(&agent, json!({}), Timestamp::now()), odd],
    )
    .await;
    let record = ledger.task(id).await.unwrap().unwrap();
    let read: serde_json::Value = serde_json::from_str(record.task.task_data.get()).unwrap();
    assert_eq!(read, data);
}
