//! Registrations in every dialect and the `agent_config` that the factory gets of them.

use serde_json::{Value, json};

use crate::brain_factory::agent_config;
use crate::domain::{
    AgentRecord, AgentStatus, AgentTotals, DesiredState, LoadBalancing, Registration, Timestamp,
};

/// What the factory gets for an agent that was registered with `body`.
fn config_of(body: Value) -> Value {
    let registration = Registration::parse(body).unwrap();
    agent_config(&AgentRecord {
        agent_id: registration.agent_id,
        agent_name: registration.agent_name,
        domain: registration.domain,
        brain_config: registration.brain_config,
        deployment_id: registration.deployment_id,
        registered_instances: Vec::new(),
        instances_wanted: 1,
        load_balancing: LoadBalancing::default(),
        extra: registration.extra,
        desired: DesiredState::Running,
        status: AgentStatus::Registered,
        status_reason: None,
        max_concurrent_sessions: None,
        running: 0,
        queued: 0,
        totals: AgentTotals::default(),
        instances: Vec::new(),
        registered_at: Timestamp::from_micros(0),
        started_at: None,
    })
}

/// An `agent_config` as the factory itself accepts it.
fn valid() -> Value {
    json!({
        "agent_id": "a", "name": "Named",
        "persona": {"name": "P", "description": "D", "domain": "claims", "expertise_level": "expert",
            "learning_objectives": ["x"]},
        "reasoning_config": {"pattern": "Multi-Agent", "fallback_patterns": ["ReAct"], "confidence_threshold": 0.7},
        "memory_config": {"vector_memory_enabled": true, "max_memory_items": 5},
        "plugin_config": {"enabled_plugins": ["calc"], "auto_discovery": false},
        "execution_limits": {"max_steps": 3},
        "monitoring_config": {"enabled": true}
    })
}

#[test]
fn the_registration_of_the_service_description_is_understood() {
    let config = config_of(json!({
        "agent_id": "underwriting_agent_01",
        "agent_name": "Underwriting Assistant",
        "domain": "underwriting",
        "brain_config": {
            "persona": {"role": "Underwriting Analyst", "expertise": ["risk"], "personality": "balanced"},
            "reasoningPattern": "react",
            "components": [{"id": "c1", "type": "memory"}],
            "connections": [{"from": "c1", "to": "c2"}]
        },
        "deployment_id": "deploy_001"
    }));
    assert_eq!(
        config,
        json!({
            "agent_id": "underwriting_agent_01",
            "name": "Underwriting Assistant",
            "persona": {
                "name": "Underwriting Analyst",
                "description": "Underwriting Analyst, expert in risk; personality: balanced",
                "domain": "underwriting"
            },
            "reasoning_config": {"pattern": "ReAct"},
            "memory_config": {"vector_memory_enabled": false},
            "plugin_config": {},
            "components": [{"id": "c1", "type": "memory"}],
            "connections": [{"from": "c1", "to": "c2"}]
        })
    );
}

#[test]
fn a_valid_agent_config_stays_as_it_is() {
    assert_eq!(
        config_of(json!({"agent_id": "a", "agent_name": "Other", "brain_config": valid()})),
        valid()
    );
}

#[test]
fn a_config_among_the_other_fields_or_inside_a_factory_answer_is_found() {
    for body in [
        json!({"agent_id": "a", "agent_config": valid(), "resource_requirements": {"cpu": "1"}}),
        json!({"agent_id": "a", "agentConfig": valid(), "brain_config": {}}),
        json!({"agent_id": "a", "brain_config": {"success": true, "agent_endpoint": "http://b/agents/a",
            "status": "ready", "agent_config": valid()}}),
        json!({"agent_id": "a", "brain_config": {"success": true, "status": "ready", "validation_results": [],
            "creation_metadata": {"agent_config": valid()}}}),
    ] {
        assert_eq!(config_of(body.clone()), valid(), "{body}");
    }
}

#[test]
fn the_agent_keeps_its_own_id_whatever_a_config_says() {
    let config = config_of(json!({"agent_id": "mine", "brain_config": valid()}));
    assert_eq!(config["agent_id"], "mine");
}

