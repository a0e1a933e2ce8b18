//! From a command to a message that [`Decoder`](super::Decoder) reads back without loss.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::command::{Command, VERSION};
use super::outgoing::Outgoing;
use super::topology::Topology;
use crate::domain::{AgentId, NewTask, Priority, Registration, TaskId, Timestamp};

impl Outgoing {
    /// A command on its way to the workers: persistent, and a failure when no queue takes it.
    ///
    /// A registration's extra fields named `version` and `kind` have no place in a message and are left out.
    ///
    /// # Errors
    /// When the command holds something that JSON cannot express.
    pub fn command(topology: &Topology, command: &Command) -> serde_json::Result<Self> {
        let kind = command.kind().as_str();
        let body = body_of(command)?;
        let message_id = match command {
            Command::Execute(task) => task.task_id.uuid(),
            Command::CancelTask { .. }
            | Command::Reprioritise { .. }
            | Command::Register(_)
            | Command::Unregister { .. }
            | Command::Start { .. }
            | Command::Stop { .. }
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::Scale { .. } => Uuid::now_v7(),
        };
        let outgoing = Self::persistent(topology.commands().clone(), kind.into(), message_id, body)
            .mandatory();
        Ok(match command {
            Command::Execute(task) => outgoing
                .with_correlation_id(task.correlation_id.as_deref())
                .with_reply_to(task.reply_to.as_deref())
                .with_headers(
                    task.traceparent
                        .as_deref()
                        .map(|context| ("traceparent", context)),
                ),
            Command::CancelTask { .. }
            | Command::Reprioritise { .. }
            | Command::Register(_)
            | Command::Unregister { .. }
            | Command::Start { .. }
            | Command::Stop { .. }
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::Scale { .. } => outgoing,
        })
    }

    /// Adds the caller's token, which workers check when authentication is on.
    #[must_use]
    pub fn with_authorization(self, header: &str) -> Self {
        self.with_headers([("authorization", header)])
    }
}

/// The body of `task.execute`, in the order in which people read it.
#[derive(Serialize)]
struct ExecuteBody<'a> {
    version: u64,
    kind: &'static str,
    task_id: TaskId,
    agent_id: &'a AgentId,
    task_type: &'a str,
    task_data: &'a RawValue,
    priority: Priority,
    timeout_seconds: u32,
    max_attempts: u32,
    submitted_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_task_id: Option<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
}

fn execute(task: &NewTask, kind: &'static str) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&ExecuteBody {
        version: VERSION,
        kind,
        task_id: task.task_id,
        agent_id: &task.agent_id,
        task_type: &task.task_type,
        task_data: &task.task_data,
        priority: task.priority,
        timeout_seconds: task.timeout_seconds,
        max_attempts: task.max_attempts,
        submitted_at: task.submitted_at,
        callback_url: task.callback_url.as_ref().map(|url| url.as_str()),
        run_at: task.run_at,
        expires_at: task.expires_at,
        parent_task_id: task.parent_task_id,
        metadata: task.metadata.as_deref(),
        fingerprint: task.fingerprint.as_ref().map(to_hex),
    })
}

fn body_of(command: &Command) -> serde_json::Result<Vec<u8>> {
    let kind = command.kind().as_str();
    let with_agent =
        |agent_id: &AgentId| json!({"version": VERSION, "kind": kind, "agent_id": agent_id});
    let body = match command {
        Command::Execute(task) => return execute(task, kind),
        Command::CancelTask { task_id, reason } => {
            let mut body = json!({"version": VERSION, "kind": kind, "task_id": task_id});
            if let Some(reason) = reason {
                body["reason"] = json!(reason);
            }
            body
        }
        Command::Reprioritise { task_id, priority } => {
            json!({"version": VERSION, "kind": kind, "task_id": task_id, "priority": priority})
        }
        Command::Register(registration) => register(registration, kind),
        Command::Unregister { agent_id }
        | Command::Start { agent_id }
        | Command::Pause { agent_id }
        | Command::Resume { agent_id } => with_agent(agent_id),
        Command::Stop { agent_id, drain } => {
            let mut body = with_agent(agent_id);
            body["drain"] = json!(drain);
            body
        }
        Command::Scale {
            agent_id,
            instances,
            max_concurrent_sessions,
        } => {
            let mut body = with_agent(agent_id);
            if let Some(instances) = instances {
                body["instances"] = json!(instances);
            }
            if let Some(limit) = max_concurrent_sessions {
                body["max_concurrent_sessions"] = json!(limit);
            }
            body
        }
    };
    serde_json::to_vec(&body)
}

fn register(registration: &Registration, kind: &str) -> Value {
    let Registration {
        agent_id,
        agent_name,
        domain,
        brain_config,
        deployment_id,
        max_concurrent_sessions,
        endpoint,
        extra,
    } = registration;
    let mut body = Map::new();
    body.insert("version".to_owned(), json!(VERSION));
    body.insert("kind".to_owned(), json!(kind));
    body.insert("agent_id".to_owned(), json!(agent_id));
    let known = [
        ("agent_name", json!(agent_name)),
        ("domain", json!(domain)),
        ("brain_config", json!(brain_config)),
        ("deployment_id", json!(deployment_id)),
        ("max_concurrent_sessions", json!(max_concurrent_sessions)),
        ("endpoint", json!(endpoint)),
    ];
    for (name, value) in known {
        if !value.is_null() {
            body.insert(name.to_owned(), value);
        }
    }
    for (name, value) in extra {
        body.entry(name).or_insert_with(|| value.clone());
    }
    Value::Object(body)
}

fn to_hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
