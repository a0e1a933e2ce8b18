//! What task requests are accepted, and what is said of the others.

use serde_json::json;

use super::*;

fn faults_of(body: Value) -> Vec<String> {
    let faults = Submission::parse(body, SubmissionDefaults::default()).unwrap_err();
    faults.0.into_iter().map(|fault| fault.field).collect()
}

#[test]
fn the_input_has_one_name_of_two_and_the_other_may_be_null() {
    for body in [
        json!({"agent_id": "a", "task_type": "t", "task_data": {"x": 1}, "data": null}),
        json!({"agent_id": "a", "task_type": "t", "task_data": null, "data": {"x": 1}}),
    ] {
        let submission = Submission::parse(body, SubmissionDefaults::default()).unwrap();
        let task = submission.into_task(TaskId::generate(), Timestamp::now());
        assert_eq!(task.task_data.get(), r#"{"x":1}"#);
    }
    let both = json!({"agent_id": "a", "task_type": "t", "task_data": {}, "data": {}});
    assert_eq!(faults_of(both), ["data"]);
}

#[test]
fn the_least_request_gets_the_documented_defaults() {
    let body = json!({"agent_id": "a", "task_type": "t", "data": {"x": 1}});
    let now = Timestamp::now();
    let id = TaskId::generate();
    let task = Submission::parse(body, SubmissionDefaults::default())
        .unwrap()
        .into_task(id, now);
    assert_eq!(
        (
            task.task_id,
            task.priority.get(),
            task.timeout_seconds,
            task.max_attempts
        ),
        (id, 1, 300, 3)
    );
    assert_eq!(task.task_data.get(), r#"{"x":1}"#);
    assert_eq!((task.run_at, task.expires_at), (None, None));
}

#[test]
fn every_wrong_field_is_named_at_once() {
    assert_eq!(
        faults_of(
            json!({"agent_id": "a b", "task_type": "", "task_data": [], "priority": 11,
            "timeout_seconds": 0, "callback_url": "file:///x", "max_attempts": 0, "delay_seconds": 1,
            "run_at": "2026-03-01T12:00:00Z", "expires_in_seconds": 0, "parent_task_id": "x", "session_id": "a b",
            "metadata": 1,
            "surprise": true})
        ),
        [
            "agent_id",
            "task_type",
            "task_data",
            "priority",
            "timeout_seconds",
            "callback_url",
            "max_attempts",
            "run_at",
            "expires_in_seconds",
            "parent_task_id",
            "session_id",
            "metadata",
            "surprise"
        ]
    );
    assert_eq!(faults_of(json!({})), ["agent_id", "task_type", "task_data"]);
}

#[test]
fn numbers_that_are_not_whole_are_refused() {
    for priority in [json!(1.5), json!("5"), json!(-1), json!(true)] {
        let body =
            json!({"agent_id": "a", "task_type": "t", "task_data": {}, "priority": priority});
        assert_eq!(faults_of(body), ["priority"]);
    }
}

#[test]
fn a_callback_that_could_never_be_made_is_refused() {
    for url in [
        "https://u:p@example.com/".to_owned(),
        "https://example.com:0/".to_owned(),
        format!("https://example.com/{}", "x".repeat(2_000)),
        // Of 1,220 bytes, and of more than 2,000 as an address is written.
        format!("https://example.com/{}", "ä".repeat(600)),
    ] {
        let body = json!({"agent_id": "a", "task_type": "t", "task_data": {}, "callback_url": url});
        assert_eq!(faults_of(body), ["callback_url"], "{url}");
    }
}

#[test]
fn json_that_nests_too_deeply_is_refused() {
    let mut deep = json!({});
    for _ in 0..MAX_NESTING {
        deep = json!({"x": deep});
    }
    assert_eq!(
        faults_of(json!({"agent_id": "a", "task_type": "t", "task_data": deep})),
        [""]
    );
}

#[test]
fn a_request_that_leaves_the_agent_open_names_none() {
    let defaults = SubmissionDefaults::default();
    let open = json!({"task_type": "t", "task_data": {}, "domain": "d"});
    let open = OpenSubmission::parse(open, defaults).unwrap();
    assert_eq!((open.task_type(), open.domain()), ("t", Some("d")));
    let agent_id = AgentId::parse("a").unwrap();
    let task = open
        .for_agent(agent_id.clone())
        .into_task(TaskId::generate(), Timestamp::now());
    assert_eq!((task.agent_id, task.priority.get()), (agent_id, 1));
    let faulty = json!({"agent_id": "a", "domain": "", "task_data": {}, "surprise": 1});
    let faults = OpenSubmission::parse(faulty, defaults).unwrap_err();
    let fields: Vec<_> = faults.0.into_iter().map(|fault| fault.field).collect();
    assert_eq!(fields, ["task_type", "domain", "agent_id", "surprise"]);
}
