//! What a caller asks for: the task request of the HTTP body and of the `task.execute` message.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::to_raw_value;
use url::Url;

use super::callback_targets::check_form;
use super::{
    AgentId, Faults, Fields, Json, MAX_NESTING, NewTask, NotAllowed, Priority, SessionId, TaskId,
    Timestamp, nesting_of,
};

/// What a submission gets that does not say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubmissionDefaults {
    /// Seconds that one attempt may take.
    pub timeout_seconds: u32,
    /// Attempts before a task fails.
    pub max_attempts: u32,
}

impl Default for SubmissionDefaults {
    fn default() -> Self {
        Self {
            timeout_seconds: 300,
            max_attempts: 3,
        }
    }
}

/// A validated task request, not yet a task: it has neither identifier nor time of submission.
#[derive(Clone, Debug)]
pub struct Submission {
    agent_id: AgentId,
    task: Unassigned,
}

/// A validated task request that leaves it to the orchestrator which agent is asked.
#[derive(Clone, Debug)]
pub struct OpenSubmission {
    domain: Option<String>,
    task: Unassigned,
}

/// What is asked for, whoever is asked.
#[derive(Clone, Debug)]
struct Unassigned {
    task_id: Option<TaskId>,
    task_type: String,
    task_data: Json,
    priority: Priority,
    timeout_seconds: u32,
    callback_url: Option<Url>,
    max_attempts: u32,
    delay: Option<Duration>,
    run_at: Option<Timestamp>,
    expires_in: Option<Duration>,
    parent_task_id: Option<TaskId>,
    session_id: Option<SessionId>,
    metadata: Option<Json>,
}

impl Submission {
    /// The longest time-out, delay, and time to expiry: one day, 30 days, 30 days, in seconds.
    pub const MAX_TIMEOUT_SECONDS: u32 = 86_400;
    /// The longest delay and time to expiry, in seconds.
    pub const MAX_DELAY_SECONDS: u32 = 30 * 86_400;

    /// Reads and checks a task request.
    ///
    /// # Errors
    /// Every fault, by field.
    pub fn parse(body: Value, defaults: SubmissionDefaults) -> Result<Self, Faults> {
        let mut fields = fields_of(body)?;
        fields.require("agent_id");
        fields.require("task_type");
        let agent_id = fields.take_parsed("agent_id", AgentId::ACCEPTS, AgentId::parse);
        let task = Unassigned::take(&mut fields, defaults);
        fields.finish()?;
        let (Some(agent_id), Some(task)) = (agent_id, task) else {
            return Err(incomplete());
        };
        Ok(Self { agent_id, task })
    }

    /// The agent that is asked.
    #[must_use]
    pub fn agent_id(&self) -> &AgentId {
        &self.agent_id
    }

    /// Who is to be told the outcome.
    #[must_use]
    pub fn callback_url(&self) -> Option<&Url> {
        self.task.callback_url.as_ref()
    }

    /// The identifier that the caller chose.
    #[must_use]
    pub fn task_id(&self) -> Option<TaskId> {
        self.task.task_id
    }

    /// Makes it a task: `task_id` is the API's choice, used when the caller made none.
    #[must_use]
    pub fn into_task(self, task_id: TaskId, now: Timestamp) -> NewTask {
        self.task.into_task(self.agent_id, task_id, now)
    }
}

impl OpenSubmission {
    /// Reads and checks a task request without `agent_id`, with an optional `domain` instead.
    ///
    /// # Errors
    /// Every fault, by field.
    pub fn parse(body: Value, defaults: SubmissionDefaults) -> Result<Self, Faults> {
        let mut fields = fields_of(body)?;
        fields.require("task_type");
        let domain = fields.take_text("domain", 1, 100);
        let task = Unassigned::take(&mut fields, defaults);
        if fields.take("agent_id").is_some() {
            fields.fault("agent_id", "must not be given: the agent is chosen");
        }
        fields.finish()?;
        let task = task.ok_or_else(incomplete)?;
        Ok(Self { domain, task })
    }

    /// The field in which the agent must work.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// What kind of work it is.
    #[must_use]
    pub fn task_type(&self) -> &str {
        &self.task.task_type
    }

    /// The request when `agent_id` is asked.
    #[must_use]
    pub fn for_agent(self, agent_id: AgentId) -> Submission {
        Submission {
            agent_id,
            task: self.task,
        }
    }

    /// The identifier that the caller chose.
    #[must_use]
    pub fn task_id(&self) -> Option<TaskId> {
        self.task.task_id
    }
}

fn fields_of(body: Value) -> Result<Fields, Faults> {
    if nesting_of(&body) > MAX_NESTING {
        return Err(Faults::one(
            "",
            format!("must not nest deeper than {MAX_NESTING} levels"),
        ));
    }
    Fields::of(body)
}

/// What is missing has been noted as a fault before, so that this error is only formal.
fn incomplete() -> Faults {
    Faults::one("", "must carry task_type and task_data")
}

