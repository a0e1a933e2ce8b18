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
    task_id: Option<TaskId>,
    agent_id: AgentId,
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
        if nesting_of(&body) > MAX_NESTING {
            return Err(Faults::one(
                "",
                format!("must not nest deeper than {MAX_NESTING} levels"),
            ));
        }
        let mut fields = Fields::of(body)?;
        fields.require("agent_id");
        fields.require("task_type");
        let agent_id = fields.take_parsed("agent_id", AgentId::ACCEPTS, AgentId::parse);
        let task_type = fields.take_text("task_type", 1, 100);
        let task_data = take_task_data(&mut fields);
        let uuid = |text: &str| text.parse::<TaskId>().ok();
        let task_id = fields.take_parsed("task_id", "must be a UUID", uuid);
        let priority =
            fields.take_integer("priority", *Priority::RANGE.start(), *Priority::RANGE.end());
        let timeout_seconds = fields.take_integer("timeout_seconds", 1, Self::MAX_TIMEOUT_SECONDS);
        let callback_url = take_callback_url(&mut fields);
        let max_attempts = fields.take_integer("max_attempts", 1, 100);
        let delay = fields.take_integer("delay_seconds", 0, Self::MAX_DELAY_SECONDS);
        let run_at = fields.take_parsed(
            "run_at",
            "must be an RFC 3339 time such as 2026-03-01T12:00:00Z",
            Timestamp::parse,
        );
        if delay.is_some() && run_at.is_some() {
            fields.fault("run_at", "must not be given together with delay_seconds");
        }
        let expires_in = fields.take_integer("expires_in_seconds", 1, Self::MAX_DELAY_SECONDS);
        let parent_task_id = fields.take_parsed("parent_task_id", "must be a UUID", uuid);
        let session_id = fields.take_parsed("session_id", SessionId::ACCEPTS, SessionId::parse);
        let metadata = fields
            .take_object("metadata")
            .map(|map| raw(&Value::Object(map)));
        fields.finish()?;
        let (Some(agent_id), Some(task_type), Some(task_data)) = (agent_id, task_type, task_data)
        else {
            return Err(Faults::one(
                "",
                "must carry agent_id, task_type and task_data",
            ));
        };
        Ok(Self {
            task_id,
            agent_id,
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

    /// The agent that is asked.
    #[must_use]
    pub fn agent_id(&self) -> &AgentId {
        &self.agent_id
    }

    /// Who is to be told the outcome.
    #[must_use]
    pub fn callback_url(&self) -> Option<&Url> {
        self.callback_url.as_ref()
    }

    /// The identifier that the caller chose.
    #[must_use]
    pub fn task_id(&self) -> Option<TaskId> {
        self.task_id
    }

    /// Makes it a task: `task_id` is the API's choice, used when the caller made none.
    #[must_use]
    pub fn into_task(self, task_id: TaskId, now: Timestamp) -> NewTask {
        NewTask {
            task_id: self.task_id.unwrap_or(task_id),
            agent_id: self.agent_id,
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

/// An absolute `http` or `https` address of at most 2,000 characters with a host.
pub(super) fn http_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (text.len() <= 2_000 && matches!(url.scheme(), "http" | "https") && url.has_host())
        .then_some(url)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults_of(body: Value) -> Vec<String> {
        let faults = Submission::parse(body, SubmissionDefaults::default()).unwrap_err();
        faults.0.into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn the_input_has_one_name_of_two_and_the_other_may_be_null() {
        for body in [
            json!({"agent_id": "a", "task_type": "t", "task_data": {"x": 1}, "data": null}),
            json!({"agent_id": "a", "task_type": "t", "task_data": null, "data": {"x": 1}}),
        ] {
            let submission = Submission::parse(body, SubmissionDefaults::default()).unwrap();
            let task = submission.into_task(TaskId::generate(), Timestamp::now());
            assert_eq!(task.task_data.get(), r#"{"x":1}"#);
        }
        let both = json!({"agent_id": "a", "task_type": "t", "task_data": {}, "data": {}});
        assert_eq!(faults_of(both), ["data"]);
    }

    #[test]
    fn the_least_request_gets_the_documented_defaults() {
        let body = json!({"agent_id": "a", "task_type": "t", "data": {"x": 1}});
        let now = Timestamp::now();
        let id = TaskId::generate();
        let task = Submission::parse(body, SubmissionDefaults::default())
            .unwrap()
            .into_task(id, now);
        assert_eq!(
            (
                task.task_id,
                task.priority.get(),
                task.timeout_seconds,
                task.max_attempts
            ),
            (id, 1, 300, 3)
        );
        assert_eq!(task.task_data.get(), r#"{"x":1}"#);
        assert_eq!((task.run_at, task.expires_at), (None, None));
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        assert_eq!(
            faults_of(
                json!({"agent_id": "a b", "task_type": "", "task_data": [], "priority": 11,
                "timeout_seconds": 0, "callback_url": "file:///x", "max_attempts": 0, "delay_seconds": 1,
                "run_at": "2026-03-01T12:00:00Z", "expires_in_seconds": 0, "parent_task_id": "x", "session_id": "a b",
                "metadata": 1,
                "surprise": true})
            ),
            [
                "agent_id",
                "task_type",
                "task_data",
                "priority",
                "timeout_seconds",
                "callback_url",
                "max_attempts",
                "run_at",
                "expires_in_seconds",
                "parent_task_id",
                "session_id",
                "metadata",
                "surprise"
            ]
        );
        assert_eq!(faults_of(json!({})), ["agent_id", "task_type", "task_data"]);
    }

    #[test]
    fn numbers_that_are_not_whole_are_refused() {
        for priority in [json!(1.5), json!("5"), json!(-1), json!(true)] {
            let body =
                json!({"agent_id": "a", "task_type": "t", "task_data": {}, "priority": priority});
            assert_eq!(faults_of(body), ["priority"]);
        }
    }

    #[test]
    fn a_callback_that_could_never_be_made_is_refused() {
        for url in [
            "https://u:p@example.com/".to_owned(),
            "https://example.com:0/".to_owned(),
            format!("https://example.com/{}", "x".repeat(2_000)),
        ] {
            let body =
                json!({"agent_id": "a", "task_type": "t", "task_data": {}, "callback_url": url});
            assert_eq!(faults_of(body), ["callback_url"], "{url}");
        }
    }

    #[test]
    fn json_that_nests_too_deeply_is_refused() {
        let mut deep = json!({});
        for _ in 0..MAX_NESTING {
            deep = json!({"x": deep});
        }
        assert_eq!(
            faults_of(json!({"agent_id": "a", "task_type": "t", "task_data": deep})),
            [""]
        );
    }
}
