//! The ledger's operations, on SQLite and on PostgreSQL: what each leaves behind, also when it is done twice.

use std::time::Duration;

use orchestrator_common::domain::{
    AgentId, AgentStatus, Claim, Completion, DesiredState, ErrorCode, Outcome, Registration,
    TaskError, TaskStatus, Timestamp, Usage, WorkerId,
};
use orchestrator_common::ledger::{
    AgentQuery, Cancelled, Dispatch, Dispatched, Ingested, Ledger, Started, WorkerRecord,
};
use orchestrator_tests::ledger::{TestLedger, agent_id, default_options, task};
use orchestrator_tests::on_both_databases;
use serde_json::json;

on_both_databases!(default_options();
    a_task_starts_at_once_where_a_slot_is_free_and_waits_where_none_is,
    the_most_urgent_waiting_task_starts_first,
    accepting_a_task_twice_changes_nothing,
    the_same_identifier_asked_for_differently_is_a_conflict,
    only_the_current_claim_records_an_outcome,
    a_failed_attempt_is_retried_when_it_is_due,
    a_delayed_task_waits_for_its_time,
    a_task_that_was_not_started_in_time_is_given_up,
    a_lost_workers_tasks_run_again_and_its_late_answers_are_refused,
    a_waiting_task_is_cancelled_at_once_and_a_running_one_when_it_ends,
    a_task_that_was_started_unheard_is_handed_back,
    a_handed_back_task_runs_elsewhere_at_once_and_costs_no_attempt,
    a_full_worker_leaves_tasks_waiting_and_says_which_agents_are_hungry,
    a_stopped_agent_starts_nothing_and_keeps_its_tasks,
    the_first_task_of_an_agent_starts_it,
    registering_again_keeps_what_is_not_named_and_the_richer_config,
    an_unregistered_agent_is_gone_when_its_tasks_are,
    a_forgotten_instance_takes_no_task_until_it_is_made_again,
    agents_are_listed_in_pages,
    a_payload_with_any_character_comes_back_as_it_was,
);

/// An agent that takes tasks, with a limit of concurrent sessions.
async fn active_agent(ledger: &Ledger, name: &str, limit: u32) -> AgentId {
    let now = Timestamp::now();
    let body = json!({"agent_id": name, "max_concurrent_sessions": limit});
    ledger
        .register(&Registration::parse(body).unwrap(), now)
        .await
        .unwrap();
    let id = agent_id(name);
    ledger
        .set_desired(&id, DesiredState::Running, now)
        .await
        .unwrap();
    activate(ledger, &id).await;
    id
}

async fn activate(ledger: &Ledger, id: &AgentId) {
    let now = Timestamp::now();
    let lease = ledger
        .lease_agent(id, WorkerId::generate(), Duration::from_secs(60), now)
        .await
        .unwrap()
        .unwrap();
    ledger
        .activate(&lease, "http://127.0.0.1:1/agents/x", now)
        .await
        .unwrap();
    ledger.end_lease(&lease, 0, None).await.unwrap();
}

/// Brings tasks to a worker that has room for any number of them.
async fn bring(
    ledger: &Ledger,
    worker: WorkerId,
    tasks: Vec<orchestrator_common::domain::NewTask>,
) -> Dispatched {
    let dispatch = Dispatch {
        arrivals: tasks,
        room: 1_000,
        ..Dispatch::default()
    };
    ledger
        .dispatch(worker, dispatch, Timestamp::now())
        .await
        .unwrap()
}

async fn end(ledger: &Ledger, claim: &Claim, outcome: Outcome, at: Timestamp) -> Dispatched {
    let completion = Completion {
        claim: claim.clone(),
        outcome,
        usage: Usage::default(),
    };
    let dispatch = Dispatch {
        completions: vec![completion],
        room: 1_000,
        ..Dispatch::default()
    };
    ledger
        .dispatch(claim.worker_id, dispatch, at)
        .await
        .unwrap()
}

fn completed() -> Outcome {
    let result = serde_json::value::to_raw_value(&json!({"decision": "approve"})).unwrap();
    Outcome::Completed {
        result: result.into(),
    }
}

fn retryable() -> Outcome {
    Outcome::Retryable {
        error: TaskError::new(ErrorCode::AgentUnreachable, "no answer"),
        retry_after: None,
    }
}

