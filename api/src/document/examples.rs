//! An example of every answer, made from its schema: readers see at a glance what to expect, and tools can play the part of
//! the service.

use poem::http::StatusCode;
use serde_json::{Map, Value, json};

use super::operations_mut;

/// How deep an example goes; what is deeper is left out.
const MAX_DEPTH: usize = 6;

/// Adds examples where there are none.
pub(super) fn add(document: &mut Value) {
    let schemas = document.pointer("/components/schemas").cloned();
    let schemas = schemas.unwrap_or_default();
    for operation in operations_mut(document) {
        let responses = operation
            .get_mut("responses")
            .and_then(Value::as_object_mut);
        for (status, response) in responses.into_iter().flatten() {
            let contents = response.get_mut("content").and_then(Value::as_object_mut);
            for (kind, content) in contents.into_iter().flatten() {
                let Some(content) = content.as_object_mut() else {
                    continue;
                };
                let schema = content.get("schema").cloned().unwrap_or_default();
                let example = match kind.as_str() {
                    "application/problem+json" => problem(status),
                    "text/event-stream" => events(&schema, &schemas),
                    kind if kind.starts_with("text/plain") => metrics(),
                    _ => value_of(&schema, &schemas, "", 0),
                };
                content.entry("example").or_insert(example);
            }
        }
    }
}

/// A problem document with this status.
fn problem(status: &str) -> Value {
    let code = status.parse::<StatusCode>().unwrap_or_default();
    let (name, title, detail) = match code.as_u16() {
        400 => (
            "not_understood",
            "The request cannot be read",
            "the body is not JSON",
        ),
        401 => (
            "unauthenticated",
            "A valid token is needed",
            "the token has expired",
        ),
        403 => (
            "forbidden",
            "The token does not allow this",
            "the token does not allow admin",
        ),
        404 => ("no_such_task", "Task not found", "there is no such task"),
        408 => (
            "body_too_slow",
            "The body came too slowly",
            "the body did not arrive within 20 s",
        ),
        409 => (
            "wrong_status",
            "The task's status does not allow this",
            "the task has completed",
        ),
        413 => (
            "body_too_large",
            "The body is too large",
            "the body must have at most 1048576 bytes",
        ),
        414 => (
            "address_too_long",
            "The address is too long",
            "the address must have at most 8192 bytes",
        ),
        415 => (
            "unsupported_media_type",
            "Unsupported media type",
            "the body must be application/json",
        ),
        422 => ("validation", "The request is not valid", "1 fault"),
        429 => ("too_often", "Too many requests", "try again in 1 s"),
        431 => (
            "headers_too_large",
            "The headers are too large",
            "at most 64 headers are read",
        ),
        503 => (
            "unavailable",
            "Temporarily unavailable",
            "no durable store can take it now",
        ),
        _ => (
            "internal",
            "Internal error",
            "something went wrong here; the request id leads to it in the logs",
        ),
    };
    let mut problem = json!({
        "type": format!("urn:agent-orchestrator:problem:{name}"), "title": title, "status": code.as_u16(), "detail": detail,
        "instance": "/orchestrator/…", "request_id": "0199a3c4-6f6e-7c3b-9b1e-3d1f0a5c7e21", "error": title,
        "message": detail,
    });
    if code == StatusCode::UNPROCESSABLE_ENTITY {
        problem["errors"] =
            json!([{"field": "priority", "message": "must be a whole number from 1 to 10"}]);
    }
    problem
}

/// A stream of one event.
fn events(schema: &Value, schemas: &Value) -> Value {
    let task = schema
        .get("items")
        .map(|task| value_of(task, schemas, "", 0));
    json!(format!(
        "event: task.running\nid: 1.running\ndata: {}\n\n",
        task.unwrap_or_default()
    ))
}

fn metrics() -> Value {
    json!("# TYPE agent_orchestrator_running_tasks gauge\nagent_orchestrator_running_tasks 3\n")
}

/// A value that the schema allows, for a field called `name`.
fn value_of(schema: &Value, schemas: &Value, name: &str, depth: usize) -> Value {
    if let Some(example) = schema.get("example").or_else(|| schema.get("default")) {
        return example.clone();
    }
    let reference = schema.get("$ref").and_then(Value::as_str);
    if let Some(target) = reference.and_then(|path| path.rsplit('/').next()) {
        let target = schemas.get(target).unwrap_or(&Value::Null);
        return value_of(target, schemas, name, depth + 1);
    }
    for combined in ["allOf", "anyOf", "oneOf"] {
        if let Some(first) = schema.get(combined).and_then(|all| all.get(0)) {
            return value_of(first, schemas, name, depth + 1);
        }
    }
    if let Some(first) = schema.get("enum").and_then(|names| names.get(0)) {
        return first.clone();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => object_of(schema, schemas, depth),
        Some("array") if depth < MAX_DEPTH => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            json!([value_of(items, schemas, name, depth + 1)])
        }
        Some("array") => json!([]),
        Some("integer") => number_of(schema, name),
        Some("number") => json!(0.5),
        Some("boolean") => json!(true),
        Some("string") => text_of(schema, name),
        Some(_) | None => json!({"decision": "approve"}),
    }
}

fn object_of(schema: &Value, schemas: &Value, depth: usize) -> Value {
    let fields = schema.get("properties").and_then(Value::as_object);
    let mut object = Map::new();
    if depth < MAX_DEPTH {
        for (name, field) in fields.into_iter().flatten() {
            object.insert(name.clone(), value_of(field, schemas, name, depth + 1));
        }
    }
    Value::Object(object)
}

fn number_of(schema: &Value, name: &str) -> Value {
    let least = schema.get("minimum").and_then(Value::as_f64);
    match (name, least) {
        ("timeout_seconds", _) => json!(300),
        ("status", _) => json!(200),
        (_, Some(least)) if least > 1.0 => json!(least),
        (_, _) => json!(1),
    }
}

fn text_of(schema: &Value, name: &str) -> Value {
    match (schema.get("format").and_then(Value::as_str), name) {
        (Some("uuid"), _) | (_, "task_id" | "request_id" | "letter_id" | "worker_id") => {
            json!("01957f3a-5c00-7000-8000-000000000001")
        }
        (Some("date-time"), _) => json!("2026-03-01T12:00:00Z"),
        (_, "agent_id") => json!("underwriting_agent_01"),
        (_, "agent_name" | "name") => json!("Underwriting Assistant"),
        (_, "task_type") => json!("risk_assessment"),
        (_, "domain") => json!("underwriting"),
        (_, "actor" | "replayed_by") => json!("alice"),
        (_, "refused_by") => json!("worker:01957f3a-5c00-7000-8000-000000000002"),
        (_, "action") => json!("task.accept"),
        (_, "resource") => json!("01957f3a-5c00-7000-8000-000000000001"),
        (_, "task_status_endpoint") => {
            json!("/orchestrator/tasks/01957f3a-5c00-7000-8000-000000000001")
        }
        (_, "endpoint") => json!("http://agent-brain:8305/agents/underwriting_agent_01"),
        (_, "next_cursor") => json!("1772366400000000-01957f3a-5c00-7000-8000-000000000001"),
        (_, "routing_key") => json!("task.execute"),
        (_, "reason") => json!("unknown_agent"),
        (_, "host") => json!("worker-1"),
        (_, _) => json!("…"),
    }
}
