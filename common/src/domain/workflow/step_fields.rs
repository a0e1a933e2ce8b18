//! Reading the fields of one step, apart from what they say of other steps.

use serde_json::{Map, Value};

use super::definition::{Join, OnFailure, Target};
use crate::domain::{AgentId, Faults, Fields, Priority, Submission, SubmissionDefaults};

/// What a step's name looks like.
const ID_ACCEPTS: &str = "must be 1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'";
const JOIN_ACCEPTS: &str = "must be \"all\", \"any\" or {\"quorum\": n}";

/// A step as it was written; what it says of other steps is not looked at yet.
#[derive(Debug, Default)]
pub(super) struct StepFields {
    pub(super) id: Option<String>,
    pub(super) depends_on: Vec<Value>,
    pub(super) join: Join,
    pub(super) when: Option<Value>,
    pub(super) on_failure: OnFailure,
    pub(super) timeout_seconds: Option<u32>,
    pub(super) work: Option<WorkFields>,
}

/// What a step does, as it was written.
#[derive(Debug)]
pub(super) enum WorkFields {
    Task(TaskFields),
    Approval {
        message: Option<String>,
        data: Option<Value>,
    },
}

#[derive(Debug)]
pub(super) struct TaskFields {
    pub(super) target: Option<Target>,
    pub(super) task_type: Option<String>,
    pub(super) task_data: Map<String, Value>,
    pub(super) for_each: Option<ForEachFields>,
    pub(super) max_attempts: u32,
    pub(super) priority: Priority,
}

#[derive(Debug)]
pub(super) struct ForEachFields {
    pub(super) items: Option<String>,
    pub(super) max_concurrent: Option<u32>,
    pub(super) join: Join,
}

/// Notes the faults of something that stands at `place`.
pub(super) fn note(faults: &mut Faults, place: &str, read: Result<(), Faults>) {
    for fault in read.err().into_iter().flat_map(|inner| inner.0) {
        let field = if fault.field.is_empty() {
            place.to_owned()
        } else {
            format!("{place}.{}", fault.field)
        };
        faults.add(&field, fault.message);
    }
}

impl StepFields {
    /// Reads a step; faults are noted under `place`.
    pub(super) fn read(value: Value, place: &str, faults: &mut Faults) -> Self {
        let mut fields = match Fields::of(value) {
            Ok(fields) => fields,
            Err(inner) => {
                note(faults, place, Err(inner));
                return Self::default();
            }
        };
        fields.require("id");
        let id = fields.take_parsed("id", ID_ACCEPTS, step_id);
        let depends_on = match fields.take("depends_on") {
            None => Vec::new(),
            Some(Value::Array(names)) => names,
            Some(_) => {
                fields.fault("depends_on", "must be a list of names of steps");
                Vec::new()
            }
        };
        let join = take_join(&mut fields);
        let when = fields.take("when");
        let on_failure =
            fields.take_parsed(
                "on_failure",
                "must be fail or continue",
                |text| match text {
                    "fail" => Some(OnFailure::Fail),
                    "continue" => Some(OnFailure::Continue),
                    _ => None,
                },
            );
        let timeout_seconds =
            fields.take_integer("timeout_seconds", 1, Submission::MAX_TIMEOUT_SECONDS);
        let is_approval =
            fields.take_parsed("type", "must be task or approval", |text| match text {
                "task" => Some(false),
                "approval" => Some(true),
                _ => None,
            });
        let work = if is_approval.unwrap_or(false) {
            WorkFields::Approval {
                message: fields.take_text("message", 1, 1_000),
                data: fields.take("data"),
            }
        } else {
            WorkFields::Task(TaskFields::take(&mut fields, place, faults))
        };
        note(faults, place, fields.finish());
        Self {
            id,
            depends_on,
            join,
            when,
            on_failure: on_failure.unwrap_or_default(),
            timeout_seconds,
            work: Some(work),
        }
    }
}

impl TaskFields {
    fn take(fields: &mut Fields, place: &str, faults: &mut Faults) -> Self {
        let both = fields.has("agent_id") && fields.has("domain");
        let neither = !fields.has("agent_id") && !fields.has("domain");
        let agent = fields.take_parsed("agent_id", AgentId::ACCEPTS, AgentId::parse);
        let domain = fields.take_text("domain", 1, 100);
        if both {
            fields.fault("domain", "must not be given together with agent_id");
        } else if neither {
            fields.fault("agent_id", "is required, or domain");
        }
        fields.require("task_type");
        let task_type = fields.take_text("task_type", 1, 100);
        let task_data = fields.take_object("task_data").unwrap_or_default();
        let for_each = fields
            .take("for_each")
            .map(|value| ForEachFields::read(value, &format!("{place}.for_each"), faults));
        let max_attempts = fields
            .take("retry")
            .and_then(|value| read_retry(value, &format!("{place}.retry"), faults));
        let (least, greatest) = (*Priority::RANGE.start(), *Priority::RANGE.end());
        let priority = fields.take_integer("priority", least, greatest);
        Self {
            target: agent.map(Target::Agent).or(domain.map(Target::Domain)),
            task_type,
            task_data,
            for_each,
            max_attempts: max_attempts.unwrap_or(SubmissionDefaults::default().max_attempts),
            priority: priority
                .and_then(Priority::new)
                .unwrap_or(Priority::DEFAULT),
        }
    }
}

impl ForEachFields {
    fn read(value: Value, place: &str, faults: &mut Faults) -> Self {
        let mut fields = match Fields::of(value) {
            Ok(fields) => fields,
            Err(inner) => {
                note(faults, place, Err(inner));
                return Self {
                    items: None,
                    max_concurrent: None,
                    join: Join::All,
                };
            }
        };
        fields.require("items");
        let read = Self {
            items: fields.take_text("items", 1, 1_000),
            max_concurrent: fields.take_integer("max_concurrent", 1, 10_000),
            join: take_join(&mut fields),
        };
        note(faults, place, fields.finish());
        read
    }
}

fn read_retry(value: Value, place: &str, faults: &mut Faults) -> Option<u32> {
    let read = Fields::of(value).and_then(|mut fields| {
        fields.require("max_attempts");
        let max_attempts = fields.take_integer("max_attempts", 1, 100);
        fields.finish().map(|()| max_attempts)
    });
    match read {
        Ok(max_attempts) => max_attempts,
        Err(inner) => {
            note(faults, place, Err(inner));
            None
        }
    }
}

fn take_join(fields: &mut Fields) -> Join {
    let Some(value) = fields.take("join") else {
        return Join::All;
    };
    let quorum = |value: &Value| {
        let map = value.as_object().filter(|map| map.len() == 1)?;
        let quorum = map.get("quorum")?.as_u64()?;
        u32::try_from(quorum)
            .ok()
            .filter(|quorum| (1..=10_000).contains(quorum))
    };
    match value.as_str() {
        Some("all") => Join::All,
        Some("any") => Join::Any,
        Some(_) | None => match quorum(&value) {
            Some(number) => Join::Quorum(number),
            None => {
                fields.fault("join", JOIN_ACCEPTS);
                Join::All
            }
        },
    }
}

fn step_id(text: &str) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let is_id = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
    is_id.then(|| text.to_owned())
}
