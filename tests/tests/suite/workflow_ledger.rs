//! Workflows in the ledger, on SQLite and on PostgreSQL: what is made, what is taken in, and what a crash leaves.

use std::time::Duration;

use orchestrator_common::domain::workflow::{
    Decision, Draft, NewRun, NotDecided, RunId, RunRecord, RunStatus, StepStatus, Verdict,
};
use orchestrator_common::domain::{
    AgentId, Claim, Origin, Outcome, Registration, TaskId, TaskStatus, Timestamp, WorkerId,
};
use orchestrator_common::ledger::{
    Advanced, Cancelled, Ledger, Resumed, Retried, RunDecided, RunQuery, RunStarted, Stopped,
};
use orchestrator_tests::ledger::{TestLedger, default_options};
use orchestrator_tests::ledger_steps::{active_agent, claim, completed, end, retryable};
use orchestrator_tests::on_both_databases;
use serde_json::{Value, json};

on_both_databases!(default_options();
    a_run_goes_from_step_to_step_with_results,
    starting_twice_starts_once,
    an_advance_that_is_repeated_makes_nothing_twice,
    a_task_of_a_run_is_not_retried_by_hand_and_its_cancellation_fails_the_step,
    cancelling_a_run_ends_what_waits_and_drops_what_runs,
    a_run_that_failed_goes_on_where_it_failed,
    a_question_is_answered_once,
    an_agent_that_is_gone_fails_its_step,
    the_least_busy_agent_of_a_domain_is_chosen,
    a_task_whose_worker_dies_is_taken_in_once,
    stored_definitions_have_versions,
    runs_are_listed_newest_first,
    a_fan_out_of_a_thousand_ends,
);

pub(crate) fn new_run(steps: Value, input: Value) -> NewRun {
    let body = json!({"steps": steps, "output": {"last": {"$ref": "/input/none"}}});
    let definition = Draft::read(body.clone())
        .checked(|_| true, |_| true)
        .unwrap();
    NewRun {
        run_id: RunId::generate(),
        named: None,
        body,
        definition,
        input,
        created_at: Timestamp::now(),
        fingerprint: None,
        traceparent: None,
    }
}

fn task(id: &str, more: Value) -> Value {
    let mut step = json!({"id": id, "agent_id": "a", "task_type": "t"});
    for (field, value) in more.as_object().into_iter().flatten() {
        step[field] = value.clone();
    }
    step
}

async fn start(ledger: &Ledger, steps: Value, input: Value) -> RunId {
    let run = new_run(steps, input);
    let started = ledger.start_run(&run, Timestamp::now()).await.unwrap();
    assert_eq!(started, RunStarted::New);
    advance(ledger).await;
    run.run_id
}

async fn advance(ledger: &Ledger) -> Advanced {
    ledger.advance_runs(64, Timestamp::now()).await.unwrap()
}

async fn run(ledger: &Ledger, run_id: RunId) -> RunRecord {
    ledger.run(run_id).await.unwrap().unwrap()
}

async fn statuses(ledger: &Ledger, run_id: RunId) -> Vec<StepStatus> {
    run(ledger, run_id)
        .await
        .state
        .steps
        .iter()
        .map(|step| step.status)
        .collect()
}

/// Claims the only task of `agent`, and ends it.
async fn play(ledger: &Ledger, agent: &AgentId, outcome: Outcome) -> Claim {
    let started = claim(ledger, WorkerId::generate(), agent, Timestamp::now()).await;
    assert_eq!(started.len(), 1);
    end(ledger, &started[0].claim, outcome, Timestamp::now()).await;
    started[0].claim.clone()
}

fn answered(result: Value) -> Outcome {
    let result = serde_json::value::to_raw_value(&result).unwrap();
    Outcome::Completed {
        result: result.into(),
    }
}

