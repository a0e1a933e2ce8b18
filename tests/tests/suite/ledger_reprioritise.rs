//! Changing the priority of a task in the ledger, on SQLite and on PostgreSQL.

use orchestrator_common::domain::{
    AgentId, Priority, Registration, TaskId, TaskStatus, Timestamp, Wish, WorkerId,
};
use orchestrator_common::ledger::{Ledger, Reprioritised, Started};
use orchestrator_tests::ledger::{TestLedger, agent_id, default_options, task};
use orchestrator_tests::ledger_steps::{activate, claim};
use orchestrator_tests::on_both_databases;
use serde_json::json;

on_both_databases!(default_options();
    a_waiting_task_that_becomes_urgent_starts_first,
    a_task_that_does_not_wait_keeps_its_priority,
);

/// A registered agent with its tasks in the ledger, none of them started.
async fn waiting_tasks(ledger: &Ledger, number: usize) -> (AgentId, Vec<TaskId>) {
    let id = agent_id("a");
    let body = json!({"agent_id": "a", "max_concurrent_sessions": 1});
    let now = Timestamp::now();
    ledger
        .register(&Registration::parse(body).unwrap(), now)
        .await
        .unwrap();
    let tasks: Vec<_> = (0..number)
        .map(|n| task(&id, json!({"task_data": {"n": n}}), now))
        .collect();
    let ids = tasks.iter().map(|task| task.task_id).collect();
    ledger.ingest(tasks, now).await.unwrap();
    ledger.wish(&id, Wish::Start, now).await.unwrap();
    (id, ids)
}

/// Activates the agent and claims what may start.
async fn start(ledger: &Ledger, id: &AgentId) -> Vec<Started> {
    activate(ledger, id).await;
    claim(ledger, WorkerId::generate(), id, Timestamp::now()).await
}

async fn a_waiting_task_that_becomes_urgent_starts_first(test: &TestLedger) {
    let (id, tasks) = waiting_tasks(&test.ledger, 3).await;
    let urgent = Priority::new(9).unwrap();
    for _ in 0..2 {
        let done = test.ledger.reprioritise(tasks[2], urgent).await.unwrap();
        assert_eq!(done, Reprioritised::Now(TaskStatus::Queued));
    }
    let started = start(&test.ledger, &id).await;
    assert_eq!(started.len(), 1);
    assert_eq!(started[0].claim.task_id, tasks[2]);
    assert_eq!(started[0].task.priority, urgent);
}

async fn a_task_that_does_not_wait_keeps_its_priority(test: &TestLedger) {
    let (id, tasks) = waiting_tasks(&test.ledger, 1).await;
    start(&test.ledger, &id).await;
    let urgent = Priority::new(9).unwrap();
    let done = test.ledger.reprioritise(tasks[0], urgent).await.unwrap();
    assert_eq!(done, Reprioritised::NotWaiting(TaskStatus::Running));
    let task = test.ledger.task(tasks[0]).await.unwrap().unwrap();
    assert_eq!(task.task.priority, Priority::DEFAULT);
    let unknown = test.ledger.reprioritise(TaskId::generate(), urgent).await;
    assert_eq!(unknown.unwrap(), Reprioritised::Unknown);
}
