//! What is refused, and where it is said to be wrong.

use serde_json::{Value, json};

use super::*;
use crate::domain::AgentId;

fn faults_of(body: Value) -> Vec<String> {
    let checked = Draft::read(body).checked(
        |agent| agent.as_str() != "nobody",
        |domain| domain != "nowhere",
    );
    let faults = checked.unwrap_err().0;
    faults.into_iter().map(|fault| fault.field).collect()
}

fn step(id: &str, more: Value) -> Value {
    let mut step = json!({"id": id, "agent_id": "a", "task_type": "t"});
    for (field, value) in more.as_object().into_iter().flatten() {
        step[field] = value.clone();
    }
    step
}

#[test]
fn every_fault_is_named_with_its_place() {
    let a = || step("a", json!({}));
    let referring = |pointer: &str| json!({"task_data": {"x": {"$ref": pointer}}});
    for (steps, places) in [
        (json!([]), vec!["steps"]),
        (json!([5]), vec!["steps[0]"]),
        (
            json!([{}]),
            vec!["steps[0].id", "steps[0].agent_id", "steps[0].task_type"],
        ),
        (json!([a(), a()]), vec!["steps[1].id"]),
        (json!([step("a b", json!({}))]), vec!["steps[0].id"]),
        (
            json!([step("a", json!({"agent_id": "nobody"}))]),
            vec!["steps[0].agent_id"],
        ),
        (
            json!([step("a", json!({"domain": "d"}))]),
            vec!["steps[0].domain"],
        ),
        (
            json!([step("a", json!({"agent_id": null, "domain": "nowhere"}))]),
            vec!["steps[0].domain"],
        ),
        (
            json!([step("a", json!({"surprise": 1}))]),
            vec!["steps[0].surprise"],
        ),
        (
            json!([step("a", json!({"type": "approval"}))]),
            vec!["steps[0].agent_id", "steps[0].task_type"],
        ),
        (
            json!([a(), step("b", json!({"depends_on": ["a", "c", 5, "a"]}))]),
            vec![
                "steps[1].depends_on[1]",
                "steps[1].depends_on[2]",
                "steps[1].depends_on[3]",
            ],
        ),
        (
            json!([
                step("a", json!({"depends_on": ["b"]})),
                step("b", json!({"depends_on": ["a"]})),
                step("c", json!({"depends_on": ["b"]}))
            ]),
            vec!["steps[0].depends_on", "steps[1].depends_on"],
        ),
        (
            json!([
                a(),
                step("b", json!({"depends_on": ["a"], "join": {"quorum": 2}}))
            ]),
            vec!["steps[1].join"],
        ),
        (
            json!([step("a", json!({"join": "most"}))]),
            vec!["steps[0].join"],
        ),
        (
            json!([a(), step("b", referring("/steps/a/result"))]),
            vec!["steps[1].task_data"],
        ),
        (
            json!([step("a", referring("/steps/c/result"))]),
            vec!["steps[0].task_data.x"],
        ),
        (
            json!([step("a", referring("/item"))]),
            vec!["steps[0].task_data"],
        ),
        (
            json!([step(
                "a",
                json!({"task_data": {"x": {"$ref": "/input", "y": 1}}})
            )]),
            vec!["steps[0].task_data.x.y"],
        ),
        (
            json!([
                a(),
                step(
                    "b",
                    json!({"when": {"path": "/steps/a/result", "op": "exists"}})
                )
            ]),
            vec!["steps[1].when"],
        ),
        (
            json!([step(
                "a",
                json!({"for_each": {"items": "/steps/a/result", "max_concurrent": 0}})
            )]),
            vec![
                "steps[0].for_each.max_concurrent",
                "steps[0].for_each.items",
            ],
        ),
        (
            json!([step(
                "a",
                json!({"retry": {"max_attempts": 0}, "timeout_seconds": 0, "priority": 11, "on_failure": "x"})
            )]),
            vec![
                "steps[0].retry.max_attempts",
                "steps[0].on_failure",
                "steps[0].timeout_seconds",
                "steps[0].priority",
            ],
        ),
    ] {
        assert_eq!(faults_of(json!({"steps": steps})), places, "{steps}");
    }
    let output = json!({"steps": [a()], "output": {"x": {"$ref": "/steps/b/result"}}, "more": 1});
    assert_eq!(faults_of(output), ["output.x", "more"]);
}

#[test]
fn the_bounds_hold() {
    let many = |count: usize| -> Vec<Value> {
        (0..count)
            .map(|n| step(&format!("s{n}"), json!({})))
            .collect()
    };
    assert_eq!(
        faults_of(json!({"steps": many(Definition::MAX_STEPS + 1)})),
        ["steps"]
    );
    let most = Draft::read(json!({"steps": many(Definition::MAX_STEPS)}));
    assert!(most.checked(|_| true, |_| true).is_ok());
    let large = step(
        "a",
        json!({"task_data": {"x": "x".repeat(Definition::MAX_BYTES)}}),
    );
    assert_eq!(faults_of(json!({"steps": [large]})), [""]);
    let mut deep = json!({});
    for _ in 0..70 {
        deep = json!({"x": deep});
    }
    assert_eq!(
        faults_of(json!({"steps": [step("a", json!({"task_data": deep}))]})),
        [""]
    );
}

#[test]
fn all_faults_of_a_request_are_said_at_once() {
    let fields = |body: Value| -> Vec<String> {
        let faults = RunRequest::read(body).unwrap_err();
        faults.0.into_iter().map(|fault| fault.field).collect()
    };
    assert_eq!(fields(json!({})), ["steps"]);
    assert_eq!(fields(json!({"name": "n", "steps": []})), ["name", "steps"]);
    assert_eq!(
        fields(json!({"name": "a/b", "input": 5})),
        ["name", "input"]
    );
    assert_eq!(
        fields(json!({"steps": [{}], "version": 1, "x": 1})),
        [
            "version",
            "x",
            "steps[0].id",
            "steps[0].agent_id",
            "steps[0].task_type"
        ]
    );
}

#[test]
fn what_is_named_is_known_before_it_is_checked() {
    let draft = Draft::read(
        json!({"steps": [step("a", json!({})), step("b", json!({"agent_id": null, "domain": "d"}))]}),
    );
    assert_eq!(
        draft.agents().map(AgentId::as_str).collect::<Vec<_>>(),
        ["a"]
    );
    assert_eq!(draft.domains().collect::<Vec<_>>(), ["d"]);
}