#[test]
fn the_callback_of_the_factory_takes_its_persona_from_the_other_fields() {
    let config = config_of(json!({
        "agent_id": "a",
        "brain_config": {"reasoning_pattern": "Planning", "memory_config": {"working_memory_enabled": true},
            "plugin_config": {"auto_discovery": true}},
        "agent_config": valid()
    }));
    assert_eq!(config["persona"], valid()["persona"]);
    assert_eq!(
        config["memory_config"],
        json!({"working_memory_enabled": true, "vector_memory_enabled": false})
    );
    assert_eq!(config["plugin_config"], json!({"auto_discovery": true}));
}

#[test]
fn without_a_persona_one_is_made_from_name_and_domain() {
    let answer = json!({"success": true, "agent_id": "a", "agent_endpoint": "http://b/agents/a", "status": "ready",
        "validation_results": [], "creation_metadata": {}, "error_message": null});
    for brain_config in [Value::Null, json!({}), answer] {
        let config = config_of(
            json!({"agent_id": "a", "agent_name": "Claims Helper", "domain": "claims",
            "brain_config": brain_config}),
        );
        let expected = json!({
            "agent_id": "a", "name": "Claims Helper",
            "persona": {"name": "Claims Helper", "description": "Claims Helper, working in claims", "domain": "claims"},
            "reasoning_config": {"pattern": "ReAct"},
            "memory_config": {"vector_memory_enabled": false},
            "plugin_config": {}
        });
        assert_eq!(config, expected);
    }
    let bare = config_of(json!({"agent_id": "a"}));
    assert_eq!(
        bare["persona"],
        json!({"name": "a", "description": "a", "domain": "general"})
    );
}

#[test]
fn sections_in_camel_case_become_snake_case() {
    let config = config_of(json!({"agent_id": "a", "brain_config": {
        "persona": {"name": "P", "description": "", "expertiseLevel": "expert", "riskTolerance": null},
        "reasoningConfig": {"pattern": "reflection", "fallbackPatterns": ["react", "multi_agent"],
            "confidenceThreshold": 0.9},
        "memoryConfig": {"vectorMemoryEnabled": true, "memoryTTLSeconds": 60, "maxMemoryItems": null},
        "pluginConfig": {"domainPlugins": ["fraud"], "genericPlugins": []},
        "executionLimits": {"maxSteps": 2},
        "edges": [["a", "b"]]
    }}));
    let expected = json!({
        "agent_id": "a", "name": "a",
        "persona": {"name": "P", "description": "P", "domain": "general", "expertise_level": "expert"},
        "reasoning_config": {"pattern": "Reflection", "fallback_patterns": ["ReAct", "Multi-Agent"],
            "confidence_threshold": 0.9},
        "memory_config": {"vector_memory_enabled": true, "memory_ttl_seconds": 60},
        "plugin_config": {"domain_plugins": ["fraud"], "generic_plugins": []},
        "execution_limits": {"max_steps": 2},
        "connections": [["a", "b"]]
    });
    assert_eq!(config, expected);
}

#[test]
fn vector_memory_is_off_unless_told_otherwise() {
    for (memory, expected) in [
        (json!({}), false),
        (json!({"vector_memory_enabled": null}), false),
        (json!({"vector_memory_enabled": true}), true),
        (json!("redis"), false),
    ] {
        let config = config_of(json!({"agent_id": "a", "brain_config": {"memory_config": memory}}));
        assert_eq!(config["memory_config"]["vector_memory_enabled"], expected);
    }
}

#[test]
fn sections_of_an_unexpected_kind_are_made_the_best_of() {
    let config = config_of(json!({"agent_id": "a", "brain_config": {
        "persona": "Claims Clerk", "reasoning_pattern": 5, "plugins": ["calc"], "memory": true
    }}));
    assert_eq!(config["persona"]["name"], "Claims Clerk");
    assert_eq!(config["reasoning_config"], json!({"pattern": "ReAct"}));
    assert_eq!(
        config["plugin_config"],
        json!({"enabled_plugins": ["calc"]})
    );
}
