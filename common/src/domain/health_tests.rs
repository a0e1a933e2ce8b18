//! What takes from the score of an agent.

use super::*;
use crate::domain::{AgentId, AgentTotals, Histogram, InstanceId, InstanceRecord, OutcomeCounts};

fn now() -> Timestamp {
    Timestamp::from_micros(1_772_366_400_000_000)
}

fn instance(state: InstanceState, checked: Duration) -> InstanceRecord {
    InstanceRecord {
        instance_id: InstanceId::generate(),
        endpoint: "http://127.0.0.1:1/agents/a".to_owned(),
        state,
        made: None,
        draining: false,
        weight: 100,
        learnt: crate::domain::Capacity::default(),
        circuit: crate::domain::Circuit::default(),
        capacity: None,
        running: 0,
        created_at: now(),
        last_health_check: Some(now().minus(checked)),
        memory_usage_mb: None,
    }
}

fn agent() -> AgentRecord {
    AgentRecord {
        agent_id: AgentId::parse("a").unwrap(),
        agent_name: None,
        domain: None,
        brain_config: None,
        deployment_id: None,
        registered_instances: Vec::new(),
        instances_wanted: 1,
        load_balancing: crate::domain::LoadBalancing::default(),
        extra: serde_json::Map::new(),
        desired: DesiredState::Running,
        status: AgentStatus::Active,
        status_reason: None,
        max_concurrent_sessions: None,
        running: 0,
        queued: 0,
        totals: AgentTotals::default(),
        instances: vec![instance(InstanceState::Healthy, Duration::ZERO)],
        registered_at: now(),
        started_at: None,
    }
}

/// Sessions that took `seconds` each.
fn sessions(completed: u64, failed: u64, seconds: u64) -> Performance {
    let mut performance = Performance {
        outcomes: OutcomeCounts {
            completed,
            failed,
            ..OutcomeCounts::default()
        },
        ..Performance::default()
    };
    let slot = Histogram::slot_of(Duration::from_secs(seconds));
    performance.response_time.add(slot, completed + failed);
    if failed > 0 {
        performance.errors.insert("agent_failed".to_owned(), failed);
    }
    performance
}

fn health(agent: &AgentRecord, lately: &Performance) -> Health {
    Health::of(&HealthEvidence {
        agent,
        limit: 10,
        lately,
        usually: &sessions(1_000, 0, 1),
        now: now(),
    })
}

#[test]
fn an_agent_at_which_nothing_is_wrong_has_the_best_score_and_no_reason() {
    for lately in [Performance::default(), sessions(100, 2, 1)] {
        let health = health(&agent(), &lately);
        assert_eq!(health.score, 100, "{:?}", health.reasons);
        assert_eq!(health.status, HealthStatus::Healthy);
        assert!(health.reasons.is_empty());
    }
}

#[test]
fn the_more_sessions_fail_the_lower_is_the_score() {
    let of = |failed| health(&agent(), &sessions(100 - failed, failed, 1));
    assert_eq!(of(10).status, HealthStatus::Healthy);
    assert_eq!(of(40).status, HealthStatus::Degraded);
    assert_eq!(of(100).status, HealthStatus::Unhealthy);
    assert_eq!(
        of(40).reasons,
        ["40 % of its sessions of the last 15 minutes failed, most of them with agent_failed"]
    );
    let scores: Vec<u32> = (0..=100).map(|failed| of(failed).score).collect();
    assert!(scores.windows(2).all(|pair| pair[0] >= pair[1]));
    // A few say nothing.
    assert_eq!(health(&agent(), &sessions(0, 4, 1)).score, 100);
}

#[test]
fn what_is_wanted_and_observed_decides_first() {
    let of = |desired, status| {
        let agent = AgentRecord {
            desired,
            status,
            status_reason: Some("no such model".to_owned()),
            ..agent()
        };
        health(&agent, &Performance::default())
    };
    use {AgentStatus as Is, DesiredState as Wanted, HealthStatus as H};
    assert_eq!(of(Wanted::Idle, Is::Registered).status, H::Healthy);
    assert_eq!(of(Wanted::Running, Is::Starting).status, H::Degraded);
    assert_eq!(of(Wanted::Paused, Is::Paused).status, H::Degraded);
    assert_eq!(of(Wanted::Stopped, Is::Stopped).score, 0);
    let failed = of(Wanted::Running, Is::Failed);
    assert_eq!(failed.status, H::Unhealthy);
    assert_eq!(failed.reasons, ["it could not be started: no such model"]);
}

#[test]
fn instances_that_take_no_tasks_weigh_by_their_share() {
    let of = |states: &[InstanceState]| {
        let instances = states.iter();
        let agent = AgentRecord {
            instances: instances
                .map(|state| instance(*state, Duration::ZERO))
                .collect(),
            ..agent()
        };
        health(&agent, &Performance::default())
    };
    use InstanceState::{Healthy, Lost, Unhealthy};
    assert_eq!(of(&[Unhealthy, Lost]).score, 0);
    assert_eq!(of(&[]).score, 0);
    assert_eq!(of(&[Healthy, Unhealthy]).score, 70);
    let one_of_four = of(&[Healthy, Healthy, Healthy, Unhealthy]);
    assert_eq!(one_of_four.status, HealthStatus::Healthy);
    assert_eq!(one_of_four.reasons, ["3 of its 4 instances take tasks"]);
}

#[test]
fn slow_sessions_long_waits_and_a_long_queue_take_from_the_score() {
    assert_eq!(health(&agent(), &sessions(100, 0, 3)).score, 85);
    assert_eq!(health(&agent(), &sessions(100, 0, 30)).score, 70);
    let waiting = |seconds| {
        let mut lately = sessions(100, 0, 1);
        let slot = Histogram::slot_of(Duration::from_secs(seconds));
        lately.queue_wait.add(slot, 100);
        health(&agent(), &lately).score
    };
    assert_eq!([waiting(5), waiting(60), waiting(600)], [100, 90, 75]);
    let crowded = AgentRecord {
        queued: 101,
        ..agent()
    };
    let crowded = health(&crowded, &sessions(100, 0, 1));
    assert_eq!(crowded.reasons, ["101 tasks wait for its 10 slots"]);
}

#[test]
fn an_agent_that_was_not_seen_for_long_is_doubted_unless_its_tasks_complete() {
    let agent = AgentRecord {
        instances: vec![instance(InstanceState::Healthy, Duration::from_secs(1_800))],
        ..agent()
    };
    let idle = health(&agent, &Performance::default());
    assert_eq!(idle.reasons, ["it was last seen to be well 30 minutes ago"]);
    assert_eq!(health(&agent, &sessions(1, 0, 1)).score, 100);
}
