//! The body of a task whose agent is to be chosen: the shape of it that the document shows.

use orchestrator_common::domain::{Faults, OpenSubmission, SubmissionDefaults, Timestamp};
use poem_openapi::Object;
use poem_openapi::types::Example;
use serde_json::{Value, json};

use super::FromBody;
use super::requests::{FreeForm, free_form};
use crate::views::Wire;

/// A task for an agent that is to be chosen.
#[derive(Object)]
#[oai(example, deny_unknown_fields)]
pub(crate) struct OpenTaskRequest {
    /// The field in which the agent must work, as agents were registered with it.
    #[oai(
        nullable,
        validator(
            min_length = 1,
            max_length = 100,
            pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
        )
    )]
    domain: Option<String>,
    /// What kind of work it is.
    #[oai(validator(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    ))]
    task_type: String,
    /// The input. Needed, unless it is given under its older name `data`.
    task_data: Option<FreeForm>,
    /// The older name of `task_data`.
    #[oai(deprecated)]
    data: Option<FreeForm>,
    /// An identifier of the caller's choice; submitting it again with the same body changes nothing.
    #[oai(nullable)]
    task_id: Option<uuid::Uuid>,
    /// How urgent it is; 10 runs first. 1 when absent.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "10")))]
    priority: Option<u32>,
    /// How long one attempt may take, in seconds. 300 when absent.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "86400")))]
    timeout_seconds: Option<u32>,
    /// An `http` or `https` address that is sent the outcome: a `POST` of the event, signed as Standard Webhooks and
    /// repeated for up to a day. It must lead to the public Internet or to a host that the operator allows, and needs the
    /// operator's `WEBHOOK_SECRET`.
    #[oai(
        nullable,
        validator(max_length = 2000, pattern = "^[Hh][Tt][Tt][Pp][Ss]?://.+")
    )]
    callback_url: Option<String>,
    /// How many attempts may fail before the task fails. 3 when absent.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "100")))]
    max_attempts: Option<u32>,
    /// Not to be started before so many seconds from now; not together with `run_at`.
    #[oai(nullable, validator(maximum(value = "2592000")))]
    delay_seconds: Option<u32>,
    /// Not to be started before this time, in RFC 3339; not together with `delay_seconds`.
    #[oai(nullable)]
    run_at: Option<Wire<Timestamp>>,
    /// Given up when not started within so many seconds.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "2592000")))]
    expires_in_seconds: Option<u32>,
    /// The task that created this one.
    #[oai(nullable)]
    parent_task_id: Option<uuid::Uuid>,
    /// The conversation that it belongs to: a name of the caller's choice, the same for all its tasks.
    #[oai(
        nullable,
        validator(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._:-]+$")
    )]
    session_id: Option<String>,
    /// The caller's own notes.
    #[oai(nullable)]
    metadata: Option<FreeForm>,
}

impl Example for OpenTaskRequest {
    fn example() -> Self {
        Self {
            domain: Some("underwriting".into()),
            task_type: "risk_assessment".into(),
            task_data: Some(free_form(json!({
                "applicant_id": "APP001", "loan_amount": 500_000, "credit_score": 720,
            }))),
            data: None,
            task_id: None,
            priority: Some(5),
            timeout_seconds: Some(300),
            callback_url: None,
            max_attempts: None,
            delay_seconds: None,
            run_at: None,
            expires_in_seconds: None,
            parent_task_id: None,
            session_id: None,
            metadata: None,
        }
    }
}

impl FromBody for OpenSubmission {
    type Shape = OpenTaskRequest;

    const DESCRIPTION: &'static str = "The task, without an agent.";
    const EMPTY: Option<Self> = None;

    fn from_body(body: Value) -> Result<Self, Faults> {
        Self::parse(body, SubmissionDefaults::default())
    }
}
