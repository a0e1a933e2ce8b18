//! What a configuration is refused for, and which field the refusal names.

use serde_json::{Value, json};

use super::{TestFactory, config, config_with};

/// The fields of the errors that `config` is refused with.
async fn refused(config: Value) -> Vec<String> {
    let factory = TestFactory::start().await;
    let answer = factory.generate(config).await;
    assert!(!answer.success && answer.agent_endpoint.is_none());
    assert_eq!(answer.status.as_deref(), Some("failed"));
    assert!(answer.error_message.is_some());
    assert_eq!(factory.get("/agents/a/status").await.status(), 404);
    let errors = answer
        .validation_results
        .into_iter()
        .filter(|result| !result.is_valid);
    errors.map(|result| result.field.unwrap()).collect()
}

async fn refused_graph(components: Value, connections: Value) -> Vec<String> {
    let graph = json!({"components": components, "connections": connections});
    refused(config_with("a", graph)).await
}

#[tokio::test]
async fn every_missing_section_is_named_at_once() {
    let fields = refused(json!({})).await;
    for field in [
        "agent_id",
        "name",
        "persona",
        "reasoning_config",
        "memory_config",
        "plugin_config",
    ] {
        assert!(fields.iter().any(|found| found == field), "{field}");
    }
}

#[tokio::test]
async fn patterns_are_case_sensitive() {
    for (pattern, accepted) in [
        ("ReAct", true),
        ("Reflection", true),
        ("Planning", true),
        ("Multi-Agent", true),
        ("react", false),
        ("planning", false),
    ] {
        let factory = TestFactory::start().await;
        let config = config_with("a", json!({"reasoning_config": {"pattern": pattern}}));
        assert_eq!(
            factory.generate(config).await.success,
            accepted,
            "{pattern}"
        );
    }
}

#[tokio::test]
async fn a_persona_needs_its_name_description_and_domain() {
    let fields = refused(config_with("a", json!({"persona": {"name": "Ada"}}))).await;
    assert_eq!(fields, ["persona.description", "persona.domain"]);
}

#[tokio::test]
async fn vector_memory_must_be_spoken_of_and_is_not_there() {
    let fields = refused(config_with("a", json!({"memory_config": {}}))).await;
    assert_eq!(fields, ["memory_config.vector_memory_enabled"]);
    let factory = TestFactory::start().await;
    let wanted = json!({"memory_config": {"vector_memory_enabled": true}});
    let answer = factory.generate(config_with("a", wanted)).await;
    assert!(answer.success);
    let warning = &answer.validation_results[0];
    assert_eq!(warning.severity.as_deref(), Some("warning"));
}

#[tokio::test]
async fn a_plugin_that_is_only_a_name_is_a_warning() {
    let factory = TestFactory::start().await;
    let plugins = json!({"plugin_config": {"domain_plugins": ["risk_calculator"]}});
    let answer = factory.generate(config_with("a", plugins)).await;
    assert!(answer.success);
    let warning = &answer.validation_results[0];
    assert_eq!(warning.severity.as_deref(), Some("warning"));
    assert_eq!(
        warning.field.as_deref(),
        Some("plugin_config.domain_plugins[0]")
    );
}

#[tokio::test]
async fn a_connection_to_nowhere_is_named() {
    let components = json!([{"id": "one", "type": "x"}, {"name": "two", "kind": "x"}]);
    let connections = json!([{"from": "one", "to": "two"}, {"source": "one", "target": "three"}]);
    assert_eq!(
        refused_graph(components, connections).await,
        ["connections[1].target"]
    );
}

#[tokio::test]
async fn the_connection_that_closes_a_cycle_is_named() {
    let components = json!([{"id": "a"}, {"id": "b"}, {"id": "c"}, {"id": "d"}]);
    let connections = json!([
        {"from": "a", "to": "b"}, {"from": "b", "to": "c"}, {"from": "c", "to": "a"}, {"from": "c", "to": "d"},
    ]);
    assert_eq!(
        refused_graph(components, connections).await,
        ["connections[2].to"]
    );
}

#[tokio::test]
async fn a_cycle_of_paths_is_a_cycle_too() {
    let components = json!([
        {"id": "a", "type": "template", "config": {"template": "{{b}}"}},
        {"id": "b", "type": "template", "config": {"template": "{{a}}"}},
    ]);
    let fields = refused_graph(components, json!([])).await;
    assert_eq!(fields, ["components[1]"]);
}

#[tokio::test]
async fn faults_inside_a_component_are_named_to_the_member() {
    let cases = [
        (json!({"id": "r", "type": "rule"}), "components[0].when"),
        (
            json!({"id": "r", "type": "rule", "config": {"when": {"all": [{"path": "x", "op": "like", "value": 1}]}}}),
            "components[0].config.when.all[0].op",
        ),
        (
            json!({"id": "r", "type": "rule", "parameters": {"when": {"path": "x", "op": "in", "value": 1}}}),
            "components[0].parameters.when.value",
        ),
        (
            json!({"id": "d", "type": "decision", "properties": {"value": "x", "thresholds": [{"min": "1", "decision": "no"}]}}),
            "components[0].properties.thresholds[0].min",
        ),
        (
            json!({"id": "d", "type": "decision", "config": {"thresholds": [{"min": 1, "decision": "yes"}]}}),
            "components[0]",
        ),
        (
            json!({"id": "t", "type": "template", "config": {"template": "open {{x"}}),
            "components[0].config.template",
        ),
        (
            json!({"id": "h", "type": "http_tool", "config": {"name": "h", "url": "file:///etc/passwd"}}),
            "components[0].config.url",
        ),
        (json!({"type": "rule"}), "components[0].id"),
    ];
    for (component, field) in cases {
        let fields = refused_graph(json!([component.clone()]), json!([])).await;
        assert_eq!(fields, [field], "{component}");
    }
}

#[tokio::test]
async fn two_components_or_tools_of_one_name_are_refused() {
    let twins = json!([{"id": "x"}, {"id": "x"}]);
    assert_eq!(refused_graph(twins, json!([])).await, ["components[1].id"]);
    let tool = json!({"name": "lookup", "url": "http://localhost/"});
    let fields = refused(config_with(
        "a",
        json!({"plugin_config": {"tools": [tool, tool]}}),
    ))
    .await;
    assert_eq!(fields, ["plugin_config.tools[1].name"]);
}

#[tokio::test]
async fn a_limit_of_nothing_is_refused() {
    let limits = json!({"execution_limits": {"max_concurrent_tasks": 0}});
    assert_eq!(
        refused(config_with("a", limits)).await,
        ["execution_limits.max_concurrent_tasks"]
    );
    assert_eq!(refused(config("..")).await, ["agent_id"]);
}
