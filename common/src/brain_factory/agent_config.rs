//! From what was registered to the Brain Factory's `agent_config`, whichever dialect it was written in.

use serde_json::{Map, Value, json};

use super::spelling::{reasoning_pattern, snake_case_fields};
use crate::domain::AgentRecord;

/// The pattern of an agent that was registered without one.
const DEFAULT_PATTERN: &str = "ReAct";

/// The domain of an agent that was registered without one.
const DEFAULT_DOMAIN: &str = "general";

/// The names under which a registration or a factory's answer carries a whole configuration.
const NESTED: [&str; 4] = ["agent_config", "agentConfig", "brain_config", "brainConfig"];

/// The factory's `agent_config` for `agent`.
///
/// Every section is taken from the first source that has something in it: the registration's `brain_config`, a
/// configuration inside of it (it may be a whole answer of the factory), one among the other registered fields. What
/// no source has is made up from the agent's name and domain.
#[must_use]
pub fn agent_config(agent: &AgentRecord) -> Value {
    let sources = Sources::of(agent);
    let id = agent.agent_id.as_str();
    let name = sources
        .text(&["name"])
        .or(agent.agent_name.as_deref())
        .or_else(|| sources.text(&["agent_name", "agentName"]))
        .unwrap_or(id);
    let domain = agent
        .domain
        .as_deref()
        .or_else(|| sources.text(&["domain"]));
    let mut config = Map::new();
    let mut set = |section: &str, value: Value| config.insert(section.to_owned(), value);
    set("agent_id", json!(id));
    set("name", json!(name));
    set("persona", persona(&sources, name, domain));
    set("reasoning_config", reasoning(&sources));
    set("memory_config", memory(&sources));
    set("plugin_config", plugins(&sources));
    for (section, names) in [
        ("execution_limits", ["execution_limits", "executionLimits"]),
        (
            "monitoring_config",
            ["monitoring_config", "monitoringConfig"],
        ),
    ] {
        if let Some(Value::Object(fields)) = sources.find(&names) {
            set(section, Value::Object(snake_case_fields(fields)));
        }
    }
    for (section, names) in [
        ("components", ["components", "nodes"]),
        ("connections", ["connections", "edges"]),
    ] {
        if let Some(graph) = sources.find(&names) {
            set(section, graph.clone());
        }
    }
    Value::Object(config)
}

/// The places where a section may be, best first.
struct Sources<'a>(Vec<&'a Map<String, Value>>);

impl<'a> Sources<'a> {
    fn of(agent: &'a AgentRecord) -> Self {
        let mut sources = Vec::new();
        if let Some(config) = agent.brain_config.as_ref().and_then(Value::as_object) {
            let nested = |inside: &'a Map<String, Value>| {
                NESTED
                    .iter()
                    .filter_map(|name| inside.get(*name)?.as_object())
            };
            // The notes of a factory's answer may repeat what the agent was made of.
            let notes = config.get("creation_metadata").and_then(Value::as_object);
            sources.push(config);
            sources.extend(nested(config));
            sources.extend(notes.into_iter().flat_map(nested));
        }
        sources.extend(
            NESTED
                .iter()
                .filter_map(|name| agent.extra.get(*name)?.as_object()),
        );
        Self(sources)
    }

    /// The first value with something in it under one of `names`.
    fn find(&self, names: &[&str]) -> Option<&'a Value> {
        self.0
            .iter()
            .find_map(|source| names.iter().find_map(|name| filled(source.get(*name)?)))
    }

    fn text(&self, names: &[&str]) -> Option<&'a str> {
        self.find(names)?.as_str()
    }
}

fn filled(value: &Value) -> Option<&Value> {
    let is_filled = match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    };
    is_filled.then_some(value)
}

/// `role`, `expertise` and `personality` are unknown to the factory: they become the persona's name and description.
fn persona(sources: &Sources<'_>, agent_name: &str, domain: Option<&str>) -> Value {
    let mut persona = match sources.find(&["persona"]) {
        Some(Value::Object(fields)) => snake_case_fields(fields),
        Some(Value::String(role)) => Map::from_iter([("role".to_owned(), json!(role))]),
        Some(_) | None => Map::new(),
    };
    let role = text(persona.shift_remove("role"));
    let expertise = match persona.shift_remove("expertise") {
        Some(Value::Array(fields)) => fields.into_iter().filter_map(|f| text(Some(f))).collect(),
        other => text(other).into_iter().collect::<Vec<_>>(),
    };
    let personality = text(persona.shift_remove("personality"));
    let name = text(persona.shift_remove("name"));
    let name = name.or_else(|| role.clone());
    let name = name.unwrap_or_else(|| agent_name.to_owned());
    let field = text(persona.shift_remove("domain")).or_else(|| domain.map(str::to_owned));
    let description = text(persona.shift_remove("description")).unwrap_or_else(|| {
        let mut described = role.unwrap_or_else(|| name.clone());
        if !expertise.is_empty() {
            described.push_str(", expert in ");
            described.push_str(&expertise.join(", "));
        } else if let Some(field) = &field {
            described.push_str(", working in ");
            described.push_str(field);
        }
        if let Some(personality) = personality {
            described.push_str("; personality: ");
            described.push_str(&personality);
        }
        described
    });
    let required = json!({
        "name": name,
        "description": description,
        "domain": field.as_deref().unwrap_or(DEFAULT_DOMAIN),
    });
    merged(required, persona)
}

fn reasoning(sources: &Sources<'_>) -> Value {
    let mut config = match sources.find(&["reasoning_config", "reasoningConfig"]) {
        Some(Value::Object(fields)) => snake_case_fields(fields),
        Some(_) | None => Map::new(),
    };
    let inside = ["pattern", "reasoning_pattern"]
        .iter()
        .find_map(|name| text(config.shift_remove(*name)));
    let pattern = inside
        .as_deref()
        .or_else(|| sources.text(&["reasoning_pattern", "reasoningPattern"]))
        .unwrap_or(DEFAULT_PATTERN);
    if let Some(Value::Array(fallbacks)) = config.get_mut("fallback_patterns") {
        for fallback in fallbacks {
            if let Some(spelled) = fallback.as_str().map(reasoning_pattern) {
                *fallback = json!(spelled);
            }
        }
    }
    merged(json!({"pattern": reasoning_pattern(pattern)}), config)
}

/// The factory fails on its own default of `vector_memory_enabled`, so it is always said.
fn memory(sources: &Sources<'_>) -> Value {
    let names = ["memory_config", "memoryConfig", "memory"];
    let mut config = match sources.find(&names) {
        Some(Value::Object(fields)) => snake_case_fields(fields),
        Some(_) | None => Map::new(),
    };
    config
        .entry("vector_memory_enabled")
        .or_insert(Value::Bool(false));
    Value::Object(config)
}

/// A bare list of plugins enables them.
fn plugins(sources: &Sources<'_>) -> Value {
    match sources.find(&["plugin_config", "pluginConfig", "plugins"]) {
        Some(Value::Object(fields)) => Value::Object(snake_case_fields(fields)),
        Some(Value::Array(plugins)) => json!({"enabled_plugins": plugins}),
        Some(_) | None => json!({}),
    }
}

fn text(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) => Some(text).filter(|text| !text.trim().is_empty()),
        Some(_) | None => None,
    }
}

/// `first`, an object, with the fields of `more` after its own.
fn merged(mut first: Value, more: Map<String, Value>) -> Value {
    if let Value::Object(fields) = &mut first {
        fields.extend(more);
    }
    first
}
