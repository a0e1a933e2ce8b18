//! From `components` and `connections` to a graph, or to findings that name the faulty field.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::findings::{Fault, Findings};
use super::Graph;
use super::component::{Component, Kind, Names, kind_name, spelled};

/// The most components of one agent.
const MAX_COMPONENTS: usize = 500;
/// The most connections of one agent.
const MAX_CONNECTIONS: usize = 2_000;

/// An edge from a component to one that reads it.
#[derive(Clone, Copy)]
struct Edge {
    from: usize,
    to: usize,
}

/// Compiles the graph of `config`; `None` when a finding says why not.
pub(in super::super) fn compile(config: &Value, findings: &mut Findings) -> Option<Graph> {
    let listed = list(config, "components", MAX_COMPONENTS, findings)?;
    let edges_name = if config.get("connections").is_some() {
        "connections"
    } else {
        "edges"
    };
    let connected = list(config, edges_name, MAX_CONNECTIONS, findings)?;
    let names = names(listed, findings)?;
    let mut kinds = Vec::with_capacity(listed.len());
    for (index, component) in listed.iter().enumerate() {
        kinds.push(findings.take(Kind::read(component, index, &names)));
    }
    let mut edges = Vec::with_capacity(connected.len());
    for (index, connection) in connected.iter().enumerate() {
        let field = format!("{edges_name}[{index}]");
        edges.push(findings.take(edge(connection, &field, &names)));
    }
    // Faulty ones were noted above; only a whole graph is worth ordering.
    let kinds = kinds.into_iter().collect::<Option<Vec<_>>>()?;
    let edges = edges.into_iter().collect::<Option<Vec<_>>>()?;
    for (index, kind) in kinds.iter().enumerate() {
        if let Kind::Decision(decision) = kind
            && decision.adds_up()
            && !edges.iter().any(|edge| edge.to == index)
        {
            findings.error(
                Fault::new(
                    format!("components[{index}]"),
                    "A decision needs a value or a connection to it",
                )
                .suggest("Connect the rules whose scores it adds up, or name a path in value"),
            );
            return None;
        }
    }
    let references: Vec<Edge> = kinds
        .iter()
        .enumerate()
        .flat_map(|(to, kind)| {
            kind.references()
                .into_iter()
                .map(move |from| Edge { from, to })
        })
        .collect();
    let all: Vec<Edge> = references.iter().chain(&edges).copied().collect();
    let Some(order) = order(listed.len(), &all) else {
        let closing = closing_edge(listed.len(), &all);
        findings.error(cycle(&all, closing, references.len(), edges_name, &names));
        return None;
    };
    let read: BTreeSet<usize> = all.iter().map(|edge| edge.from).collect();
    let sinks = order
        .iter()
        .copied()
        .filter(|index| !read.contains(index))
        .collect();
    let components = kinds
        .into_iter()
        .zip(listed)
        .enumerate()
        .map(|(index, (kind, component))| {
            let mut inputs: Vec<usize> = Vec::new();
            for edge in edges.iter().filter(|edge| edge.to == index) {
                if !inputs.contains(&edge.from) {
                    inputs.push(edge.from);
                }
            }
            Component {
                id: spelled(component, &["id", "name"])
                    .unwrap_or_default()
                    .to_owned(),
                kind_name: kind_name(component).unwrap_or_default().to_owned(),
                kind,
                inputs,
            }
        });
    Some(Graph {
        components: components.collect(),
        order,
        sinks,
    })
}

/// The list under `name`; empty when there is none.
fn list<'a>(
    config: &'a Value,
    name: &str,
    most: usize,
    findings: &mut Findings,
) -> Option<&'a [Value]> {
    match config.get(name) {
        None | Some(Value::Null) => Some(&[]),
        Some(Value::Array(items)) if items.len() <= most => Some(items),
        Some(_) => {
            findings.error(Fault::new(
                name,
                format!("Must be a list of at most {most} items"),
            ));
            None
        }
    }
}

fn names<'a>(listed: &'a [Value], findings: &mut Findings) -> Option<Names<'a>> {
    let mut names = Names::new();
    let mut whole = true;
    for (index, component) in listed.iter().enumerate() {
        let field = format!("components[{index}].id");
        let fault = match spelled(component, &["id", "name"]) {
            None | Some("") => Fault::new(field, "A component needs an id"),
            Some("input") => {
                Fault::new(field, "'input' means the task's input").suggest("Use another id")
            }
            Some(id) => match names.insert(id, index) {
                None => continue,
                Some(_) => Fault::new(
                    field,
                    format!("There are two components with the id '{id}'"),
                ),
            },
        };
        findings.error(fault);
        whole = false;
    }
    whole.then_some(names)
}

fn edge(connection: &Value, field: &str, names: &Names<'_>) -> Result<Edge, Fault> {
    let end = |spellings: [&str; 2]| {
        let written = spellings.iter().find(|name| connection.get(name).is_some());
        let field = format!("{field}.{}", written.unwrap_or(&spellings[0]));
        let id = spelled(connection, &spellings)
            .ok_or_else(|| Fault::new(&*field, "A connection names a component here"))?;
        let index = names.get(id).copied();
        index.ok_or_else(|| Fault::new(field, format!("There is no component '{id}'")))
    };
    Ok(Edge {
        from: end(["from", "source"])?,
        to: end(["to", "target"])?,
    })
}

/// Every component after all that it reads, otherwise as listed; `None` when there is a cycle.
fn order(count: usize, edges: &[Edge]) -> Option<Vec<usize>> {
    let mut waiting = vec![0_usize; count];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); count];
    for edge in edges {
        waiting[edge.to] += 1;
        readers[edge.from].push(edge.to);
    }
    let mut ready: BTreeSet<usize> = (0..count).filter(|index| waiting[*index] == 0).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for &reader in &readers[index] {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    (order.len() == count).then_some(order)
}

/// The first edge that closes a cycle with those before it.
fn closing_edge(count: usize, edges: &[Edge]) -> usize {
    let (mut low, mut high) = (0, edges.len());
    // The shortest prefix with a cycle ends with the edge that closes it.
    while low < high {
        let middle = usize::midpoint(low, high);
        if order(count, &edges[..middle]).is_some() {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low.saturating_sub(1)
}

fn cycle(
    edges: &[Edge],
    closing: usize,
    references: usize,
    edges_name: &str,
    names: &Names<'_>,
) -> Fault {
    let Edge { from, to } = edges[closing];
    let id = |index: usize| {
        let named = names.iter().find(|(_, other)| **other == index);
        named.map_or("?", |(id, _)| *id)
    };
    let field = match closing.checked_sub(references) {
        Some(index) => format!("{edges_name}[{index}].to"),
        None => format!("components[{to}]"),
    };
    let message = format!("'{}' reading '{}' closes a cycle", id(to), id(from));
    Fault::new(field, message).suggest("Remove one connection or path of the cycle")
}
