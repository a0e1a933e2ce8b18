//! Plans for agents that grow, shrink, and are registered anew.

use serde_json::{Map, json};

use super::*;
use crate::domain::{
    AgentStatus, AgentTotals, Capacity, Circuit, DesiredState, InstanceState, LoadBalancing,
    Registration, Timestamp,
};

fn agent(wanted: u32, registered: &[&str]) -> AgentRecord {
    let at = |endpoint: &&str| InstanceSpec::at((*endpoint).to_owned());
    AgentRecord {
        agent_id: AgentId::parse("a").unwrap(),
        agent_name: None,
        domain: None,
        brain_config: None,
        deployment_id: None,
        registered_instances: registered.iter().map(at).collect(),
        instances_wanted: wanted,
        load_balancing: LoadBalancing::default(),
        extra: Map::new(),
        desired: DesiredState::Running,
        status: AgentStatus::Active,
        status_reason: None,
        max_concurrent_sessions: None,
        running: 0,
        queued: 0,
        totals: AgentTotals::default(),
        instances: Vec::new(),
        registered_at: Timestamp::from_micros(0),
        started_at: None,
    }
}

/// Carries a plan out, and takes away what drains.
fn carried_out(mut agent: AgentRecord, is_taken: impl Fn(&AgentId) -> bool) -> AgentRecord {
    for change in plan_instances(&agent, is_taken) {
        match change {
            InstancePlan::Add { made, spec } => agent.instances.push(InstanceRecord {
                instance_id: InstanceId::generate(),
                endpoint: spec.endpoint,
                made,
                state: InstanceState::Healthy,
                draining: false,
                capacity: spec.max_concurrent_sessions,
                weight: spec.weight,
                learnt: Capacity::default(),
                circuit: Circuit::default(),
                running: 0,
                created_at: Timestamp::from_micros(0),
                last_health_check: None,
                memory_usage_mb: None,
            }),
            InstancePlan::Keep(id, spec) => {
                for instance in agent.instances.iter_mut().filter(|i| i.instance_id == id) {
                    instance.draining = false;
                    instance.weight = spec.weight;
                    instance.capacity = spec.max_concurrent_sessions;
                }
            }
            InstancePlan::Drain(id) => {
                for instance in agent.instances.iter_mut().filter(|i| i.instance_id == id) {
                    instance.draining = true;
                }
            }
        }
    }
    agent
}

fn names(agent: &AgentRecord, draining: bool) -> Vec<String> {
    let those = agent.instances.iter().filter(|i| i.draining == draining);
    let mut names: Vec<String> = those
        .map(|i| match &i.made {
            Some(made) => made.name.to_string(),
            None => i.endpoint.clone(),
        })
        .collect();
    names.sort();
    names
}

#[test]
fn an_agent_grows_shrinks_and_grows_again_and_a_carried_out_plan_leaves_nothing_to_do() {
    let grown = carried_out(agent(3, &[]), |_| false);
    assert_eq!(names(&grown, false), ["a", "a-instance-2", "a-instance-3"]);
    assert_eq!(plan_instances(&grown, |_| false), []);

    let shrunk = carried_out(
        AgentRecord {
            instances_wanted: 1,
            ..grown
        },
        |_| false,
    );
    assert_eq!(names(&shrunk, false), ["a"]);
    assert_eq!(names(&shrunk, true), ["a-instance-2", "a-instance-3"]);

    let again = carried_out(
        AgentRecord {
            instances_wanted: 2,
            ..shrunk
        },
        |_| false,
    );
    assert_eq!(names(&again, false), ["a", "a-instance-2"]);
    assert_eq!(names(&again, true), ["a-instance-3"]);
}

#[test]
fn an_instance_never_takes_the_name_of_another_agent() {
    let grown = carried_out(agent(3, &[]), |id| id.as_str() == "a-instance-2");
    assert_eq!(names(&grown, false), ["a", "a-instance-3", "a-instance-4"]);
}

#[test]
fn a_gap_is_filled_before_the_end() {
    let mut grown = carried_out(agent(3, &[]), |_| false);
    grown.instances.remove(1);
    let filled = carried_out(grown, |_| false);
    assert_eq!(names(&filled, false), ["a", "a-instance-2", "a-instance-3"]);
}

#[test]
fn registered_instances_come_stay_and_go_by_their_address() {
    let first = carried_out(agent(1, &["http://x/", "http://y/"]), |_| false);
    let kept = first.instances[1].instance_id;
    let mut again = agent(1, &["http://y/", "http://z/"]);
    again.registered_instances[0].weight = 7;
    again.instances = first.instances;
    let second = carried_out(again, |_| false);
    assert_eq!(names(&second, false), ["http://y/", "http://z/"]);
    assert_eq!(names(&second, true), ["http://x/"]);
    let y = second
        .instances
        .iter()
        .find(|i| i.instance_id == kept)
        .unwrap();
    assert_eq!(y.weight, 7);
    assert_eq!(plan_instances(&second, |_| false), []);
}

#[test]
fn a_made_agent_that_is_registered_with_addresses_leaves_the_brain_factory() {
    let made = carried_out(agent(2, &[]), |_| false);
    let registered = agent(2, &["http://x/"]);
    let moved = carried_out(
        AgentRecord {
            instances: made.instances,
            ..registered
        },
        |_| false,
    );
    assert_eq!(names(&moved, false), ["http://x/"]);
    assert_eq!(names(&moved, true), ["a", "a-instance-2"]);
}

#[test]
fn the_name_of_an_instance_is_an_agent_id_of_its_own_however_long_the_agents_is() {
    let long = |end: char| AgentId::parse(&format!("{}{end}", "x".repeat(99))).unwrap();
    let (one, other) = (instance_name(&long('a'), 12), instance_name(&long('b'), 12));
    assert_ne!(one, other);
    assert!(one.as_str().ends_with("-instance-12"));
    assert_eq!(one.as_str().len(), 100);
}

#[test]
fn every_fault_of_a_list_of_instances_is_named_with_its_place() {
    let faulty = Registration::parse(json!({"agent_id": "a", "instances": [
        {"endpoint": "http://x/"}, {"endpoint": "http://x/"}, {"endpoint": "ftp://y/", "weight": 0},
        {"weight": 1_001, "max_concurrent_sessions": 0, "color": "red"}, 7]}));
    let named: Vec<_> = faulty
        .unwrap_err()
        .0
        .into_iter()
        .map(|fault| fault.field)
        .collect();
    assert_eq!(
        named,
        [
            "instances[1].endpoint",
            "instances[2].endpoint",
            "instances[2].weight",
            "instances[3].endpoint",
            "instances[3].weight",
            "instances[3].max_concurrent_sessions",
            "instances[3].color",
            "instances[4]",
        ]
    );
    assert!(Registration::parse(json!({"agent_id": "a", "instances": []})).is_err());
}
