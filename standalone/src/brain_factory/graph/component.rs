//! One node of the graph, in any of its usual spellings.

use std::collections::HashMap;

use serde_json::Value;

use super::super::findings::Fault;
use super::decision::Decision;
use super::rule::Rule;
use super::template::Template;

/// Index of a component by its id.
pub(super) type Names<'a> = HashMap<&'a str, usize>;

pub(super) struct Component {
    pub(super) id: String,
    /// The type as it was written.
    pub(super) kind_name: String,
    pub(super) kind: Kind,
    /// The components that are connected to this one, in the order of the connections.
    pub(super) inputs: Vec<usize>,
}

pub(super) enum Kind {
    Rule(Rule),
    Decision(Decision),
    Template(Template),
    PassThrough,
}

impl Component {
    pub(super) const fn computes(&self) -> bool {
        !matches!(self.kind, Kind::PassThrough)
    }
}

impl Kind {
    /// Reads the component at `index`. References to other components are resolved by `names`.
    pub(super) fn read(component: &Value, index: usize, names: &Names<'_>) -> Result<Self, Fault> {
        let (settings, field) = settings(component, index);
        Ok(match kind_name(component) {
            Some("rule") => Self::Rule(Rule::read(settings, &field, names)?),
            Some("decision") => Self::Decision(Decision::read(settings, &field, names)?),
            Some("template") => Self::Template(Template::read(settings, &field, names)?),
            _ => Self::PassThrough,
        })
    }

    /// The components that it names in its own settings.
    pub(super) fn references(&self) -> Vec<usize> {
        match self {
            Self::Rule(rule) => rule.references(),
            Self::Decision(decision) => decision.references(),
            Self::Template(template) => template.references(),
            Self::PassThrough => Vec::new(),
        }
    }
}

/// The first text among the `names` of `of`.
pub(super) fn spelled<'a>(of: &'a Value, names: &[&str]) -> Option<&'a str> {
    let mut found = names.iter().filter_map(|name| of.get(name)?.as_str());
    found.next()
}

/// What kind of component it says to be.
pub(in super::super) fn kind_name(component: &Value) -> Option<&str> {
    spelled(component, &["type", "kind"])
}

/// The component's settings and the name of their field: a member of its own, or the component itself.
pub(in super::super) fn settings(component: &Value, index: usize) -> (&Value, String) {
    let names = ["config", "properties", "parameters"];
    let own = names
        .iter()
        .find(|name| component.get(name).is_some_and(Value::is_object));
    match own {
        // A tool written in place has a JSON schema as its `parameters`.
        Some(name) if !(*name == "parameters" && component.get("url").is_some()) => {
            (&component[*name], format!("components[{index}].{name}"))
        }
        Some(_) | None => (component, format!("components[{index}]")),
    }
}
