//! The callback of a task: what is posted to its `callback_url`, and what is made of the answer.

use serde_json::{Value, json};

use super::operations_mut;

/// The operations whose tasks can ask for a callback, and where their bodies name its address.
const ASKING: [(&str, &str); 2] = [
    ("execute_task", "{$request.body#/callback_url}"),
    ("execute_tasks", "{$request.body#/tasks/0/callback_url}"),
];

/// Says of each operation that takes tasks how their outcome is told.
pub(super) fn describe(document: &mut Value) {
    for operation in operations_mut(document) {
        let name = operation.get("operationId").and_then(Value::as_str);
        let asking = ASKING.iter().find(|(id, _)| name == Some(id));
        if let Some((_, address)) = asking {
            let address = *address;
            operation.insert(
                "callbacks".to_owned(),
                json!({"outcome": {address: {"post": post()}}}),
            );
        }
    }
}

fn post() -> Value {
    let header = |name: &str, description: &str| {
        json!({"name": name, "in": "header", "required": true, "description": description,
            "schema": {"type": "string"}})
    };
    json!({
        "summary": "The outcome of a task",
        "description": "Posted once the task has its outcome, if it named a `callback_url`: signed as Standard Webhooks, and \
            repeated with growing pauses for up to a day until it is taken. `webhook-id` is the same each time.",
        "operationId": "outcome_callback",
        "tags": ["Tasks"],
        "parameters": [
            header("webhook-id", "Names the fact: the same for the same outcome of the same task."),
            header("webhook-timestamp", "When this attempt was made, in seconds since 1970."),
            header("webhook-signature", "`v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`."),
        ],
        "requestBody": {"required": true, "content": {"application/json": {
            "schema": event(),
            "example": {
                "version": 1, "event": "task.completed", "task_id": "01957f3a-5c00-7000-8000-000000000001",
                "agent_id": "underwriting_agent_01", "attempt": 1, "status": "completed",
                "result": {"decision": "approve"}, "error": null, "duration_seconds": 2.5, "tokens_used": 1234,
                "cost_estimate": 0.05, "at": "2026-03-01T12:01:02.5Z",
            },
        }}},
        "responses": {
            "2XX": {"description": "It has it."},
            "410": {"description": "It wants it no longer: nothing more is sent."},
            "default": {"description": "It is told again later; `Retry-After` is honoured with 429 and 503."},
        },
    })
}

/// As `docs/asyncapi.yaml` describes it.
fn event() -> Value {
    let of = |kind: &str| json!({"type": kind});
    let nullable = |kind: &str| json!({"type": kind, "nullable": true});
    let fields = json!({
        "version": of("integer"), "event": of("string"), "task_id": {"type": "string", "format": "uuid"},
        "agent_id": of("string"), "attempt": of("integer"), "status": of("string"),
        "result": {"nullable": true, "description": "What the agent answered."},
        "error": {"type": "object", "nullable": true, "required": ["code", "message"],
            "properties": {"code": of("string"), "message": of("string")}},
        "duration_seconds": nullable("number"), "tokens_used": nullable("integer"),
        "cost_estimate": nullable("number"), "at": {"type": "string", "format": "date-time"},
    });
    let required: Vec<&String> = fields
        .as_object()
        .into_iter()
        .flat_map(|map| map.keys())
        .collect();
    json!({"type": "object", "required": required, "properties": fields})
}
