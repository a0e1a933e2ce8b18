//! Giving an agent a task: the call that workers make thousands of times a second.

use std::time::Duration;

use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;

use super::client::BrainFactoryClient;
use super::error::ExecuteError;
use super::execution::{Execution, read_execution};
use super::transport::{StatusClass, call_with, request};
use crate::domain::{NewTask, Priority, TaskId};

/// How much longer than the task's own time-out the answer is awaited: the agent answers when it times out itself.
pub const EXECUTE_GRACE: Duration = Duration::from_secs(5);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const X_ATTEMPT: HeaderName = HeaderName::from_static("x-attempt");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// One attempt at a task, borrowed from where the task is kept.
#[derive(Clone, Copy, Debug)]
pub struct ExecuteCall<'a> {
    /// The task; sent as `Idempotency-Key` too.
    pub task_id: TaskId,
    /// Counted from 1; sent as `X-Attempt`.
    pub attempt: u32,
    /// The task in words.
    pub description: &'a str,
    /// The task's data, a JSON object, sent as it is.
    pub input_data: &'a RawValue,
    /// Sent in words: 1–3 low, 4–7 normal, 8–10 high.
    pub priority: Priority,
    /// How long the agent may take, in seconds; [`EXECUTE_GRACE`] is added to what is waited.
    pub timeout_seconds: u32,
    /// W3C trace context, sent on when it is fit for a header.
    pub traceparent: Option<&'a str>,
}

impl<'a> ExecuteCall<'a> {
    /// Attempt number `attempt` at `task`.
    #[must_use]
    pub fn of(task: &'a NewTask, attempt: u32) -> Self {
        Self {
            task_id: task.task_id,
            attempt,
            description: &task.task_type,
            input_data: &task.task_data,
            priority: task.priority,
            timeout_seconds: task.timeout_seconds,
            traceparent: task.traceparent.as_deref(),
        }
    }
}

/// The borrowed form of [`super::contract::ExecuteRequest`]: the task's data is written, not read.
#[derive(Serialize)]
struct Body<'a> {
    task_id: TaskId,
    description: &'a str,
    input_data: &'a RawValue,
    priority: &'static str,
    timeout_seconds: u32,
}

impl BrainFactoryClient {
    /// Runs one attempt at the agent with the base address `endpoint`.
    ///
    /// Dropping the future drops the connection; the agent keeps running the task all the same.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn execute(
        &self,
        endpoint: &str,
        task: &ExecuteCall<'_>,
    ) -> Result<Execution, ExecuteError> {
        let body = serde_json::to_vec(&Body {
            task_id: task.task_id,
            description: task.description,
            input_data: task.input_data,
            priority: priority_word(task.priority),
            timeout_seconds: task.timeout_seconds,
        })
        .map_err(|error| ExecuteError::Rejected(error.to_string()))?;
        let mut request = request(Method::POST, endpoint, "/execute")?
            .header(IDEMPOTENCY_KEY, task.task_id.to_string())
            .header(X_ATTEMPT, HeaderValue::from(task.attempt));
        let trace = task.traceparent.map(HeaderValue::from_str);
        if let Some(Ok(traceparent)) = trace {
            request = request.header(TRACEPARENT, traceparent);
        }
        let answer = call_with(&self.http, request, body, patience(task.timeout_seconds)).await?;
        match answer.class() {
            StatusClass::Success => read_execution(&answer.body),
            failure => Err(ExecuteError::of_status(failure, &answer)),
        }
    }
}

fn patience(timeout_seconds: u32) -> Duration {
    Duration::from_secs(u64::from(timeout_seconds)) + EXECUTE_GRACE
}

fn priority_word(priority: Priority) -> &'static str {
    match priority.get() {
        0..=3 => "low",
        4..=7 => "normal",
        8.. => "high",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_gets_its_whole_time_and_a_little_more() {
        assert_eq!(patience(30), Duration::from_secs(35));
        assert!(patience(u32::MAX) > Duration::from_secs(u64::from(u32::MAX)));
    }

    #[test]
    fn a_priority_becomes_a_word() {
        let words: Vec<_> = Priority::RANGE
            .filter_map(Priority::new)
            .map(priority_word)
            .collect();
        let expected = [
            "low", "low", "low", "normal", "normal", "normal", "normal", "high", "high", "high",
        ];
        assert_eq!(words, expected);
    }
}
