//! The message contract: one golden file per kind, nothing lost on the way through it, and no bytes that break it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use lapin::BasicProperties;
use lapin::types::AMQPValue;
use orchestrator_common::config::{RabbitMqSettings, Secret};
use orchestrator_common::domain::workflow::{Decision, DefinitionName, RunId, RunStatus, Verdict};
use orchestrator_common::domain::{
    AgentId, AgentStatus, ErrorCode, NewTask, Origin, Priority, Registration, Scaling, Submission,
    SubmissionDefaults, TaskError, TaskId, TaskRecord, TaskStatus, Timestamp, Usage, WorkerId,
};
use orchestrator_common::ledger::RunChange;
use orchestrator_common::messaging::{
    AgentEvent, Command, Control, Decoder, Doorbell, Kind, Outgoing, Reason, Received, Refusal,
    TaskEvent, Topology, WorkflowEvent, WorkflowStart,
};
use orchestrator_tests::any_json::any_json;
use proptest::prelude::*;
use serde_json::{Value, json};

fn topology() -> Topology {
    let settings = RabbitMqSettings {
        host: "localhost".to_owned(),
        port: 5672,
        user: "guest".to_owned(),
        password: Secret::new("guest".to_owned()),
        vhost: "/".to_owned(),
        prefix: String::new(),
        quorum: true,
        tls: None,
    };
    Topology::new(&settings).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn now() -> Timestamp {
    at("2026-03-01T12:00:00.25Z")
}

fn task_id() -> TaskId {
    "01957f3a-5c00-7000-8000-000000000001".parse().unwrap()
}

fn agent_id() -> AgentId {
    AgentId::parse("underwriting_agent_01").unwrap()
}

fn full_task() -> NewTask {
    let body = json!({
        "agent_id": "underwriting_agent_01", "task_type": "risk_assessment",
        "task_data": {"applicant_id": "APP001", "amount": 12.5}, "priority": 5, "timeout_seconds": 300,
        "max_attempts": 4, "callback_url": "https://example.com/hook?x=1", "delay_seconds": 60,
        "expires_in_seconds": 600, "parent_task_id": "01957f3a-5c00-7000-8000-000000000002",
        "session_id": "case-7:chat", "metadata": {"case": 7},
    });
    let submission = Submission::parse(body, SubmissionDefaults::default()).unwrap();
    let mut task = submission.into_task(task_id(), now());
    task.correlation_id = Some("case-7".to_owned());
    task.reply_to = Some("underwriting.answers".to_owned());
    task.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    task.fingerprint = Some([0xab; 32]);
    task.origin = Some(Arc::new(Origin::new("alice", Some("r-7"))));
    task
}

fn least_task() -> NewTask {
    let body = json!({"agent_id": "pricing_agent_01", "task_type": "quote", "task_data": {}});
    let submission = Submission::parse(body, SubmissionDefaults::default()).unwrap();
    let task_id = "01957f3a-5c00-7000-8000-000000000003".parse().unwrap();
    let mut task = submission.into_task(task_id, now());
    task.origin = Some(Arc::new(Origin::new("anonymous", None)));
    task
}

fn registration() -> Registration {
    Registration::parse(json!({
        "agent_id": "underwriting_agent_01", "agent_name": "Underwriting", "domain": "underwriting",
        "brain_config": {"persona": {"role": "Underwriter"}, "reasoningPattern": "react"},
        "deployment_id": "deployment_underwriting_agent_01", "max_concurrent_sessions": 5,
        "endpoint": "http://brain:8305/agents/underwriting_agent_01", "environment": "staging",
        "instances": [{"endpoint": "http://brain:8305/agents/underwriting_agent_01", "weight": 300},
            {"endpoint": "http://brain-2:8305/agents/underwriting_agent_01", "max_concurrent_sessions": 2}],
        "load_balancing": "weighted",
    }))
    .unwrap()
}

fn commands() -> Vec<Command> {
    let (task_id, agent_id) = (task_id(), agent_id());
    vec![
        Command::Execute(Box::new(full_task())),
        Command::ExecuteBatch(vec![Ok(Box::new(full_task())), Ok(Box::new(least_task()))]),
        Command::CancelTask {
            task_id,
            reason: Some("the applicant withdrew".to_owned()),
        },
        Command::Reprioritise {
            task_id,
            priority: Priority::new(10).unwrap(),
        },
        Command::Register(Box::new(registration())),
        Command::Unregister {
            agent_id: agent_id.clone(),
        },
        Command::Start {
            agent_id: agent_id.clone(),
        },
        Command::Stop {
            agent_id: agent_id.clone(),
            drain: true,
        },
        Command::Pause {
            agent_id: agent_id.clone(),
        },
        Command::Resume {
            agent_id: agent_id.clone(),
        },
        Command::Scale {
            agent_id,
            scaling: Scaling {
                instances: Some(3),
                max_concurrent_sessions: Some(20),
            },
        },
        Command::StartWorkflow(Box::new(WorkflowStart {
            run_id: RunId::from(task_id.uuid()),
            request: json!({"name": "underwriting", "input": {"applicant": "APP001"}, "version": 2}),
            submitted_at: now(),
            fingerprint: Some([0xab; 32]),
            traceparent: full_task().traceparent,
        })),
        Command::CancelWorkflow {
            run_id: RunId::from(task_id.uuid()),
        },
        Command::ApproveStep {
            run_id: RunId::from(task_id.uuid()),
            step_id: "sign_off".to_owned(),
            decision: Decision {
                verdict: Verdict::Approve,
                hash: "2c26b46b68ffc68ff99b453c1d304134".to_owned(),
                comment: Some("income verified".to_owned()),
            },
        },
    ]
}

fn finished(status: TaskStatus) -> TaskRecord {
    let failed = status != TaskStatus::Completed;
    let result = serde_json::value::to_raw_value(&json!({"risk": "low"})).unwrap();
    TaskRecord {
        task: full_task(),
        status,
        attempt: 2,
        started_at: Some(at("2026-03-01T12:01:00Z")),
        completed_at: Some(at("2026-03-01T12:01:02.5Z")),
        worker_id: Some(WorkerId::generate()),
        instance_id: None,
        cancel_requested: false,
        result: (!failed).then(|| result.into()),
        error: failed.then(|| TaskError::new(ErrorCode::AgentFailed, "Reasoning failed: no data")),
        usage: Usage {
            tokens_used: Some(1_234),
            cost_estimate: Some(0.05),
        },
    }
}

/// Compares with `tests/golden/messages/<name>.json`; `UPDATE_GOLDEN=1` writes the file instead.
fn assert_golden(name: &str, outgoing: &Outgoing) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/messages");
    let file = folder.join(format!("{name}.json"));
    let body: Value = serde_json::from_slice(outgoing.body()).unwrap();
    let text = serde_json::to_string_pretty(&body).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, golden, "{name} has changed; the contract is public");
}