async fn a_run_goes_from_step_to_step_with_results(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let steps = json!([
        task(
            "one",
            json!({"task_data": {"n": {"$ref": "/input/n"}}, "priority": 7, "timeout_seconds": 9, "retry": {"max_attempts": 2}})
        ),
        task(
            "two",
            json!({"depends_on": ["one"], "task_data": {"score": {"$ref": "/steps/one/result/score"}}})
        ),
    ]);
    let run_id = start(ledger, steps, json!({"n": 7})).await;
    let first = claim(ledger, WorkerId::generate(), &agent, Timestamp::now())
        .await
        .remove(0);
    let asked = &first.task;
    assert_eq!(
        (
            asked.task_data.get(),
            asked.priority.get(),
            asked.timeout_seconds,
            asked.max_attempts
        ),
        (r#"{"n":7}"#, 7, 9, 2)
    );
    assert_eq!(asked.workflow_run_id, Some(run_id));
    let metadata: Value = serde_json::from_str(asked.metadata.as_ref().unwrap().get()).unwrap();
    assert_eq!(
        metadata,
        json!({"workflow_run_id": run_id, "step_id": "one", "index": null})
    );
    assert!(advance(ledger).await.runs.is_empty());
    end(
        ledger,
        &first.claim,
        answered(json!({"score": 720})),
        Timestamp::now(),
    )
    .await;
    assert_eq!(advance(ledger).await.agents, std::slice::from_ref(&agent));
    let second = claim(ledger, WorkerId::generate(), &agent, Timestamp::now())
        .await
        .remove(0);
    assert_eq!(second.task.task_data.get(), r#"{"score":720}"#);
    end(ledger, &second.claim, completed(), Timestamp::now()).await;
    let change = advance(ledger).await.runs.remove(0);
    assert_eq!(
        (change.before, change.status, change.steps_ended),
        (RunStatus::Running, RunStatus::Completed, 1)
    );
    let record = run(ledger, run_id).await;
    assert_eq!(record.output, Some(json!({"last": null})));
    assert!(record.summary.ended_at.is_some());
    assert!(advance(ledger).await.runs.is_empty());
}

async fn starting_twice_starts_once(test: &TestLedger) {
    let ledger = &test.ledger;
    active_agent(ledger, "a", 10).await;
    let mut new = new_run(json!([task("one", json!({}))]), json!({}));
    new.fingerprint = Some([1; 32]);
    let now = Timestamp::now();
    assert_eq!(ledger.start_run(&new, now).await.unwrap(), RunStarted::New);
    assert_eq!(
        ledger.start_run(&new, now).await.unwrap(),
        RunStarted::Repeated(RunStatus::Running)
    );
    new.fingerprint = Some([2; 32]);
    assert_eq!(
        ledger.start_run(&new, now).await.unwrap(),
        RunStarted::Conflict
    );
}

async fn an_advance_that_is_repeated_makes_nothing_twice(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 100).await;
    let steps = json!([task("f", json!({"for_each": {"items": "/input"}}))]);
    let new = new_run(steps, json!([1, 2, 3, 4, 5]));
    ledger.start_run(&new, Timestamp::now()).await.unwrap();
    // Several processes at once.
    let advances = (0..4).map(|_| ledger.advance_runs(64, Timestamp::now()));
    let advanced = futures::future::join_all(advances).await;
    let made: usize = advanced
        .into_iter()
        .map(|advanced| advanced.unwrap().runs.len())
        .sum();
    assert!(made >= 1);
    assert_eq!(ledger.agent(&agent).await.unwrap().unwrap().queued, 5);
    let started = claim(ledger, WorkerId::generate(), &agent, Timestamp::now()).await;
    assert_eq!(started.len(), 5);
    for task in &started {
        end(ledger, &task.claim, completed(), Timestamp::now()).await;
        // A second end of the same claim is refused, and tells the run nothing.
        end(ledger, &task.claim, completed(), Timestamp::now()).await;
    }
    assert_eq!(advance(ledger).await.runs[0].status, RunStatus::Completed);
}

async fn a_task_of_a_run_is_not_retried_by_hand_and_its_cancellation_fails_the_step(
    test: &TestLedger,
) {
    let ledger = &test.ledger;
    active_agent(ledger, "a", 10).await;
    let run_id = start(ledger, json!([task("one", json!({}))]), json!({})).await;
    let task_id = TaskId::of_step(run_id, 0, 0, 0);
    assert_eq!(
        ledger.cancel(task_id, Timestamp::now()).await.unwrap(),
        Cancelled::Now
    );
    advance(ledger).await;
    let record = run(ledger, run_id).await;
    assert_eq!(record.summary.status, RunStatus::Failed);
    assert_eq!(
        record.state.steps[0].error.as_ref().unwrap().code,
        "cancelled"
    );
    assert_eq!(
        record.summary.error.as_deref(),
        Some("step one failed: the task was cancelled")
    );
    let retried = ledger.retry(task_id, 3, Timestamp::now()).await.unwrap();
    assert_eq!(retried, Retried::OfWorkflow(run_id));
}

async fn cancelling_a_run_ends_what_waits_and_drops_what_runs(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 2).await;
    let steps = json!([
        task("f", json!({"for_each": {"items": "/input"}})),
        task("g", json!({"depends_on": ["f"]}))
    ]);
    let run_id = start(ledger, steps, json!([1, 2, 3, 4, 5])).await;
    let worker = WorkerId::generate();
    let running = claim(ledger, worker, &agent, Timestamp::now()).await;
    assert_eq!(running.len(), 2);
    assert_eq!(
        ledger.cancel_run(run_id, Timestamp::now()).await.unwrap(),
        Stopped::Now
    );
    assert_eq!(
        ledger.cancel_run(run_id, Timestamp::now()).await.unwrap(),
        Stopped::Already(RunStatus::Cancelling)
    );
    let advanced = advance(ledger).await;
    assert_eq!((advanced.cancelled.len(), advanced.to_drop.len()), (3, 2));
    assert_eq!(ledger.to_cancel(worker).await.unwrap().len(), 2);
    assert_eq!(ledger.agent(&agent).await.unwrap().unwrap().queued, 0);
    advance(ledger).await;
    assert_eq!(
        run(ledger, run_id).await.summary.status,
        RunStatus::Cancelling
    );
    for task in &running {
        end(ledger, &task.claim, Outcome::Cancelled, Timestamp::now()).await;
    }
    advance(ledger).await;
    assert_eq!(
        run(ledger, run_id).await.summary.status,
        RunStatus::Cancelled
    );
    assert_eq!(statuses(ledger, run_id).await, [StepStatus::Cancelled; 2]);
    let unknown = ledger
        .cancel_run(RunId::generate(), Timestamp::now())
        .await
        .unwrap();
    assert_eq!(unknown, Stopped::Unknown);
}

