//! What is derived from the ledger's counts.

use std::time::Duration;

use orchestrator_common::domain::{AgentTotals, Capacity, Circuit};
use serde_json::json;

use super::*;

fn record() -> AgentRecord {
    AgentRecord {
        agent_id: AgentId::parse("a").unwrap(),
        agent_name: None,
        domain: Some("d".into()),
        brain_config: Some(json!({"persona": {"role": "x"}})),
        deployment_id: None,
        registered_instances: Vec::new(),
        instances_wanted: 1,
        load_balancing: LoadBalancing::default(),
        extra: serde_json::Map::new(),
        desired: DesiredState::Idle,
        status: AgentStatus::Registered,
        status_reason: None,
        max_concurrent_sessions: None,
        running: 0,
        queued: 0,
        totals: AgentTotals::default(),
        instances: vec![],
        registered_at: Timestamp::from_micros(0),
        started_at: None,
    }
}

fn instance(seen: Option<i64>, memory_usage_mb: Option<f64>) -> InstanceRecord {
    InstanceRecord {
        instance_id: InstanceId::generate(),
        endpoint: "http://host/agents/a".into(),
        state: InstanceState::Healthy,
        made: None,
        draining: false,
        capacity: Some(1),
        weight: 100,
        learnt: Capacity::default(),
        circuit: Circuit::default(),
        running: 1,
        created_at: Timestamp::from_micros(0),
        last_health_check: seen.map(Timestamp::from_micros),
        memory_usage_mb,
    }
}

fn shown(record: AgentRecord) -> Value {
    let now = Timestamp::from_micros(0).plus(Duration::from_secs(100));
    serde_json::to_value(AgentView::new(record, 10, now)).unwrap()
}

#[test]
fn an_agent_that_has_done_nothing_has_failed_at_nothing() {
    let view = shown(record());
    assert_eq!(view["success_rate"], 1.0);
    assert_eq!(view["average_response_time"], 0.0);
    assert_eq!(view["uptime_seconds"], 0.0);
    assert_eq!(view["memory_usage_mb"], Value::Null);
    assert_eq!(view["last_health_check"], Value::Null);
    assert_eq!(view["limits"]["max_concurrent_sessions"], 10);
    assert!(view.get("brain_config").is_none());
}

#[test]
fn counts_and_instances_are_summed_up() {
    let view = shown(AgentRecord {
        status: AgentStatus::Active,
        desired: DesiredState::Running,
        max_concurrent_sessions: Some(3),
        running: 2,
        queued: 5,
        totals: AgentTotals {
            sessions: 8,
            completed: 3,
            failed: 1,
            busy_seconds: 4.0,
            ..AgentTotals::default()
        },
        instances: vec![
            instance(Some(1_000_000), Some(1.5)),
            instance(Some(2_000_000), None),
            instance(None, Some(2.0)),
        ],
        started_at: Some(Timestamp::from_micros(40_000_000)),
        ..record()
    });
    assert_eq!(
        (&view["status"], &view["desired_state"]),
        (&json!("active"), &json!("running"))
    );
    assert_eq!(view["success_rate"], 0.75);
    assert_eq!(view["average_response_time"], 0.5);
    assert_eq!(view["memory_usage_mb"], 3.5);
    assert_eq!(view["last_health_check"], "1970-01-01T00:00:02Z");
    assert_eq!(view["uptime_seconds"], 60.0);
    assert_eq!(
        (&view["active_sessions"], &view["queue_depth"]),
        (&json!(2), &json!(5))
    );
    assert_eq!(view["total_sessions"], 8);
    assert_eq!(view["limits"]["max_concurrent_sessions"], 3);
    assert_eq!(view["instances"].as_array().unwrap().len(), 3);
}

#[test]
fn a_stopped_agent_is_not_up() {
    let stopped = AgentRecord {
        status: AgentStatus::Stopped,
        started_at: Some(Timestamp::from_micros(0)),
        ..record()
    };
    assert_eq!(shown(stopped)["uptime_seconds"], 0.0);
}
