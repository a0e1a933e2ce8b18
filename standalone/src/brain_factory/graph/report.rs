//! A finished run as the JSON of a task's result.

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::component::Kind;
use super::run::Outputs;
use super::{Graph, GraphError};

/// What a run of the graph came to.
#[derive(Serialize)]
pub(in super::super) struct Report<'a> {
    #[serde(flatten)]
    preamble: Option<Preamble>,
    /// The label of the last decision, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'a Value>,
    output: Ends<'a>,
    trace: Vec<Step<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passed_through: Vec<&'a str>,
}

#[derive(Serialize)]
struct Preamble {
    mode: &'static str,
    note: &'static str,
}

#[derive(Serialize)]
struct Step<'a> {
    component: &'a str,
    r#type: &'a str,
    /// Left out for a component that only handed its input on.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a Value>,
}

/// The output of the only end, or those of all ends by their ids.
struct Ends<'a>(Vec<(&'a str, &'a Value)>);

impl Serialize for Ends<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let [(_, only)] = self.0.as_slice() {
            return only.serialize(serializer);
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, value) in &self.0 {
            map.serialize_entry(id, value)?;
        }
        map.end()
    }
}

/// What a result says that was made without a model.
pub(in super::super) const NOTE: &str =
    "Made by the agent's own graph: no language model is configured.";

impl Graph {
    /// Runs the graph and writes its report; `alone` says that no language model takes part.
    ///
    /// # Errors
    /// The first component that could not run, and why.
    pub(in super::super) fn run(
        &self,
        input: &Arc<Value>,
        size: usize,
        alone: bool,
    ) -> Result<Box<RawValue>, GraphError> {
        let outputs = self.outputs(Arc::clone(input), size)?;
        let report = self.report(&outputs, alone);
        serde_json::value::to_raw_value(&report).map_err(|_| GraphError::too_large("output"))
    }

    fn report<'a>(&'a self, outputs: &'a Outputs, alone: bool) -> Report<'a> {
        let value = |index: usize| outputs.0[index].as_ref().map(|output| &*output.value);
        let id = |index: usize| self.components[index].id.as_str();
        let mut decision = None;
        let mut passed_through = Vec::new();
        let mut trace = Vec::with_capacity(self.order.len());
        for &index in &self.order {
            let component = &self.components[index];
            if let Kind::Decision(_) = component.kind {
                decision = value(index).and_then(|output| output.get("decision"));
            }
            if !component.computes() {
                passed_through.push(id(index));
            }
            trace.push(Step {
                component: id(index),
                r#type: &component.kind_name,
                output: value(index).filter(|_| component.computes()),
            });
        }
        let ends = self.sinks.iter();
        Report {
            preamble: alone.then_some(Preamble {
                mode: "deterministic",
                note: NOTE,
            }),
            decision,
            output: Ends(
                ends.filter_map(|sink| Some((id(*sink), value(*sink)?)))
                    .collect(),
            ),
            trace,
            passed_through,
        }
    }
}
