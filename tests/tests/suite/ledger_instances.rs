//! Agents with several instances in the ledger, on SQLite and on PostgreSQL: shares, drains, losses, circuits, probes.

use std::collections::BTreeMap;
use std::time::Duration;

use orchestrator_common::domain::{
    AgentId, AgentRecord, CircuitState, InstanceId, InstanceState, Outcome, Registration, Scaling,
    Snooze, Timestamp, Wish, WorkerId,
};
use orchestrator_common::ledger::{Found, Ledger, ProbeChange, Scaled, Started};
use orchestrator_tests::ledger::{TestLedger, agent_id, default_options, task};
use orchestrator_tests::ledger_steps::{
    activate, active_agent, bring, claim, completed, end, retryable,
};
use orchestrator_tests::on_both_databases;
use serde_json::{Value, json};

on_both_databases!(default_options();
    tasks_are_shared_out_among_instances_within_the_limit_of_the_agent,
    an_instance_too_many_finishes_what_it_runs_and_goes,
    one_of_three_that_is_lost_is_made_again_alone,
    what_the_brain_factory_registers_of_an_instance_becomes_no_agent,
    instances_that_are_registered_anew_come_and_go,
    registered_instances_are_not_scaled,
    round_robin_and_weights_hold_across_dispatches,
    a_session_stays_with_its_instance_while_that_is_well,
    a_task_that_failed_goes_to_another_instance,
    what_may_still_run_somewhere_is_said_when_it_starts_again,
    an_instance_that_keeps_failing_is_passed_over_and_tried_again,
    a_lone_instance_stays_in_use_however_often_it_fails,
    a_refusal_lowers_what_an_instance_is_given,
    a_probe_is_made_by_one_and_two_that_fail_in_a_row_count,
);

const SECOND: Duration = Duration::from_secs(1);

async fn register(ledger: &Ledger, body: Value) -> AgentRecord {
    let registration = Registration::parse(body).unwrap();
    ledger
        .register(&registration, Timestamp::now())
        .await
        .unwrap()
}

/// The agent `a` with so many instances, all there.
async fn with_instances(ledger: &Ledger, number: u32, limit: u32) -> AgentId {
    let agent = active_agent(ledger, "a", limit).await;
    scale(ledger, &agent, number).await;
    activate(ledger, &agent).await;
    assert_eq!(
        record(ledger, &agent).await.instances.len(),
        number as usize
    );
    agent
}

async fn scale(ledger: &Ledger, agent: &AgentId, instances: u32) {
    let scaling = Scaling {
        instances: Some(instances),
        max_concurrent_sessions: None,
    };
    let scaled = ledger
        .scale(agent, scaling, Timestamp::now())
        .await
        .unwrap();
    assert!(matches!(scaled, Scaled::Now(_)), "{scaled:?}");
}

async fn record(ledger: &Ledger, agent: &AgentId) -> AgentRecord {
    ledger.agent(agent).await.unwrap().unwrap()
}

/// Brings `number` tasks and returns those that started.
async fn start(ledger: &Ledger, agent: &AgentId, number: usize) -> Vec<Started> {
    let now = Timestamp::now();
    let tasks = (0..number).map(|_| task(agent, json!({}), now)).collect();
    bring(ledger, WorkerId::generate(), tasks).await.started
}

fn by_instance(started: &[Started]) -> BTreeMap<InstanceId, usize> {
    let mut counts = BTreeMap::new();
    for task in started {
        *counts.entry(task.claim.instance_id).or_default() += 1;
    }
    counts
}

fn busy() -> Outcome {
    Outcome::Snoozed {
        why: Snooze::Busy,
        delay: SECOND,
    }
}

async fn tasks_are_shared_out_among_instances_within_the_limit_of_the_agent(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = with_instances(ledger, 3, 9).await;
    let started = start(ledger, &agent, 20).await;
    assert_eq!(started.len(), 9, "the limit is the agent's");
    let counts: Vec<usize> = by_instance(&started).into_values().collect();
    assert_eq!(counts, [3, 3, 3]);
}