async fn a_run_that_failed_goes_on_where_it_failed(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let steps = json!([
        task("one", json!({})),
        task(
            "two",
            json!({"depends_on": ["one"], "retry": {"max_attempts": 1}})
        ),
        task("three", json!({"depends_on": ["two"]})),
    ]);
    let run_id = start(ledger, steps, json!({})).await;
    play(ledger, &agent, completed()).await;
    advance(ledger).await;
    let failed = play(ledger, &agent, retryable()).await;
    advance(ledger).await;
    assert_eq!(run(ledger, run_id).await.summary.status, RunStatus::Failed);
    assert_eq!(
        ledger.resume_run(run_id, Timestamp::now()).await.unwrap(),
        Resumed::Now
    );
    assert_eq!(
        ledger.resume_run(run_id, Timestamp::now()).await.unwrap(),
        Resumed::NotFailed(RunStatus::Running)
    );
    advance(ledger).await;
    let again = play(ledger, &agent, completed()).await;
    assert_ne!(again.task_id, failed.task_id);
    advance(ledger).await;
    play(ledger, &agent, completed()).await;
    advance(ledger).await;
    let record = run(ledger, run_id).await;
    assert_eq!(
        (record.summary.status, record.summary.error),
        (RunStatus::Completed, None)
    );
}

