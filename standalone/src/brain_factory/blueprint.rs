//! An agent's configuration, checked and compiled once when the agent is made.

use orchestrator_common::domain::AgentId;
use serde_json::{Map, Value};

use super::findings::{Fault, Findings};
use super::graph::{self, Graph};
use super::model::Tool;

/// The sections that every configuration must have.
const SECTIONS: [&str; 4] = [
    "persona",
    "reasoning_config",
    "memory_config",
    "plugin_config",
];
/// The lists of `plugin_config` that may hold tools.
const PLUGIN_LISTS: [&str; 4] = [
    "tools",
    "enabled_plugins",
    "domain_plugins",
    "generic_plugins",
];

/// Everything that an execution needs to know about its agent.
pub(super) struct Blueprint {
    pub(super) agent_id: String,
    pub(super) name: String,
    pub(super) persona: Persona,
    pub(super) pattern: Pattern,
    /// Tasks at the same time; `None` means any number.
    pub(super) limit: Option<u32>,
    pub(super) graph: Graph,
    pub(super) tools: Vec<Tool>,
}

/// Who the agent is.
pub(super) struct Persona {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) domain: String,
    /// The other, optional traits as they were written, such as `risk_tolerance`.
    pub(super) traits: Map<String, Value>,
}

/// How the agent thinks; the names are case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    ReAct,
    Reflection,
    Planning,
    MultiAgent,
}

impl Pattern {
    const ALL: [Self; 4] = [
        Self::ReAct,
        Self::Reflection,
        Self::Planning,
        Self::MultiAgent,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ReAct => "ReAct",
            Self::Reflection => "Reflection",
            Self::Planning => "Planning",
            Self::MultiAgent => "Multi-Agent",
        }
    }
}

impl Blueprint {
    /// Checks `config`; `None` when the findings hold an error.
    pub(super) fn read(config: &Value) -> (Option<Self>, Findings) {
        let mut findings = Findings::default();
        for name in SECTIONS {
            if !config.get(name).is_some_and(Value::is_object) {
                findings.error(Fault::new(name, format!("`{name}` is required")));
            }
        }
        let agent_id = findings.take(agent_id(config));
        let name = findings.take(text(config, "", "name"));
        let persona = section(config, "persona").and_then(|own| persona(own, &mut findings));
        let pattern = section(config, "reasoning_config")
            .and_then(|own| findings.take(pattern(own.get("pattern"))));
        if let Some(memory) = section(config, "memory_config") {
            check_memory(memory, &mut findings);
        }
        let limit = findings.take(limit(config));
        let tools = tools(config, &mut findings);
        let graph = graph::compile(config, &mut findings);
        if !findings.errors().is_empty() {
            return (None, findings);
        }
        let blueprint = (|| {
            Some(Self {
                agent_id: agent_id?,
                name: name?,
                persona: persona?,
                pattern: pattern?,
                limit: limit?,
                graph: graph?,
                tools,
            })
        })();
        (blueprint, findings)
    }
}

fn section<'a>(config: &'a Value, name: &str) -> Option<&'a Value> {
    config.get(name).filter(|value| value.is_object())
}

fn text(from: &Value, prefix: &str, name: &str) -> Result<String, Fault> {
    match from.get(name) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
        _ => Err(Fault::new(
            format!("{prefix}{name}"),
            format!("`{name}` is required and must be a text"),
        )),
    }
}

fn agent_id(config: &Value) -> Result<String, Fault> {
    let id = text(config, "", "agent_id")?;
    // "." and ".." would be another address than the agent's own.
    if AgentId::parse(&id).is_none() || id == "." || id == ".." {
        return Err(Fault::new(
            "agent_id",
            format!("agent_id {}", AgentId::ACCEPTS),
        ));
    }
    Ok(id)
}

fn persona(own: &Value, findings: &mut Findings) -> Option<Persona> {
    let mut required = |name| findings.take(text(own, "persona.", name));
    let (name, description, domain) = (
        required("name"),
        required("description"),
        required("domain"),
    );
    let mut traits = own.as_object().cloned().unwrap_or_default();
    traits.retain(|key, value| {
        !value.is_null() && !matches!(key.as_str(), "name" | "description" | "domain")
    });
    Some(Persona {
        name: name?,
        description: description?,
        domain: domain?,
        traits,
    })
}

fn pattern(name: Option<&Value>) -> Result<Pattern, Fault> {
    let named = name.and_then(Value::as_str).unwrap_or_default();
    let known = Pattern::ALL
        .into_iter()
        .find(|pattern| pattern.as_str() == named);
    known.ok_or_else(|| {
        let fault = Fault::new(
            "reasoning_config.pattern",
            format!("Unknown reasoning pattern '{named}'"),
        );
        fault.suggest("Use ReAct, Reflection, Planning or Multi-Agent, spelled exactly so")
    })
}

/// Says what a stateless agent does not have.
fn check_memory(memory: &Value, findings: &mut Findings) {
    let vector = "vector_memory_enabled";
    if !memory.get(vector).is_some_and(Value::is_boolean) {
        // The contract's default is `true`, which the platform's factory itself fails on.
        let fault = Fault::new(
            format!("memory_config.{vector}"),
            "Vector memory is on by default and not available",
        );
        findings.error(fault.suggest("Send vector_memory_enabled: false"));
    }
    for name in [vector, "episodic_memory_enabled", "semantic_memory_enabled"] {
        if memory.get(name) == Some(&Value::Bool(true)) {
            findings.warning(Fault::new(
                format!("memory_config.{name}"),
                "The built-in Brain Factory keeps nothing between two tasks",
            ));
        }
    }
}

fn limit(config: &Value) -> Result<Option<u32>, Fault> {
    let field = "execution_limits.max_concurrent_tasks";
    match config.pointer("/execution_limits/max_concurrent_tasks") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .and_then(|limit| u32::try_from(limit).ok())
            .filter(|limit| *limit > 0)
            .map(Some)
            .ok_or_else(|| Fault::new(field, "Must be a whole number from 1")),
    }
}

/// The tools among the plugins and the components. A plugin that is only a name is not available here.
fn tools(config: &Value, findings: &mut Findings) -> Vec<Tool> {
    let mut found = Vec::new();
    for list in PLUGIN_LISTS {
        let entries = config
            .pointer(&format!("/plugin_config/{list}"))
            .and_then(Value::as_array);
        for (index, entry) in entries.into_iter().flatten().enumerate() {
            let field = format!("plugin_config.{list}[{index}]");
            if let Some(name) = entry.as_str() {
                findings.warning(
                    Fault::new(
                        field,
                        format!("Plugin '{name}' is not part of the built-in Brain Factory"),
                    )
                    .suggest("Describe an HTTP tool with name, description, url and parameters"),
                );
            } else {
                found.push((Tool::read(entry, &field), field));
            }
        }
    }
    let components = config.get("components").and_then(Value::as_array);
    for (index, component) in components.into_iter().flatten().enumerate() {
        if matches!(graph::kind_name(component), Some("http_tool" | "tool")) {
            let (settings, field) = graph::settings(component, index);
            found.push((Tool::read_component(component, settings, &field), field));
        }
    }
    let mut tools: Vec<Tool> = Vec::new();
    for (tool, field) in found {
        let Some(tool) = findings.take(tool) else {
            continue;
        };
        if tools.iter().any(|other| other.name() == tool.name()) {
            let message = format!("There are two tools named '{}'", tool.name());
            findings.error(Fault::new(format!("{field}.name"), message));
        }
        tools.push(tool);
    }
    tools
}