impl Unassigned {
    /// Takes the fields; `None` when one that is needed is missing or not acceptable, which is noted.
    fn take(fields: &mut Fields, defaults: SubmissionDefaults) -> Option<Self> {
        let task_type = fields.take_text("task_type", 1, 100);
        let task_data = take_task_data(fields);
        let uuid = |text: &str| text.parse::<TaskId>().ok();
        let task_id = fields.take_parsed("task_id", "must be a UUID", uuid);
        let priority =
            fields.take_integer("priority", *Priority::RANGE.start(), *Priority::RANGE.end());
        let timeout_seconds =
            fields.take_integer("timeout_seconds", 1, Submission::MAX_TIMEOUT_SECONDS);
        let callback_url = take_callback_url(fields);
        let max_attempts = fields.take_integer("max_attempts", 1, 100);
        let delay = fields.take_integer("delay_seconds", 0, Submission::MAX_DELAY_SECONDS);
        let run_at = fields.take_parsed(
            "run_at",
            "must be an RFC 3339 time such as 2026-03-01T12:00:00Z",
            Timestamp::parse,
        );
        if delay.is_some() && run_at.is_some() {
            fields.fault("run_at", "must not be given together with delay_seconds");
        }
        let expires_in =
            fields.take_integer("expires_in_seconds", 1, Submission::MAX_DELAY_SECONDS);
        let parent_task_id = fields.take_parsed("parent_task_id", "must be a UUID", uuid);
        let session_id = fields.take_parsed("session_id", SessionId::ACCEPTS, SessionId::parse);
        let metadata = fields
            .take_object("metadata")
            .map(|map| raw(&Value::Object(map)));
        let (Some(task_type), Some(task_data)) = (task_type, task_data) else {
            return None;
        };
        Some(Self {
            task_id,
            task_type,
            task_data,
            priority: priority
                .and_then(Priority::new)
                .unwrap_or(Priority::DEFAULT),
            timeout_seconds: timeout_seconds.unwrap_or(defaults.timeout_seconds),
            callback_url,
            max_attempts: max_attempts.unwrap_or(defaults.max_attempts),
            delay: delay.map(|seconds| Duration::from_secs(u64::from(seconds))),
            run_at,
            expires_in: expires_in.map(|seconds| Duration::from_secs(u64::from(seconds))),
            parent_task_id,
            session_id,
            metadata,
        })
    }

    fn into_task(self, agent_id: AgentId, task_id: TaskId, now: Timestamp) -> NewTask {
        NewTask {
            task_id: self.task_id.unwrap_or(task_id),
            agent_id,
            task_type: self.task_type,
            task_data: self.task_data,
            priority: self.priority,
            timeout_seconds: self.timeout_seconds,
            callback_url: self.callback_url,
            max_attempts: self.max_attempts,
            run_at: self
                .run_at
                .or_else(|| self.delay.map(|delay| now.plus(delay))),
            expires_at: self.expires_in.map(|life| now.plus(life)),
            parent_task_id: self.parent_task_id,
            session_id: self.session_id,
            metadata: self.metadata,
            submitted_at: now,
            correlation_id: None,
            reply_to: None,
            traceparent: None,
            fingerprint: None,
            origin: None,
            workflow_run_id: None,
        }
    }
}

/// `task_data`, or its older name `data`.
fn take_task_data(fields: &mut Fields) -> Option<Json> {
    let (has_data, has_older) = (fields.has("task_data"), fields.has("data"));
    // Both are taken in any case: neither is unknown, and one may be null beside the other.
    let (data, older) = (fields.take_object("task_data"), fields.take_object("data"));
    if has_data && has_older {
        fields.fault(
            "data",
            "must not be given together with task_data, whose older name it is",
        );
    } else if !has_data && !has_older {
        fields.fault("task_data", "is required");
    }
    data.or(older).map(|map| raw(&Value::Object(map)))
}

/// `callback_url`, of a form that callbacks can be made to; where it leads is another question.
fn take_callback_url(fields: &mut Fields) -> Option<Url> {
    let no_address = NotAllowed::NoAddress.to_string();
    let url = fields.take_parsed("callback_url", &no_address, http_url)?;
    match check_form(&url) {
        Ok(()) => Some(url),
        Err(why) => {
            fields.fault("callback_url", why.to_string());
            None
        }
    }
}

fn raw(value: &Value) -> Json {
    // A `Value` holds only string keys and finite numbers, so it always serialises.
    to_raw_value(value).map_or_else(
        |_| Arc::from(serde_json::value::RawValue::NULL.to_owned()),
        Arc::from,
    )
}

/// An absolute `http` or `https` address of at most 2,000 characters with a host. Counted as it is kept: characters that
/// addresses do not have are written with up to twelve others, and what is accepted here must be accepted again by whoever
/// reads the message in which it is sent on.
pub(super) fn http_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let size = text.len().max(url.as_str().len());
    (size <= 2_000 && matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

#[cfg(test)]
#[path = "submission_tests.rs"]
mod tests;