async fn a_question_is_answered_once(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let steps = json!([
        {"id": "ask", "type": "approval", "data": {"$ref": "/input"}, "timeout_seconds": 60},
        task("two", json!({"depends_on": ["ask"], "task_data": {"by": {"$ref": "/steps/ask/result/decided_by"}}})),
    ]);
    let run_id = start(ledger, steps, json!({"n": 1})).await;
    let hash = run(ledger, run_id).await.state.steps[0]
        .approval
        .clone()
        .unwrap()
        .hash;
    let alice = ledger.by(Origin {
        actor: "alice".to_owned(),
        request_id: None,
    });
    let decide = async |hash: &str, verdict| {
        let decision = Decision {
            verdict,
            hash: hash.to_owned(),
            comment: None,
        };
        alice
            .decide_step(run_id, "ask", &decision, Timestamp::now())
            .await
            .unwrap()
    };
    assert_eq!(
        decide("stale", Verdict::Approve).await,
        RunDecided::Not(NotDecided::Stale)
    );
    assert_eq!(decide(&hash, Verdict::Approve).await, RunDecided::Now);
    let again = RunDecided::Not(NotDecided::NotWaiting(StepStatus::Completed));
    assert_eq!(decide(&hash, Verdict::Reject).await, again);
    advance(ledger).await;
    let started = claim(ledger, WorkerId::generate(), &agent, Timestamp::now()).await;
    assert_eq!(started[0].task.task_data.get(), r#"{"by":"alice"}"#);

    // One that nobody answers wakes its run when it expires.
    let steps = json!([{"id": "ask", "type": "approval", "timeout_seconds": 60}]);
    let run_id = start(ledger, steps, json!({})).await;
    let later = Timestamp::now().plus(Duration::from_secs(61));
    ledger.advance_runs(64, later).await.unwrap();
    assert_eq!(run(ledger, run_id).await.summary.status, RunStatus::Failed);
}

async fn an_agent_that_is_gone_fails_its_step(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let steps = json!([
        task("one", json!({"agent_id": "gone", "on_failure": "continue"})),
        task("two", json!({"depends_on": ["one"]})),
    ]);
    let run_id = start(ledger, steps, json!({})).await;
    advance(ledger).await;
    let record = run(ledger, run_id).await;
    assert_eq!(
        record.state.steps[0].error.as_ref().unwrap().code,
        "unknown_agent"
    );
    play(ledger, &agent, completed()).await;
    advance(ledger).await;
    assert_eq!(
        run(ledger, run_id).await.summary.status,
        RunStatus::Completed
    );
}

async fn the_least_busy_agent_of_a_domain_is_chosen(test: &TestLedger) {
    let ledger = &test.ledger;
    let busy = active_agent(ledger, "a", 1).await;
    let idle = active_agent(ledger, "b", 1).await;
    for agent in ["a", "b"] {
        let body = json!({"agent_id": agent, "domain": "risk"});
        ledger
            .register(&Registration::parse(body).unwrap(), Timestamp::now())
            .await
            .unwrap();
    }
    start(ledger, json!([task("x", json!({}))]), json!({})).await;
    start(
        ledger,
        json!([task("x", json!({"agent_id": null, "domain": "risk"}))]),
        json!({}),
    )
    .await;
    assert_eq!(
        claim(ledger, WorkerId::generate(), &idle, Timestamp::now())
            .await
            .len(),
        1
    );
    assert_eq!(
        claim(ledger, WorkerId::generate(), &busy, Timestamp::now())
            .await
            .len(),
        1
    );
    let domains = ledger.agents_of_domains(["risk", "none"]).await.unwrap();
    assert_eq!(domains.keys().collect::<Vec<_>>(), ["risk"]);
}

async fn a_task_whose_worker_dies_is_taken_in_once(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 10).await;
    let run_id = start(ledger, json!([task("one", json!({}))]), json!({})).await;
    let dead = WorkerId::generate();
    let first = claim(ledger, dead, &agent, Timestamp::now())
        .await
        .remove(0);
    ledger.recover(dead, Timestamp::now()).await.unwrap();
    advance(ledger).await;
    assert_eq!(statuses(ledger, run_id).await, [StepStatus::Running]);
    let second = claim(ledger, WorkerId::generate(), &agent, Timestamp::now())
        .await
        .remove(0);
    assert_eq!(first.claim.task_id, second.claim.task_id);
    // The dead one comes back with a result that nobody wants any more.
    end(ledger, &first.claim, retryable(), Timestamp::now()).await;
    end(ledger, &second.claim, completed(), Timestamp::now()).await;
    advance(ledger).await;
    assert_eq!(
        run(ledger, run_id).await.summary.status,
        RunStatus::Completed
    );
    let task = ledger.task(second.claim.task_id).await.unwrap().unwrap();
    assert_eq!(task.status, TaskStatus::Completed);
}

