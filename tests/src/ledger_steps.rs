//! The steps of which the ledger's tests are made: agents that take tasks, tasks that come, start and end.

use std::time::Duration;

use orchestrator_common::domain::{
    AgentId, AgentStatus, Claim, Completion, ErrorCode, InstanceState, NewTask, Outcome,
    Registration, TaskError, TaskStatus, Timestamp, Usage, Wish, WorkerId,
};
use orchestrator_common::ledger::{
    Dispatch, Dispatched, LeasedAgent, Ledger, LedgerError, Started,
};
use serde_json::json;

use crate::ledger::agent_id;

/// Room for more tasks than any of these tests has.
const ROOM: u32 = 1_000;

/// An agent that takes tasks, with a limit of concurrent sessions.
///
/// # Panics
/// When the ledger refuses a step.
pub async fn active_agent(ledger: &Ledger, name: &str, limit: u32) -> AgentId {
    let now = Timestamp::now();
    let body = json!({"agent_id": name, "max_concurrent_sessions": limit});
    ledger
        .register(&Registration::parse(body).unwrap(), now)
        .await
        .unwrap();
    let id = agent_id(name);
    ledger.wish(&id, Wish::Start, now).await.unwrap();
    activate(ledger, &id).await;
    id
}

/// Gives an agent that is wanted the instance that it needs for taking tasks.
///
/// # Panics
/// When the ledger refuses a step.
pub async fn activate(ledger: &Ledger, id: &AgentId) {
    let now = Timestamp::now();
    let lease = ledger
        .lease_agent(id, WorkerId::generate(), Duration::from_secs(60), now)
        .await
        .unwrap()
        .unwrap();
    make_instances(ledger, &lease, "http://127.0.0.1:1/agents/x", now)
        .await
        .unwrap();
    ledger.end_lease(&lease, 0, None).await.unwrap();
}

/// Plans the instances of a leased agent, and has all that are missing be there: at their own address, else at `endpoint`.
///
/// # Errors
/// When the ledger does not take it.
pub async fn make_instances(
    ledger: &Ledger,
    lease: &LeasedAgent,
    endpoint: &str,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let planned = ledger.plan_instances(lease, now).await?;
    for instance in planned.into_iter().flat_map(|agent| agent.instances) {
        if instance.draining {
            let agent_id = &lease.agent.agent_id;
            ledger
                .forget_instance(agent_id, instance.instance_id, now)
                .await?;
        } else if matches!(instance.state, InstanceState::Making | InstanceState::Lost) {
            let probe_at = now.plus(Duration::from_secs(30));
            let own = Some(instance.endpoint.as_str()).filter(|own| !own.is_empty());
            let at = own.unwrap_or(endpoint);
            ledger
                .instance_made(lease, instance.instance_id, at, probe_at, now)
                .await?;
        } else {
            ledger.observe(lease, AgentStatus::Active, None).await?;
        }
    }
    Ok(())
}

/// Brings tasks to a worker that has room for any number of them.
///
/// # Panics
/// When the ledger fails.
pub async fn bring(ledger: &Ledger, worker: WorkerId, tasks: Vec<NewTask>) -> Dispatched {
    let dispatch = Dispatch {
        arrivals: tasks,
        room: ROOM,
        ..Dispatch::default()
    };
    let dispatched = ledger.dispatch(worker, dispatch, Timestamp::now()).await;
    dispatched.unwrap()
}

/// Starts on a worker with room for any number what waits for an agent.
///
/// # Panics
/// When the ledger fails.
pub async fn claim(
    ledger: &Ledger,
    worker: WorkerId,
    agent: &AgentId,
    at: Timestamp,
) -> Vec<Started> {
    let dispatch = Dispatch {
        claims: vec![agent.clone()],
        room: ROOM,
        ..Dispatch::default()
    };
    let dispatched = ledger.dispatch(worker, dispatch, at).await;
    dispatched.unwrap().started
}

/// Ends an attempt on its worker, which has room for any number of others.
///
/// # Panics
/// When the ledger fails.
pub async fn end(ledger: &Ledger, claim: &Claim, outcome: Outcome, at: Timestamp) -> Dispatched {
    let completion = Completion {
        claim: claim.clone(),
        outcome,
        usage: Usage::default(),
    };
    let dispatch = Dispatch {
        completions: vec![completion],
        room: ROOM,
        ..Dispatch::default()
    };
    let dispatched = ledger.dispatch(claim.worker_id, dispatch, at).await;
    dispatched.unwrap()
}

/// An outcome with a result.
///
/// # Panics
/// Never: the result is JSON.
#[must_use]
pub fn completed() -> Outcome {
    let result = serde_json::value::to_raw_value(&json!({"decision": "approve"})).unwrap();
    Outcome::Completed {
        result: result.into(),
    }
}

/// An outcome after which the task may be tried again.
#[must_use]
pub fn retryable() -> Outcome {
    Outcome::Retryable {
        error: TaskError::new(ErrorCode::AgentUnreachable, "no answer"),
        retry_after: None,
    }
}

/// Where a task that was started stands now.
///
/// # Panics
/// When the ledger does not know it.
pub async fn status(ledger: &Ledger, started: &Started) -> TaskStatus {
    let task = ledger.task(started.claim.task_id).await.unwrap();
    task.unwrap().status
}