async fn status(ledger: &Ledger, started: &Started) -> TaskStatus {
    ledger
        .task(started.claim.task_id)
        .await
        .unwrap()
        .unwrap()
        .status
}

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
    let dispatch = Dispatch {
        claims: promoted.agents,
        room: 10,
        ..Dispatch::default()
    };
    started = ledger
        .dispatch(worker, dispatch, now)
        .await
        .unwrap()
        .started;
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

    let dispatch = Dispatch {
        claims: vec![agent.clone()],
        room: 10,
        ..Dispatch::default()
    };
    let again = ledger.dispatch(other, dispatch, now).await.unwrap().started;
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
        ledger
            .cancel(orchestrator_common::domain::TaskId::generate(), now)
            .await
            .unwrap(),
        Cancelled::Unknown
    );
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

async fn a_stopped_agent_starts_nothing_and_keeps_its_tasks(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let now = Timestamp::now();
    let worker = WorkerId::generate();
    let running = bring(ledger, worker, vec![task(&agent, json!({}), now)])
        .await
        .started;
    ledger
        .set_desired(&agent, DesiredState::Stopped, now)
        .await
        .unwrap();
    let lease = ledger
        .lease_agent(&agent, worker, Duration::from_secs(60), now)
        .await
        .unwrap()
        .unwrap();
    assert!(
        !ledger.deactivate(&lease, now).await.unwrap(),
        "something still runs"
    );
    ledger.end_lease(&lease, 0, None).await.unwrap();
    let dispatched = bring(ledger, worker, vec![task(&agent, json!({}), now)]).await;
    assert!(dispatched.started.is_empty());

    let ended = end(ledger, &running[0].claim, completed(), now).await;
    assert!(ended.started.is_empty());
    assert_eq!(ended.to_reconcile, std::slice::from_ref(&agent));
    let lease = ledger
        .lease_agent(&agent, worker, Duration::from_secs(60), now)
        .await
        .unwrap()
        .unwrap();
    assert!(ledger.deactivate(&lease, now).await.unwrap());
    ledger.end_lease(&lease, 0, None).await.unwrap();
    let record = ledger.agent(&agent).await.unwrap().unwrap();
    assert_eq!(
        (record.status, record.queued, record.instances.len()),
        (AgentStatus::Stopped, 1, 0)
    );

    ledger
        .set_desired(&agent, DesiredState::Running, now)
        .await
        .unwrap();
    activate(ledger, &agent).await;
    let dispatch = Dispatch {
        claims: vec![agent],
        room: 10,
        ..Dispatch::default()
    };
    assert_eq!(
        ledger
            .dispatch(worker, dispatch, now)
            .await
            .unwrap()
            .started
            .len(),
        1
    );
}

async fn the_first_task_of_an_agent_starts_it(test: &TestLedger) {
    let ledger = &test.ledger;
    let now = Timestamp::now();
    let agent = agent_id("a");
    ledger
        .register(&Registration::parse(json!({"agent_id": "a"})).unwrap(), now)
        .await
        .unwrap();
    assert!(
        ledger
            .agents_to_reconcile(now, 10)
            .await
            .unwrap()
            .is_empty()
    );
    let dispatched = bring(
        ledger,
        WorkerId::generate(),
        vec![task(&agent, json!({}), now)],
    )
    .await;
    assert_eq!(dispatched.to_reconcile, std::slice::from_ref(&agent));
    let later = Timestamp::now();
    assert_eq!(
        ledger.agents_to_reconcile(later, 10).await.unwrap(),
        std::slice::from_ref(&agent)
    );
    let lease = ledger
        .lease_agent(&agent, WorkerId::generate(), Duration::from_secs(60), later)
        .await
        .unwrap();
    assert_eq!(lease.unwrap().agent.desired, DesiredState::Running);
    let second = ledger
        .lease_agent(&agent, WorkerId::generate(), Duration::from_secs(60), later)
        .await
        .unwrap();
    assert!(second.is_none(), "one reconciler at a time");
}

async fn registering_again_keeps_what_is_not_named_and_the_richer_config(test: &TestLedger) {
    let ledger = &test.ledger;
    let register = async |body| {
        ledger
            .register(&Registration::parse(body).unwrap(), Timestamp::now())
            .await
            .unwrap()
    };
    register(json!({"agent_id": "a", "agent_name": "Underwriting", "domain": "underwriting", "environment": "staging",
        "brain_config": {"persona": {"role": "Analyst"}, "reasoningPattern": "react"}, "max_concurrent_sessions": 4}))
    .await;
    let record =
        register(json!({"agent_id": "a", "agent_name": "Other", "replicas": 2, "brain_config": {"memory_config": {"a": 1}}}))
            .await;
    assert_eq!(
        (record.agent_name.as_deref(), record.domain.as_deref()),
        (Some("Other"), Some("underwriting"))
    );
    assert_eq!(
        (record.max_concurrent_sessions, record.status),
        (Some(4), AgentStatus::Registered)
    );
    assert_eq!(record.brain_config.unwrap()["persona"]["role"], "Analyst");
    assert_eq!(
        record.extra,
        *json!({"environment": "staging", "replicas": 2})
            .as_object()
            .unwrap()
    );
}