fn decode(outgoing: &Outgoing) -> Result<Received, Refusal> {
    let (key, properties) = (outgoing.routing_key(), outgoing.properties());
    Decoder::default().decode(key, properties, outgoing.body(), now())
}

fn decode_text(key: &str, body: &str) -> Result<Received, Refusal> {
    let properties = BasicProperties::default();
    Decoder::default().decode(key, &properties, body.as_bytes(), now())
}

#[test]
fn every_command_has_its_golden_form_and_is_read_back_without_loss() {
    let commands = commands();
    let kinds: Vec<_> = commands.iter().map(Command::kind).collect();
    assert_eq!(kinds, Kind::ALL);
    for command in commands {
        let outgoing = Outgoing::command(&topology(), &command).unwrap();
        assert_eq!(outgoing.exchange(), "orchestrator.commands");
        assert_eq!(outgoing.routing_key(), command.kind().as_str());
        assert_eq!(*outgoing.properties().delivery_mode(), Some(2));
        assert_golden(command.kind().as_str(), &outgoing);
        let back = decode(&outgoing).unwrap().command;
        assert_eq!(format!("{back:?}"), format!("{command:?}"));
    }
}

#[test]
fn every_event_has_its_golden_form() {
    for status in [TaskStatus::Completed, TaskStatus::Failed] {
        let record = finished(status);
        let event = TaskEvent::of(&record, record.completed_at.unwrap());
        let outgoing = Outgoing::task_event(&topology(), &event).unwrap();
        assert_golden(&format!("event.task.{status}"), &outgoing);
        assert_eq!(outgoing.exchange(), "orchestrator.events");
        let key = format!("task.{status}.underwriting_agent_01");
        assert_eq!(outgoing.routing_key(), key);
        let reply = Outgoing::reply("answers", Some("case-7"), &event)
            .unwrap()
            .unwrap();
        assert_eq!((reply.exchange(), reply.routing_key()), ("", "answers"));
        assert_eq!(reply.body(), outgoing.body());
    }
    let change = RunChange {
        run_id: RunId::from(task_id().uuid()),
        name: DefinitionName::parse("underwriting"),
        before: RunStatus::Failing,
        status: RunStatus::Failed,
        error: Some("step credit failed: no data".to_owned()),
        steps_ended: 1,
        at: now(),
    };
    let outgoing =
        Outgoing::workflow_event(&topology(), &WorkflowEvent::of(&change).unwrap()).unwrap();
    assert_golden("event.workflow.failed", &outgoing);
    assert_eq!(
        outgoing.routing_key(),
        format!("workflow.failed.{}", change.run_id)
    );
    let unchanged = RunChange {
        before: RunStatus::Failed,
        ..change
    };
    assert!(WorkflowEvent::of(&unchanged).is_none());
    let active = AgentEvent::new(agent_id(), AgentStatus::Active, None, now());
    let outgoing = Outgoing::agent_event(&topology(), &active).unwrap();
    assert_golden("event.agent.active", &outgoing);
    assert_eq!(outgoing.routing_key(), "agent.active.underwriting_agent_01");
}