async fn an_instance_too_many_finishes_what_it_runs_and_goes(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = with_instances(ledger, 2, 10).await;
    let running = start(ledger, &agent, 2).await;
    scale(ledger, &agent, 1).await;
    activate(ledger, &agent).await;
    let instances = record(ledger, &agent).await.instances;
    let leaving = instances.iter().find(|i| i.draining).unwrap();
    assert_eq!((instances.len(), leaving.running), (2, 1));
    let kept = instances.iter().find(|i| !i.draining).unwrap().instance_id;

    let more = start(ledger, &agent, 4).await;
    assert_eq!(by_instance(&more), BTreeMap::from([(kept, 4)]));
    let last = running
        .iter()
        .find(|task| task.claim.instance_id == leaving.instance_id);
    let ended = end(ledger, &last.unwrap().claim, completed(), Timestamp::now()).await;
    assert_eq!(ended.to_reconcile, std::slice::from_ref(&agent));
    activate(ledger, &agent).await;
    let left = record(ledger, &agent).await.instances;
    assert_eq!((left.len(), left[0].instance_id), (1, kept));
}

async fn one_of_three_that_is_lost_is_made_again_alone(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = with_instances(ledger, 3, 30).await;
    let before = record(ledger, &agent).await.instances;
    let lost = before[1].instance_id;
    let now = Timestamp::now();
    ledger.lose_instance(&agent, lost, now).await.unwrap();
    let started = start(ledger, &agent, 6).await;
    assert_eq!(started.len(), 6, "the others go on");
    assert!(!by_instance(&started).contains_key(&lost));
    activate(ledger, &agent).await;
    let after = record(ledger, &agent).await.instances;
    let ids = |instances: &[orchestrator_common::domain::InstanceRecord]| {
        let ids = instances.iter().map(|i| i.instance_id);
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(&after), ids(&before));
    assert!(after.iter().all(|i| i.state == InstanceState::Healthy));
    assert!(by_instance(&start(ledger, &agent, 6).await).contains_key(&lost));
}

async fn what_the_brain_factory_registers_of_an_instance_becomes_no_agent(test: &TestLedger) {
    let ledger = &test.ledger;
    register(ledger, json!({"agent_id": "a-instance-2"})).await;
    let agent = with_instances(ledger, 3, 10).await;
    let instances = record(ledger, &agent).await.instances;
    let names = instances.iter().filter_map(|i| i.made.as_ref());
    let names: Vec<String> = names.map(|made| made.name.to_string()).collect();
    assert_eq!(names, ["a", "a-instance-3", "a-instance-4"]);
    let body = json!({"agent_id": "a-instance-3", "agent_name": "Other", "deployment_id": "deployment_a-instance-3"});
    let told = register(ledger, body).await;
    assert_eq!((told.agent_id, told.agent_name), (agent, None));
    let stray = ledger.agent(&agent_id("a-instance-3")).await.unwrap();
    assert!(stray.is_none());
    let own = register(ledger, json!({"agent_id": "a-instance-2", "domain": "d"})).await;
    assert_eq!(own.agent_id.as_str(), "a-instance-2");
}

fn places(endpoints: &[(&str, u32)]) -> Value {
    let instances = endpoints.iter();
    let instances: Vec<Value> = instances
        .map(|(endpoint, weight)| json!({"endpoint": endpoint, "weight": weight}))
        .collect();
    json!({"agent_id": "a", "max_concurrent_sessions": 100, "instances": instances})
}

/// The agent `a` with these registered instances, all there.
async fn registered(ledger: &Ledger, body: Value) -> AgentId {
    register(ledger, body).await;
    let agent = agent_id("a");
    ledger
        .wish(&agent, Wish::Start, Timestamp::now())
        .await
        .unwrap();
    activate(ledger, &agent).await;
    agent
}

