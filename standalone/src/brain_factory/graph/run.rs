//! Runs a compiled graph over one task's input.

use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;

use super::Graph;
use super::component::{Component, Kind};
use super::path::Path;

/// What all outputs of one run may measure together, in bytes: connected copies could double at every step, and the
/// orchestrator reads no answer over 16 MiB.
const MAX_OUTPUT_BYTES: usize = 8 * 1024 * 1024;
/// What a number, a truth value or a label counts as.
const SMALL: usize = 64;

/// Why a graph came to no result.
#[derive(Debug, Error)]
pub(in super::super) enum GraphError {
    #[error("Missing input: component '{component}' needs '{path}'")]
    Missing { component: String, path: String },
    #[error(
        "Wrong input: component '{component}' needs '{path}' to be {wanted}, and it is {found}"
    )]
    Mismatch {
        component: String,
        path: String,
        wanted: &'static str,
        found: &'static str,
    },
    #[error(
        "Wrong input: component '{component}' adds up its inputs, and '{input}' did not give a number"
    )]
    NotANumber { component: String, input: String },
    #[error("No decision: component '{component}' has no threshold for {number} and no default")]
    Undecided { component: String, number: f64 },
    #[error("Result too large: component '{component}' would bring the result over 8 MiB")]
    TooLarge { component: String },
}

impl GraphError {
    pub(super) fn missing(component: &str, path: &Path) -> Self {
        Self::Missing {
            component: component.to_owned(),
            path: path.text.clone(),
        }
    }

    pub(super) fn mismatch(
        component: &str,
        path: &Path,
        found: &Value,
        wanted: &'static str,
    ) -> Self {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Self::Mismatch {
            component: component.to_owned(),
            path: path.text.clone(),
            wanted,
            found,
        }
    }

    pub(super) fn too_large(component: &str) -> Self {
        Self::TooLarge {
            component: component.to_owned(),
        }
    }
}

/// What a component gave, shared rather than copied, and about how many bytes it measures.
#[derive(Clone)]
pub(super) struct Output {
    pub(super) value: Arc<Value>,
    pub(super) size: usize,
}

impl Output {
    pub(super) fn of_size(value: Value, size: usize) -> Self {
        Self {
            value: Arc::new(value),
            size,
        }
    }

    pub(super) fn small(value: Value) -> Self {
        Self::of_size(value, SMALL)
    }

    /// A value of the configuration.
    pub(super) fn constant(value: Arc<Value>) -> Self {
        let size = value.to_string().len();
        Self { value, size }
    }
}

/// What a component can see.
pub(super) struct Scope<'a> {
    input: &'a Output,
    outputs: &'a [Option<Output>],
    components: &'a [Component],
}

impl Scope<'_> {
    pub(super) fn input(&self) -> &Value {
        &self.input.value
    }

    pub(super) fn output(&self, index: usize) -> Option<&Value> {
        self.outputs[index].as_ref().map(|output| &*output.value)
    }

    pub(super) fn id(&self, index: usize) -> &str {
        &self.components[index].id
    }
}

/// A finished run: what each component gave, by its index.
pub(super) struct Outputs(pub(super) Vec<Option<Output>>);

impl Graph {
    /// Runs every component after everything that it reads. `size` is about the input's size in bytes.
    pub(super) fn outputs(&self, input: Arc<Value>, size: usize) -> Result<Outputs, GraphError> {
        let input = Output { value: input, size };
        let mut outputs: Vec<Option<Output>> = vec![None; self.components.len()];
        let mut room = MAX_OUTPUT_BYTES;
        for &index in &self.order {
            let component = &self.components[index];
            let scope = Scope {
                input: &input,
                outputs: &outputs,
                components: &self.components,
            };
            let output = match &component.kind {
                Kind::Rule(rule) => rule.run(&component.id, &scope)?,
                Kind::Decision(decision) => {
                    decision.run(&component.id, &component.inputs, &scope)?
                }
                Kind::Template(template) => template.run(&component.id, room, &scope)?,
                Kind::PassThrough => hand_on(component, room, &scope)?,
            };
            if component.computes() || component.inputs.len() > 1 {
                room = room
                    .checked_sub(output.size)
                    .ok_or_else(|| GraphError::too_large(&component.id))?;
            }
            outputs[index] = Some(output);
        }
        // Ends are written a second time, and several may hand on the same large input.
        for &sink in &self.sinks {
            let size = outputs[sink].as_ref().map_or(0, |output| output.size);
            room = room
                .checked_sub(size)
                .ok_or_else(|| GraphError::too_large(&self.components[sink].id))?;
        }
        Ok(Outputs(outputs))
    }
}

/// The input of a component as its output: the task's, the one that is connected, or all that are by their ids.
fn hand_on(component: &Component, room: usize, scope: &Scope<'_>) -> Result<Output, GraphError> {
    let connected = |index: &usize| scope.outputs[*index].clone();
    match component.inputs.as_slice() {
        [] => Ok(scope.input.clone()),
        [one] => Ok(connected(one).unwrap_or_else(|| scope.input.clone())),
        several => {
            let size = several
                .iter()
                .filter_map(connected)
                .map(|output| output.size)
                .sum();
            if size > room {
                return Err(GraphError::too_large(&component.id));
            }
            let members = several.iter().filter_map(|index| {
                let value = scope.output(*index)?.clone();
                Some((scope.id(*index).to_owned(), value))
            });
            Ok(Output::of_size(
                Value::Object(members.collect::<Map<_, _>>()),
                size,
            ))
        }
    }
}