async fn stored_definitions_have_versions(test: &TestLedger) {
    let ledger = &test.ledger;
    let name =
        |text: &str| orchestrator_common::domain::workflow::DefinitionName::parse(text).unwrap();
    let body = |n: u32| json!({"steps": [task("one", json!({"task_data": {"n": n}}))]});
    let now = Timestamp::now();
    let store = async |text: &str, n| {
        ledger
            .store_definition(&name(text), &body(n), now)
            .await
            .unwrap()
    };
    assert_eq!(store("u", 1).await, (1, true));
    assert_eq!(store("u", 1).await, (1, false));
    assert_eq!(store("u", 2).await, (2, true));
    assert_eq!(store("B", 2).await, (1, true));
    let newest = ledger.definition(&name("u"), None).await.unwrap().unwrap();
    assert_eq!((newest.summary.version, newest.body), (2, body(2)));
    let first = ledger
        .definition(&name("u"), Some(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.body, body(1));
    assert!(
        ledger
            .definition(&name("u"), Some(3))
            .await
            .unwrap()
            .is_none()
    );
    let page = ledger.definition_page(None, 1).await.unwrap();
    assert_eq!(
        (page.definitions[0].name.as_str(), page.next.as_ref()),
        ("B", Some(&name("B")))
    );
    let page = ledger.definition_page(page.next.as_ref(), 1).await.unwrap();
    assert_eq!((page.definitions[0].version, page.next), (2, None));
}

async fn runs_are_listed_newest_first(test: &TestLedger) {
    let ledger = &test.ledger;
    active_agent(ledger, "a", 10).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(start(ledger, json!([task("one", json!({}))]), json!({})).await);
    }
    ledger.cancel_run(ids[1], Timestamp::now()).await.unwrap();
    advance(ledger).await;
    let listed = async |query: RunQuery| {
        let page = ledger.run_page(&query).await.unwrap();
        (
            page.runs.iter().map(|run| run.run_id).collect::<Vec<_>>(),
            page.next,
        )
    };
    let (first, next) = listed(RunQuery {
        limit: 2,
        ..RunQuery::default()
    })
    .await;
    assert_eq!(first, [ids[2], ids[1]]);
    let (second, next) = listed(RunQuery {
        limit: 2,
        before: next,
        ..RunQuery::default()
    })
    .await;
    assert_eq!((second, next), (vec![ids[0]], None));
    let cancelled = RunQuery {
        status: Some(RunStatus::Cancelled),
        limit: 2,
        ..RunQuery::default()
    };
    advance(ledger).await;
    assert_eq!(listed(cancelled).await.0, [ids[1]]);
}

async fn a_fan_out_of_a_thousand_ends(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 2_000).await;
    let list: Vec<u32> = (0..1_000).collect();
    let steps = json!([task(
        "f",
        json!({"task_data": {"n": {"$ref": "/item"}}, "for_each": {"items": "/input"}})
    )]);
    let run_id = start(ledger, steps, json!(list)).await;
    let started = claim(ledger, WorkerId::generate(), &agent, Timestamp::now()).await;
    assert_eq!(started.len(), 1_000);
    for task in &started {
        end(ledger, &task.claim, completed(), Timestamp::now()).await;
    }
    assert_eq!(advance(ledger).await.runs.len(), 1);
    assert_eq!(
        run(ledger, run_id).await.summary.status,
        RunStatus::Completed
    );
}