async fn instances_that_are_registered_anew_come_and_go(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = registered(
        ledger,
        places(&[("http://x:1/", 100), ("http://y:1/", 100)]),
    )
    .await;
    let running = start(ledger, &agent, 2).await;
    assert_eq!(by_instance(&running).len(), 2);
    let anew = register(
        ledger,
        places(&[("http://y:1/", 300), ("http://z:1/", 100)]),
    )
    .await;
    assert_eq!(anew.registered_instances.len(), 2);
    activate(ledger, &agent).await;
    let instances = record(ledger, &agent).await.instances;
    let shown: Vec<_> = instances
        .iter()
        .map(|i| (i.endpoint.as_str(), i.draining, i.weight, i.running))
        .collect();
    let expected = [
        ("http://x:1/", true, 100, 1),
        ("http://y:1/", false, 300, 1),
        ("http://z:1/", false, 100, 0),
    ];
    assert_eq!(shown, expected);
    for task in running {
        let ended = end(ledger, &task.claim, completed(), Timestamp::now()).await;
        assert!(
            ended.completions[0].settlement.is_some(),
            "no task is orphaned"
        );
    }
    activate(ledger, &agent).await;
    assert_eq!(record(ledger, &agent).await.instances.len(), 2);
}

async fn registered_instances_are_not_scaled(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = registered(ledger, places(&[("http://x:1/", 100)])).await;
    let scaling = |instances| Scaling {
        instances,
        max_concurrent_sessions: Some(3),
    };
    let refused = ledger.scale(&agent, scaling(Some(2)), Timestamp::now());
    assert!(matches!(refused.await.unwrap(), Scaled::Registered));
    let limited = ledger.scale(&agent, scaling(None), Timestamp::now());
    assert!(matches!(limited.await.unwrap(), Scaled::Now(_)));
    assert_eq!(
        record(ledger, &agent).await.max_concurrent_sessions,
        Some(3)
    );
}

async fn round_robin_and_weights_hold_across_dispatches(test: &TestLedger) {
    let ledger = &test.ledger;
    let endpoints = [
        ("http://x:1/", 100),
        ("http://y:1/", 200),
        ("http://z:1/", 700),
    ];
    let agent = registered(ledger, places(&endpoints)).await;
    for (policy, expected) in [("round_robin", [20, 20, 20]), ("weighted", [6, 12, 42])] {
        register(ledger, json!({"agent_id": "a", "load_balancing": policy})).await;
        let mut counts = BTreeMap::<u32, u32>::new();
        for _ in 0..60 {
            let started = start(ledger, &agent, 1).await;
            let instances = record(ledger, &agent).await.instances;
            let on = instances
                .iter()
                .find(|i| i.instance_id == started[0].claim.instance_id);
            *counts.entry(on.unwrap().weight).or_default() += 1;
            end(ledger, &started[0].claim, completed(), Timestamp::now()).await;
        }
        let counts: Vec<u32> = counts.into_values().collect();
        for (count, expected) in counts.iter().zip(expected) {
            assert!(count.abs_diff(expected) <= 1, "{policy}: {counts:?}");
        }
    }
}

/// Brings tasks of the session `s` and returns where they run.
async fn of_session(ledger: &Ledger, agent: &AgentId, number: usize) -> Vec<Started> {
    let now = Timestamp::now();
    let of_it = || task(agent, json!({"session_id": "s"}), now);
    let tasks = (0..number).map(|_| of_it()).collect();
    bring(ledger, WorkerId::generate(), tasks).await.started
}

