//! What callers send beside single tasks: many at once, and changes to those that are there already.

use orchestrator_common::domain::{Faults, Fields, Priority, SubmissionDefaults};
use poem_openapi::Object;
use poem_openapi::types::Example;
use serde_json::Value;

use super::FromBody;
use super::requests::TaskRequest;

/// How urgent a task is to be from now on.
#[derive(Object)]
#[oai(example, deny_unknown_fields)]
pub(crate) struct PriorityRequest {
    /// 1 to 10; 10 runs first.
    #[oai(validator(minimum(value = "1"), maximum(value = "10")))]
    priority: u32,
}

impl Example for PriorityRequest {
    fn example() -> Self {
        Self { priority: 9 }
    }
}

/// How urgent a task is to be from now on.
#[derive(Debug)]
pub(crate) struct NewPriority(pub(crate) Priority);

impl FromBody for NewPriority {
    type Shape = PriorityRequest;

    const DESCRIPTION: &'static str = "The new priority.";
    const EMPTY: Option<Self> = None;

    fn from_body(body: Value) -> Result<Self, Faults> {
        let mut fields = Fields::of(body)?;
        fields.require("priority");
        let (least, greatest) = (*Priority::RANGE.start(), *Priority::RANGE.end());
        let priority = fields.take_integer("priority", least, greatest);
        fields.finish()?;
        let priority = priority.and_then(Priority::new);
        priority
            .map(Self)
            .ok_or_else(|| Faults::one("priority", "is required"))
    }
}

/// How a task is to be tried again.
#[derive(Object)]
#[oai(example, deny_unknown_fields)]
pub(crate) struct RetryRequest {
    /// How many further attempts may fail before the task fails again. 3 when absent.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "100")))]
    max_attempts: Option<u32>,
}

impl Example for RetryRequest {
    fn example() -> Self {
        Self {
            max_attempts: Some(1),
        }
    }
}

/// How a task is to be tried again.
#[derive(Debug)]
pub(crate) struct RetryWish {
    max_attempts: Option<u32>,
}

impl RetryWish {
    /// How many further attempts may fail.
    pub(crate) fn attempts(&self) -> u32 {
        let default = SubmissionDefaults::default().max_attempts;
        self.max_attempts.unwrap_or(default)
    }
}

impl FromBody for RetryWish {
    type Shape = RetryRequest;

    const DESCRIPTION: &'static str = "How to try again; may be empty.";
    const EMPTY: Option<Self> = Some(Self { max_attempts: None });

    fn from_body(body: Value) -> Result<Self, Faults> {
        let mut fields = Fields::of(body)?;
        let max_attempts = fields.take_integer("max_attempts", 1, 100);
        fields.finish()?;
        Ok(Self { max_attempts })
    }
}

/// Many tasks at once.
#[derive(Object)]
#[oai(example, deny_unknown_fields)]
pub(crate) struct TaskBatchRequest {
    /// The tasks, each as `POST /orchestrator/execute-task` takes it.
    #[oai(validator(min_items = 1, max_items = 1000))]
    tasks: Vec<TaskRequest>,
}

impl Example for TaskBatchRequest {
    fn example() -> Self {
        Self {
            tasks: vec![TaskRequest::example()],
        }
    }
}

/// Many tasks at once, none of them read yet: one that is faulty must not harm its neighbours.
#[derive(Debug)]
pub(crate) struct TaskBatch(pub(crate) Vec<Value>);

impl TaskBatch {
    /// The most tasks of one batch.
    const MAX: usize = 1_000;
}

impl FromBody for TaskBatch {
    type Shape = TaskBatchRequest;

    const DESCRIPTION: &'static str = "The tasks; together not larger than any other body.";
    const EMPTY: Option<Self> = None;

    fn from_body(body: Value) -> Result<Self, Faults> {
        let mut fields = Fields::of(body)?;
        let tasks = match fields.take("tasks") {
            Some(Value::Array(tasks)) if (1..=Self::MAX).contains(&tasks.len()) => tasks,
            Some(_) | None => {
                fields.fault("tasks", "must be an array of 1 to 1000 tasks");
                Vec::new()
            }
        };
        fields.finish()?;
        Ok(Self(tasks))
    }
}