#[test]
fn every_signal_has_its_golden_form() {
    let signals = [
        (
            "control.cancel_task",
            Control::CancelTask { task_id: task_id() },
        ),
        (
            "control.drain",
            Control::Drain {
                worker_id: WorkerId::from(task_id().uuid()),
            },
        ),
        (
            "control.agent_changed",
            Control::AgentChanged {
                agent_id: agent_id(),
            },
        ),
        ("control.workflows_changed", Control::WorkflowsChanged),
    ];
    for (name, signal) in signals {
        let outgoing = Outgoing::control(&topology(), &signal).unwrap();
        assert_golden(name, &outgoing);
        assert_eq!(Control::decode(outgoing.body()), Some(signal));
    }
    let bell = Doorbell {
        agent_id: agent_id(),
    };
    let outgoing = Outgoing::doorbell(&topology(), &bell).unwrap();
    assert_golden("doorbell", &outgoing);
    assert_eq!(Doorbell::decode(outgoing.body()), Some(bell));
}

#[test]
fn a_refusal_is_answered_with_every_fault_by_field() {
    let body =
        r#"{"agent_id":"a b","priority":11,"submitted_at":"today","fingerprint":"x","surprise":1}"#;
    let refusal = decode_text("task.execute", body).unwrap_err();
    let outgoing = Outgoing::refusal("answers", Some("c"), &refusal)
        .unwrap()
        .unwrap();
    assert_golden("refusal", &outgoing);
    let headers = outgoing.properties().headers().as_ref().unwrap().inner();
    assert_eq!(
        headers.get("x-reason"),
        Some(&AMQPValue::LongString("invalid".into()))
    );
}

/// Every field name in `value`, nested ones too, except inside what callers fill as they like.
fn field_names(value: &Value, names: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        names.insert(name.clone());
        let free = ["task_data", "metadata", "brain_config", "result", "input"];
        if !free.contains(&name.as_str()) {
            field_names(value, names);
        }
    }
    for item in value.as_array().into_iter().flatten() {
        field_names(item, names);
    }
}

