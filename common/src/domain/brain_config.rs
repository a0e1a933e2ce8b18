//! Which sections a `brain_config` carries, whatever dialect it is written in.

use std::collections::BTreeSet;

use serde_json::Value;

/// A part of a `brain_config` that means something to the Brain Factory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Who the agent is.
    Persona,
    /// How it thinks.
    Reasoning,
    /// What it remembers.
    Memory,
    /// What it can use.
    Plugins,
    /// The nodes of its graph.
    Components,
    /// The edges of its graph.
    Connections,
}

const NAMES: [(&str, Section); 14] = [
    ("persona", Section::Persona),
    ("reasoningPattern", Section::Reasoning),
    ("reasoning_pattern", Section::Reasoning),
    ("reasoningConfig", Section::Reasoning),
    ("reasoning_config", Section::Reasoning),
    ("memoryConfig", Section::Memory),
    ("memory_config", Section::Memory),
    ("memory", Section::Memory),
    ("pluginConfig", Section::Plugins),
    ("plugin_config", Section::Plugins),
    ("plugins", Section::Plugins),
    ("components", Section::Components),
    ("connections", Section::Connections),
    ("edges", Section::Connections),
];

/// The sections that `config` carries with something in them.
#[must_use]
pub fn sections(config: &Value) -> BTreeSet<Section> {
    let filled = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    };
    NAMES
        .iter()
        .filter(|(name, _)| config.get(name).is_some_and(filled))
        .map(|(_, section)| *section)
        .collect()
}

/// Whether `new` may replace `old`: a richer `brain_config` is never replaced by a poorer one.
///
/// `new` prevails when it carries every section that `old` does.
#[must_use]
pub fn prevails_over(new: &Value, old: &Value) -> bool {
    sections(new).is_superset(&sections(old))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_richer_config_is_never_replaced_by_a_poorer_one() {
        let rich = json!({"persona": {"role": "Analyst"}, "reasoningPattern": "react", "components": [{"id": "a"}]});
        let callback = json!({"reasoning_pattern": "ReAct", "memory_config": {"x": 1}, "plugin_config": {"y": 1}});
        assert!(!prevails_over(&callback, &rich));
        assert!(!prevails_over(&json!({}), &rich));
        assert!(!prevails_over(
            &json!({"persona": {}, "reasoningPattern": "react", "components": []}),
            &rich
        ));
        assert!(prevails_over(&rich, &json!({})));
        let changed = json!({"persona": {"role": "Other"}, "reasoning_pattern": "ReAct", "components": [{"id": "b"}]});
        assert!(prevails_over(&changed, &rich));
    }
}