async fn an_unregistered_agent_is_gone_when_its_tasks_are(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 1).await;
    let now = Timestamp::now();
    let worker = WorkerId::generate();
    let tasks: Vec<_> = (0..2).map(|_| task(&agent, json!({}), now)).collect();
    let waiting = tasks[1].task_id;
    let running = bring(ledger, worker, tasks).await.started;
    ledger
        .set_desired(&agent, DesiredState::Removed, now)
        .await
        .unwrap();
    assert!(ledger.agent(&agent).await.unwrap().is_none());
    assert!(
        ledger
            .set_desired(&agent, DesiredState::Running, now)
            .await
            .unwrap()
            .is_none()
    );
    let refused = ledger
        .ingest(vec![task(&agent, json!({}), now)], now)
        .await
        .unwrap();
    assert_eq!(refused[0].outcome, Ingested::UnknownAgent);

    let lease = ledger
        .lease_agent(&agent, worker, Duration::from_secs(60), now)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ledger.cancel_waiting(&agent, now).await.unwrap(), [waiting]);
    assert!(!ledger.deactivate(&lease, now).await.unwrap());
    end(ledger, &running[0].claim, completed(), now).await;
    assert!(ledger.deactivate(&lease, now).await.unwrap());
    let again = ledger
        .register(&Registration::parse(json!({"agent_id": "a"})).unwrap(), now)
        .await
        .unwrap();
    assert_eq!(
        (again.totals.sessions, again.status),
        (0, AgentStatus::Registered)
    );
    assert_eq!(
        ledger
            .task(waiting)
            .await
            .unwrap()
            .unwrap()
            .error
            .unwrap()
            .code,
        ErrorCode::AgentUnregistered
    );
}

async fn a_forgotten_instance_takes_no_task_until_it_is_made_again(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let instance = ledger.agent(&agent).await.unwrap().unwrap().instances[0].instance_id;
    let worker = WorkerId::generate();
    ledger
        .lose_instance(&agent, instance, Timestamp::now())
        .await
        .unwrap();
    let dispatched = bring(
        ledger,
        worker,
        vec![task(&agent, json!({}), Timestamp::now())],
    )
    .await;
    assert!(dispatched.started.is_empty());
    activate(ledger, &agent).await;
    let record = ledger.agent(&agent).await.unwrap().unwrap();
    assert_eq!(
        (record.instances.len(), record.instances[0].instance_id),
        (1, instance)
    );
    let dispatch = Dispatch {
        claims: vec![agent],
        room: 10,
        ..Dispatch::default()
    };
    assert_eq!(
        ledger
            .dispatch(worker, dispatch, Timestamp::now())
            .await
            .unwrap()
            .started
            .len(),
        1
    );
}

async fn agents_are_listed_in_pages(test: &TestLedger) {
    let ledger = &test.ledger;
    for name in ["c", "a", "b"] {
        let body = json!({"agent_id": name, "domain": if name == "b" { "y" } else { "x" }});
        ledger
            .register(&Registration::parse(body).unwrap(), Timestamp::now())
            .await
            .unwrap();
    }
    let list = async |query: AgentQuery| {
        let agents = ledger.agents(&query).await.unwrap();
        agents
            .into_iter()
            .map(|agent| agent.agent_id.to_string())
            .collect::<Vec<_>>()
    };
    let first = AgentQuery {
        limit: 2,
        ..AgentQuery::default()
    };
    assert_eq!(list(first.clone()).await, ["a", "b"]);
    assert_eq!(
        list(AgentQuery {
            after: Some(agent_id("b")),
            ..first.clone()
        })
        .await,
        ["c"]
    );
    assert_eq!(
        list(AgentQuery {
            domain: Some("x".into()),
            ..first.clone()
        })
        .await,
        ["a", "c"]
    );
    assert!(
        list(AgentQuery {
            status: Some(AgentStatus::Active),
            ..first
        })
        .await
        .is_empty()
    );
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