async fn a_session_stays_with_its_instance_while_that_is_well(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = with_instances(ledger, 3, 30).await;
    register(ledger, json!({"agent_id": "a", "load_balancing": "sticky"})).await;
    let first = of_session(ledger, &agent, 2).await;
    let home = first[0].claim.instance_id;
    assert_eq!(by_instance(&first), BTreeMap::from([(home, 2)]));
    // Others are shared out, and the session comes home past what runs there.
    assert_eq!(by_instance(&start(ledger, &agent, 6).await).len(), 3);
    assert_eq!(
        by_instance(&of_session(ledger, &agent, 3).await),
        BTreeMap::from([(home, 3)])
    );
    // One that has waited does so as well.
    let now = Timestamp::now();
    ledger
        .ingest(vec![task(&agent, json!({"session_id": "s"}), now)], now)
        .await
        .unwrap();
    let waited = claim(ledger, WorkerId::generate(), &agent, now).await;
    assert_eq!(by_instance(&waited), BTreeMap::from([(home, 1)]));

    ledger.lose_instance(&agent, home, now).await.unwrap();
    let moved = of_session(ledger, &agent, 2).await;
    let anew = moved[0].claim.instance_id;
    assert_ne!(anew, home);
    assert_eq!(by_instance(&moved), BTreeMap::from([(anew, 2)]));
    activate(ledger, &agent).await;
    let stays = of_session(ledger, &agent, 1).await;
    assert_eq!(stays[0].claim.instance_id, anew, "it does not go back");
}

async fn a_task_that_failed_goes_to_another_instance(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = with_instances(ledger, 2, 10).await;
    for outcome in [retryable(), busy(), Outcome::HandedBack] {
        let first = start(ledger, &agent, 1).await.remove(0).claim;
        let now = Timestamp::now();
        let mut again = end(ledger, &first, outcome, now).await.started;
        if again.is_empty() {
            let later = now.plus(600 * SECOND);
            ledger.promote_due(later).await.unwrap();
            again = claim(ledger, WorkerId::generate(), &agent, later).await;
        }
        let second = again.remove(0).claim;
        assert_eq!(second.task_id, first.task_id);
        assert_ne!(second.instance_id, first.instance_id);
        end(ledger, &second, completed(), Timestamp::now()).await;
    }
}

async fn what_may_still_run_somewhere_is_said_when_it_starts_again(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let first = start(ledger, &agent, 1).await.remove(0);
    assert_eq!(first.may_run_until, None);
    let now = Timestamp::now();
    let again = end(ledger, &first.claim, Outcome::HandedBack, now).await;
    let until = again.started[0].may_run_until.unwrap();
    assert_eq!(until, first.claim.started_at.plus(315 * SECOND));
    // What a second instance says does not make the first one forget the task.
    let later = now.plus(10 * SECOND);
    end(ledger, &again.started[0].claim, busy(), now).await;
    ledger.promote_due(later).await.unwrap();
    let third = claim(ledger, WorkerId::generate(), &agent, later).await;
    assert_eq!(third[0].may_run_until, Some(until));
    let handed_back = end(ledger, &third[0].claim, busy(), until).await;
    assert!(handed_back.started.is_empty());
    ledger.promote_due(until.plus(10 * SECOND)).await.unwrap();
    let last = claim(
        ledger,
        WorkerId::generate(),
        &agent,
        until.plus(10 * SECOND),
    )
    .await;
    assert_eq!(last[0].may_run_until, None, "its time is up");
}

/// Fails five tasks that run on an instance.
async fn fail(ledger: &Ledger, started: &[Started], instance: InstanceId, now: Timestamp) {
    let on_it = started
        .iter()
        .filter(|task| task.claim.instance_id == instance);
    let mut changes = Vec::new();
    for task in on_it.take(5) {
        changes.extend(
            end(ledger, &task.claim, retryable(), now)
                .await
                .circuit_changes,
        );
    }
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].instance_id, changes[0].circuit),
        (instance, CircuitState::Open)
    );
}

async fn an_instance_that_keeps_failing_is_passed_over_and_tried_again(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = with_instances(ledger, 2, 30).await;
    let started = start(ledger, &agent, 12).await;
    let bad = started[0].claim.instance_id;
    let now = Timestamp::now();
    fail(ledger, &started, bad, now).await;
    let others = start(ledger, &agent, 4).await;
    assert!(!by_instance(&others).contains_key(&bad));

    let later = now.plus(6 * SECOND);
    let tasks: Vec<_> = (0..4).map(|_| task(&agent, json!({}), later)).collect();
    ledger.ingest(tasks, later).await.unwrap();
    let tried = claim(ledger, WorkerId::generate(), &agent, later).await;
    let trials: Vec<_> = tried
        .iter()
        .filter(|t| t.claim.instance_id == bad)
        .collect();
    assert_eq!((trials.len(), tried.len()), (1, 4));
    let ended = end(ledger, &trials[0].claim, completed(), later).await;
    assert_eq!(ended.circuit_changes[0].circuit, CircuitState::Closed);
    assert!(by_instance(&start(ledger, &agent, 6).await).contains_key(&bad));
}