#[test]
fn the_asyncapi_document_names_every_kind_reason_field_and_queue() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("../docs/asyncapi.yaml")).unwrap();
    let mut names = BTreeSet::new();
    for file in std::fs::read_dir(root.join("golden/messages")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        field_names(&serde_json::from_str(&text).unwrap(), &mut names);
    }
    names.remove("environment"); // An unknown field of the golden registration, there to be kept.
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        assert!(document.contains(&format!(" {name}:")), "field {name}");
    }
    let topology = topology();
    let of_broker = topology.queues().into_iter().chain(topology.exchanges());
    let words = Kind::ALL.iter().map(|kind| kind.as_str());
    let words = words.chain(Reason::ALL.iter().map(|reason| reason.as_str()));
    for word in words.chain(of_broker.map(|name| name.as_str())) {
        assert!(document.contains(word), "{word}");
    }
}

#[test]
fn the_same_fact_has_the_same_message_id_and_another_fact_another() {
    let record = finished(TaskStatus::Completed);
    let outcome = |at| TaskEvent::of(&record, at).message_id();
    assert_eq!(outcome(now()), outcome(now()));
    // A task that failed, was retried by hand and failed again has two outcomes.
    assert_ne!(outcome(now()), outcome(at("2026-03-02T00:00:00Z")));
    let mut running = finished(TaskStatus::Running);
    let first = TaskEvent::of(&running, now()).message_id();
    assert_ne!(first, outcome(now()));
    assert_eq!(first, TaskEvent::of(&running, now()).message_id());
    running.attempt = 3;
    assert_ne!(first, TaskEvent::of(&running, now()).message_id());
}

fn any_task() -> impl Strategy<Value = NewTask> {
    let object = || {
        proptest::collection::hash_map("\\PC{0,8}", any_json(), 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    };
    let option = |range| proptest::option::of(range);
    (
        ("[A-Za-z0-9._:-]{1,100}", "\\PC{1,100}", object(), 1u32..=10, 1u32..=86_400, 1u32..=100),
        (option(0u32..2_592_000), option(1u32..2_592_000), any::<u128>(), proptest::option::of(object())),
        (option(0u32..1_000), proptest::option::of("[a-z0-9-]{1,200}"), proptest::option::of(any::<[u8; 32]>())),
    )
        .prop_map(|(required, optional, extra)| {
            let (agent, kind, data, priority, timeout, attempts) = required;
            let (delay, expiry, id, metadata) = optional;
            let (path, correlation, fingerprint) = extra;
            let mut body = json!({"agent_id": agent, "task_type": kind.clone(), "task_data": data, "priority": priority,
                "timeout_seconds": timeout, "max_attempts": attempts, "delay_seconds": delay,
                "expires_in_seconds": expiry, "metadata": metadata});
            if let Some(path) = path {
                body["callback_url"] = json!(format!("https://example.com/{path}"));
                body["parent_task_id"] = json!(task_id());
                body["session_id"] = json!(format!("chat:{path}"));
            }
            let submission = Submission::parse(body, SubmissionDefaults::default()).unwrap();
            let mut task = submission.into_task(TaskId::from(uuid::Uuid::from_u128(id)), now());
            task.correlation_id.clone_from(&correlation);
            task.fingerprint = fingerprint;
            task.origin = Some(Arc::new(Origin::new(&kind, correlation.as_deref())));
            task
        })
}

proptest! {
    #[test]
    fn any_task_survives_the_way_through_a_message(task in any_task()) {
        let command = Command::Execute(Box::new(task));
        let outgoing = Outgoing::command(&topology(), &command).unwrap();
        let back = decode(&outgoing).unwrap().command;
        prop_assert_eq!(format!("{back:?}"), format!("{command:?}"));
    }

    #[test]
    fn any_tasks_survive_the_way_through_one_message(tasks in proptest::collection::vec(any_task(), 1..5)) {
        let command = Command::ExecuteBatch(tasks.into_iter().map(|task| Ok(Box::new(task))).collect());
        let outgoing = Outgoing::command(&topology(), &command).unwrap();
        let back = decode(&outgoing).unwrap().command;
        prop_assert_eq!(format!("{back:?}"), format!("{command:?}"));
    }
}
