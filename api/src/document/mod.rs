//! The OpenAPI document: what the framework makes of the endpoints, and what it has no words for.
//!
//! Added are which bodies take no unknown fields, the callback that a task can ask for, and an example of every answer.

mod callbacks;
mod examples;

use serde_json::{Map, Value, json};

/// The bodies of which unknown fields are refused by their names.
const CLOSED: [&str; 15] = [
    "AgentReference",
    "DecisionRequest",
    "DefinitionRequest",
    "ForEachRequest",
    "OpenTaskRequest",
    "PriorityRequest",
    "QuorumRequest",
    "RetryRequest",
    "RetryRule",
    "ScaleRequest",
    "StepRequest",
    "StopRequest",
    "TaskBatchRequest",
    "TaskRequest",
    "WorkflowRequest",
];
/// The names by which an operation is found in an address.
const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

/// Completes the document that the framework made.
pub(crate) fn completed(spec: &str) -> String {
    let Ok(mut document) = serde_json::from_str::<Value>(spec) else {
        return spec.to_owned();
    };
    close(&mut document);
    callbacks::describe(&mut document);
    examples::add(&mut document);
    serde_json::to_string_pretty(&document).unwrap_or_else(|_| spec.to_owned())
}

fn close(document: &mut Value) {
    for name in CLOSED {
        if let Some(schema) = schema_mut(document, name) {
            schema.insert("additionalProperties".to_owned(), json!(false));
        }
    }
}

fn schema_mut<'a>(document: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    document
        .pointer_mut("/components/schemas")?
        .get_mut(name)?
        .as_object_mut()
}

/// Every operation of the document.
fn operations_mut(document: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let addresses = paths.into_iter().flat_map(Map::values_mut);
    addresses
        .filter_map(Value::as_object_mut)
        .flat_map(|address| {
            let operations = address.iter_mut();
            operations.filter_map(|(name, operation)| {
                let operation = operation.as_object_mut();
                operation.filter(|_| METHODS.contains(&name.as_str()))
            })
        })
}

#[cfg(test)]
mod tests;
