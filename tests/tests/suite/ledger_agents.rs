//! Agents in the ledger, from registration to removal, on SQLite and on PostgreSQL.

use std::time::Duration;

use orchestrator_common::domain::{
    AgentStatus, DesiredState, ErrorCode, Registration, Timestamp, Wish, WorkerId,
};
use orchestrator_common::ledger::{AgentQuery, Ingested, Wished};
use orchestrator_tests::ledger::{TestLedger, agent_id, default_options, task};
use orchestrator_tests::ledger_steps::{activate, active_agent, bring, claim, completed, end};
use orchestrator_tests::on_both_databases;
use serde_json::json;

on_both_databases!(default_options();
    a_stopped_agent_starts_nothing_and_keeps_its_tasks,
    the_first_task_of_an_agent_starts_it,
    registering_again_keeps_what_is_not_named_and_the_richer_config,
    an_unregistered_agent_is_gone_when_its_tasks_are,
    a_forgotten_instance_takes_no_task_until_it_is_made_again,
    agents_are_listed_in_pages,
);

async fn a_stopped_agent_starts_nothing_and_keeps_its_tasks(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let now = Timestamp::now();
    let worker = WorkerId::generate();
    let running = bring(ledger, worker, vec![task(&agent, json!({}), now)])
        .await
        .started;
    ledger.wish(&agent, Wish::Stop, now).await.unwrap();
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

    ledger.wish(&agent, Wish::Start, now).await.unwrap();
    activate(ledger, &agent).await;
    let started = claim(ledger, worker, &agent, now).await;
    assert_eq!(started.len(), 1);
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
    ledger.wish(&agent, Wish::Remove, now).await.unwrap();
    assert!(ledger.agent(&agent).await.unwrap().is_none());
    let wished = ledger.wish(&agent, Wish::Start, now).await.unwrap();
    assert!(matches!(wished, Wished::Unknown), "{wished:?}");
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
    let started = claim(ledger, worker, &agent, Timestamp::now()).await;
    assert_eq!(started.len(), 1);
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
