//! Who is chosen, and who is not.

use serde_json::json;

use super::*;
use crate::domain::{InstanceId, InstanceRecord, InstanceState, OutcomeCounts, Registration};

fn now() -> Timestamp {
    Timestamp::from_micros(1_772_366_400_000_000)
}

/// An active agent with the limit of ten that registered with `extra`.
fn candidate(name: &str, extra: Value) -> Candidate {
    let mut body = extra;
    body["agent_id"] = json!(name);
    let registration = Registration::parse(body).unwrap();
    let instance = InstanceRecord {
        instance_id: InstanceId::generate(),
        endpoint: "http://127.0.0.1:1/agents/x".to_owned(),
        state: InstanceState::Healthy,
        made: None,
        draining: false,
        weight: 100,
        learnt: crate::domain::Capacity::default(),
        circuit: crate::domain::Circuit::default(),
        capacity: None,
        running: 0,
        created_at: now(),
        last_health_check: Some(now()),
        memory_usage_mb: None,
    };
    Candidate {
        agent: AgentRecord {
            agent_id: registration.agent_id,
            agent_name: None,
            domain: registration.domain,
            brain_config: None,
            deployment_id: None,
            registered_instances: Vec::new(),
            instances_wanted: 1,
            load_balancing: crate::domain::LoadBalancing::default(),
            extra: registration.extra,
            desired: DesiredState::Running,
            status: AgentStatus::Active,
            status_reason: None,
            max_concurrent_sessions: None,
            running: 0,
            queued: 0,
            totals: Default::default(),
            instances: vec![instance],
            registered_at: now(),
            started_at: Some(now()),
        },
        limit: 10,
        lately: Performance::default(),
        experience: Experience::default(),
    }
}

fn declaring(name: &str) -> Candidate {
    candidate(name, json!({"task_types": ["quote", "Risk"]}))
}

fn wanted(domain: Option<&str>) -> Wanted<'_> {
    Wanted {
        task_type: "risk",
        domain,
        max_queue_depth: 100,
        auto_start: true,
        now: now(),
    }
}

fn chosen(candidates: &[Candidate]) -> Result<String, NobodyFits> {
    let choice = choose(&wanted(None), candidates, |_| 0)?;
    assert_eq!(
        choice.ranked[0].agent_id,
        candidates[choice.place].agent.agent_id
    );
    Ok(choice.ranked[0].agent_id.to_string())
}

#[test]
fn who_declares_the_type_can_do_it_and_who_has_done_it_can_too() {
    let mut experienced = candidate("experienced", json!({}));
    experienced.experience.completed = 3;
    let stranger = candidate("stranger", json!({"capabilities": ["quote"]}));
    let all = [stranger, experienced, declaring("declaring")];
    let choice = choose(&wanted(None), &all, |_| 0).unwrap();
    let names: Vec<_> = choice.ranked.iter().map(|r| r.agent_id.as_str()).collect();
    assert_eq!(names, ["declaring", "experienced"]);
    assert!(choice.reasons.contains(&"it declares risk".to_owned()));
}

#[test]
fn the_better_its_experience_the_sooner_an_agent_is_chosen() {
    let of = |name: &str, completed, failed| Candidate {
        experience: Experience { completed, failed },
        ..declaring(name)
    };
    assert_eq!(chosen(&[of("a", 50, 50), of("b", 95, 5)]).unwrap(), "b");
    assert_eq!(chosen(&[of("a", 1, 0), of("b", 100, 0)]).unwrap(), "b");
    assert_eq!(chosen(&[of("a", 0, 100), of("b", 0, 0)]).unwrap(), "b");
}

#[test]
fn the_healthier_and_the_less_busy_agent_is_chosen() {
    let mut ill = declaring("a");
    ill.lately.outcomes = OutcomeCounts {
        failed: 60,
        completed: 40,
        ..OutcomeCounts::default()
    };
    assert_eq!(chosen(&[ill, declaring("b")]).unwrap(), "b");
    let mut busy = declaring("a");
    busy.agent.running = 8;
    assert_eq!(chosen(&[busy, declaring("b")]).unwrap(), "b");
    let mut idle = declaring("a");
    idle.agent.desired = DesiredState::Idle;
    idle.agent.status = AgentStatus::Registered;
    assert_eq!(chosen(&[idle, declaring("b")]).unwrap(), "b");
}

#[test]
fn what_was_given_to_an_agent_meanwhile_counts_as_work() {
    let all = [declaring("a"), declaring("b")];
    let mut picked = [0u32, 0];
    for _ in 0..10 {
        let choice = choose(&wanted(None), &all, |place| picked[place]).unwrap();
        picked[choice.place] += 1;
    }
    assert_eq!(picked, [5, 5]);
}

#[test]
fn in_a_domain_one_that_declares_nothing_will_do_when_nobody_knows_better() {
    let generalist = || candidate("a", json!({"domain": "d"}));
    let specialist = candidate("b", json!({"domain": "d", "task_types": ["quote"]}));
    let choice = choose(&wanted(Some("d")), &[generalist(), specialist], |_| 0).unwrap();
    assert_eq!(choice.ranked.len(), 1);
    assert_eq!(choice.place, 0);
    let better = [generalist(), declaring("c")];
    let choice = choose(&wanted(Some("d")), &better, |_| 0).unwrap();
    assert_eq!((choice.place, choice.ranked.len()), (1, 2));
    // Without a domain, nothing speaks for it.
    assert!(chosen(&[generalist()]).is_err());
}

#[test]
fn why_nobody_fits_is_said() {
    let nobody =
        |domain, candidates: &[Candidate]| choose(&wanted(domain), candidates, |_| 0).unwrap_err();
    assert_eq!(nobody(Some("d"), &[]), NobodyFits::Domain);
    assert_eq!(nobody(None, &[]), NobodyFits::TaskType { in_domain: false });
    let mut paused = declaring("a");
    paused.agent.desired = DesiredState::Paused;
    let mut failed = declaring("b");
    failed.agent.status = AgentStatus::Failed;
    let not_now = nobody(None, &[paused, failed]);
    let why = "none of the 2 agents that can do it takes tasks: agent a is paused";
    assert_eq!(not_now.to_string(), why);
    let mut full = declaring("a");
    full.agent.queued = 100;
    assert_eq!(nobody(None, &[full]), NobodyFits::Full { able: 1 });
}