async fn a_lone_instance_stays_in_use_however_often_it_fails(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let started = start(ledger, &agent, 5).await;
    let alone = started[0].claim.instance_id;
    fail(ledger, &started, alone, Timestamp::now()).await;
    let instances = record(ledger, &agent).await.instances;
    assert_eq!(instances[0].circuit.state, CircuitState::Open);
    let more = start(ledger, &agent, 3).await;
    assert_eq!(more.len(), 3);
    end(ledger, &more[0].claim, completed(), Timestamp::now()).await;
    let instances = record(ledger, &agent).await.instances;
    assert_eq!(instances[0].circuit.state, CircuitState::Closed);
}

async fn a_refusal_lowers_what_an_instance_is_given(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let started = start(ledger, &agent, 10).await;
    end(ledger, &started[0].claim, busy(), Timestamp::now()).await;
    let instance = record(ledger, &agent).await.instances.remove(0);
    assert_eq!((instance.learnt.limit(10), instance.running), (9, 9));
    assert!(start(ledger, &agent, 1).await.is_empty());
    let ended = end(ledger, &started[1].claim, completed(), Timestamp::now()).await;
    assert_eq!(ended.started.len(), 1);
}

async fn a_probe_is_made_by_one_and_two_that_fail_in_a_row_count(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = with_instances(ledger, 2, 10).await;
    let every = 30 * SECOND;
    let mut now = Timestamp::now().plus(every);
    let claimed = tokio::join!(
        ledger.claim_probes(every, 10, now),
        ledger.claim_probes(every, 10, now)
    );
    let (one, other) = (claimed.0.unwrap(), claimed.1.unwrap());
    assert_eq!(one.len() + other.len(), 2);
    assert!(
        ledger
            .claim_probes(every, 10, now)
            .await
            .unwrap()
            .is_empty()
    );

    let probes = [one, other].concat();
    let bad = probes[0].instance_id;
    let mut states = Vec::new();
    for found in [Found::Failed, Found::Failed, Found::Well(Some(12.5))] {
        now = now.plus(every);
        let both = [
            (probes[0].clone(), found),
            (probes[1].clone(), Found::Well(None)),
        ];
        for change in ledger.record_probes(&both, now).await.unwrap() {
            match change {
                ProbeChange::State(of, instance, state) => {
                    assert_eq!((&of, instance), (&agent, bad));
                    states.push((found, state));
                }
                ProbeChange::Circuit(change) => panic!("{change:?}"),
            }
        }
        if states.len() == 1 {
            let started = start(ledger, &agent, 4).await;
            assert!(!by_instance(&started).contains_key(&bad));
        }
    }
    let expected = [
        (Found::Failed, InstanceState::Unhealthy),
        (Found::Well(Some(12.5)), InstanceState::Healthy),
    ];
    assert_eq!(states, expected);
    let instances = record(ledger, &agent).await.instances;
    let well = instances.iter().find(|i| i.instance_id == bad).unwrap();
    assert_eq!(
        (well.memory_usage_mb, well.last_health_check),
        (Some(12.5), Some(now))
    );
    let (states, open) = ledger.instance_counts().await.unwrap();
    assert_eq!((states[&InstanceState::Healthy], open), (2, 0));

    let lost = ledger
        .record_probes(&[(probes[0].clone(), Found::Lost)], now)
        .await
        .unwrap();
    assert!(matches!(
        &lost[..],
        [ProbeChange::State(_, _, InstanceState::Lost)]
    ));
    assert_eq!(
        ledger.agents_to_reconcile(now, 10).await.unwrap(),
        std::slice::from_ref(&agent)
    );
}
