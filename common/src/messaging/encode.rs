//! From a command to a message that [`Decoder`](super::Decoder) reads back without loss.

use serde::Serialize;
use serde::ser::Error as _;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::command::{Command, Kind, VERSION};
use super::outgoing::Outgoing;
use super::refusal::Refusal;
use super::topology::Topology;
use super::workflow_commands::{approval_body, workflow_body};
use crate::domain::{AgentId, NewTask, Priority, Registration, SessionId, TaskId, Timestamp};

impl Outgoing {
    /// A command on its way to the workers: persistent, and a failure when no queue takes it.
    ///
    /// A registration's extra fields named `version` and `kind` have no place in a message and are left out.
    ///
    /// # Errors
    /// When the command holds something that JSON cannot express.
    pub fn command(topology: &Topology, command: &Command) -> serde_json::Result<Self> {
        match command {
            Command::Execute(task) => Self::task(topology, task),
            Command::ExecuteBatch(members) => {
                let refused = |refusal: &Refusal| serde_json::Error::custom(refusal);
                let tasks = members.iter().map(Result::as_ref);
                let tasks: Result<Vec<&NewTask>, _> =
                    tasks.map(|task| task.map(AsRef::as_ref)).collect();
                Self::batch(topology, tasks.map_err(refused)?)
            }
            Command::CancelTask { .. }
            | Command::Reprioritise { .. }
            | Command::Register(_)
            | Command::Unregister { .. }
            | Command::Start { .. }
            | Command::Stop { .. }
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::Scale { .. }
            | Command::StartWorkflow(_)
            | Command::CancelWorkflow { .. }
            | Command::ApproveStep { .. } => {
                let body = serde_json::to_vec(&body_of(command))?;
                let trace = match command {
                    Command::StartWorkflow(start) => start.traceparent.as_deref(),
                    _ => None,
                };
                Ok(
                    Self::to_workers(topology, command.kind(), Uuid::now_v7(), body)
                        .with_headers(trace.map(|context| ("traceparent", context))),
                )
            }
        }
    }

    /// One task on its way to the workers.
    pub(super) fn task(topology: &Topology, task: &NewTask) -> serde_json::Result<Self> {
        let body = ExecuteBody {
            version: Some(VERSION),
            kind: Some(Kind::Execute.as_str()),
            ..ExecuteBody::of(task)
        };
        let body = serde_json::to_vec(&body)?;
        let task_id = task.task_id.uuid();
        let trace = task.traceparent.as_deref();
        let outgoing = Self::to_workers(topology, Kind::Execute, task_id, body)
            .with_correlation_id(task.correlation_id.as_deref())
            .with_reply_to(task.reply_to.as_deref())
            .with_headers(trace.map(|context| ("traceparent", context)));
        Ok(match &task.origin {
            Some(origin) => outgoing.with_origin(origin),
            None => outgoing,
        })
    }

    /// Many tasks on their way to the workers, in one message.
    pub(super) fn batch<'a>(
        topology: &Topology,
        tasks: impl IntoIterator<Item = &'a NewTask>,
    ) -> serde_json::Result<Self> {
        let members = tasks.into_iter().map(|task| ExecuteBody {
            correlation_id: task.correlation_id.as_deref(),
            reply_to: task.reply_to.as_deref(),
            traceparent: task.traceparent.as_deref(),
            submitted_by: task.origin.as_ref().map(|origin| origin.actor.as_str()),
            request_id: task
                .origin
                .as_ref()
                .and_then(|origin| origin.request_id.as_deref()),
            ..ExecuteBody::of(task)
        });
        let body = BatchBody {
            version: VERSION,
            kind: Kind::ExecuteBatch.as_str(),
            tasks: members.collect(),
        };
        let body = serde_json::to_vec(&body)?;
        Ok(Self::to_workers(
            topology,
            Kind::ExecuteBatch,
            Uuid::now_v7(),
            body,
        ))
    }

    fn to_workers(topology: &Topology, kind: Kind, message_id: Uuid, body: Vec<u8>) -> Self {
        let exchange = topology.commands().clone();
        Self::persistent(exchange, kind.as_str().into(), message_id, body).mandatory()
    }

    /// Adds the caller's token, which workers check when authentication is on.
    #[must_use]
    pub fn with_authorization(self, header: &str) -> Self {
        self.with_headers([("authorization", header)])
    }
}

/// The body of `task.execute_batch`.
#[derive(Serialize)]
struct BatchBody<'a> {
    version: u64,
    kind: &'static str,
    tasks: Vec<ExecuteBody<'a>>,
}

/// The body of `task.execute` and of each task of a batch, in the order in which people read it.
#[derive(Serialize)]
struct ExecuteBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
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
    session_id: Option<&'a SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    submitted_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl<'a> ExecuteBody<'a> {
    fn of(task: &'a NewTask) -> Self {
        Self {
            version: None,
            kind: None,
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
            session_id: task.session_id.as_ref(),
            metadata: task.metadata.as_deref(),
            fingerprint: task.fingerprint.as_ref().map(to_hex),
            correlation_id: None,
            reply_to: None,
            traceparent: None,
            submitted_by: None,
            request_id: None,
        }
    }
}

/// The body of a command that brings no task; nothing for one that does.
fn body_of(command: &Command) -> Value {
    let kind = command.kind().as_str();
    let with_agent =
        |agent_id: &AgentId| json!({"version": VERSION, "kind": kind, "agent_id": agent_id});
    match command {
        Command::Execute(_) | Command::ExecuteBatch(_) => Value::Null,
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
        Command::StartWorkflow(start) => workflow_body(start),
        Command::CancelWorkflow { run_id } => {
            json!({"version": VERSION, "kind": kind, "run_id": run_id})
        }
        Command::ApproveStep {
            run_id,
            step_id,
            decision,
        } => approval_body(*run_id, step_id, decision),
        Command::Unregister { agent_id }
        | Command::Start { agent_id }
        | Command::Pause { agent_id }
        | Command::Resume { agent_id } => with_agent(agent_id),
        Command::Stop { agent_id, drain } => {
            let mut body = with_agent(agent_id);
            body["drain"] = json!(drain);
            body
        }
        Command::Scale { agent_id, scaling } => {
            let mut body = with_agent(agent_id);
            if let Some(instances) = scaling.instances {
                body["instances"] = json!(instances);
            }
            if let Some(limit) = scaling.max_concurrent_sessions {
                body["max_concurrent_sessions"] = json!(limit);
            }
            body
        }
    }
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
        instances,
        load_balancing,
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
        ("instances", json!(instances)),
        ("load_balancing", json!(load_balancing)),
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

pub(super) fn to_hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
