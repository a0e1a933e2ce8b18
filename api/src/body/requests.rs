//! What callers send: how each body is read, and the shape of it that the document shows.
//!
//! The shapes are documentation; reading is the domain's, which names every fault at once.

use orchestrator_common::domain::{
    AgentId, Faults, Fields, Registration, Scaling, Submission, SubmissionDefaults, Timestamp,
};
use poem_openapi::Object;
use poem_openapi::types::Example;
use serde_json::{Map, Value, json};

use super::FromBody;
use crate::views::Wire;

/// A free-form JSON object.
pub(super) type FreeForm = Wire<Map<String, Value>>;

pub(super) fn free_form(value: Value) -> FreeForm {
    match value {
        Value::Object(map) => Wire(map),
        _ => Wire(Map::new()),
    }
}

/// An agent to register. Only `agent_id` is needed; what is absent leaves an existing agent's value as it is, and
/// fields beyond these are kept.
#[derive(Object)]
#[oai(example)]
pub(crate) struct AgentRegistration {
    /// Its identifier: letters, digits, `.`, `_`, `:` and `-`.
    #[oai(validator(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._:-]+$"))]
    agent_id: String,
    /// A name for people.
    #[oai(
        nullable,
        validator(
            min_length = 1,
            max_length = 200,
            pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
        )
    )]
    agent_name: Option<String>,
    /// The field it works in.
    #[oai(
        nullable,
        validator(
            min_length = 1,
            max_length = 100,
            pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
        )
    )]
    domain: Option<String>,
    /// Persona, reasoning pattern, components and connections, in any of the platform's dialects. A richer one is
    /// never replaced by a poorer one.
    #[oai(nullable)]
    brain_config: Option<FreeForm>,
    /// Its deployment in the Deployment Pipeline.
    #[oai(
        nullable,
        validator(
            min_length = 1,
            max_length = 200,
            pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
        )
    )]
    deployment_id: Option<String>,
    /// How many sessions it may have at once; the cluster's `MAX_CONCURRENT_AGENT_SESSIONS` when absent.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "100000")))]
    max_concurrent_sessions: Option<u32>,
    /// Where it runs, when it is not the Brain Factory's to make: an `http` or `https` address.
    #[oai(
        nullable,
        validator(max_length = 2000, pattern = "^[Hh][Tt][Tt][Pp][Ss]?://.+")
    )]
    endpoint: Option<String>,
    /// All the places where it runs, when they are more than one. They take the place of those that were registered before:
    /// a place that is not named any more gets no more tasks and goes when it has finished what it runs.
    #[oai(nullable, validator(min_items = 1, max_items = 100))]
    instances: Option<Vec<InstanceRegistration>>,
    /// How its tasks are shared out among its instances: `least_loaded` (the default) to the one with the fewest running
    /// tasks for its capacity and weight, `round_robin` to one after the other, `weighted` in proportion to the weights,
    /// `sticky` to the one that ran the latest task of the same session.
    #[oai(
        nullable,
        validator(pattern = "^(least_loaded|round_robin|weighted|sticky)$")
    )]
    load_balancing: Option<String>,
}

/// A place where an agent runs.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct InstanceRegistration {
    /// Base address of the agent there: an `http` or `https` address.
    #[oai(validator(max_length = 2000, pattern = "^[Hh][Tt][Tt][Pp][Ss]?://.+"))]
    endpoint: String,
    /// Its share of the tasks, compared with the others. 100 when absent.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "1000")))]
    weight: Option<u32>,
    /// How many tasks it may run at once; the agent's limit when absent.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "100000")))]
    max_concurrent_sessions: Option<u32>,
}

impl Example for AgentRegistration {
    fn example() -> Self {
        Self {
            agent_id: "underwriting_agent_01".into(),
            agent_name: Some("Underwriting Assistant".into()),
            domain: Some("underwriting".into()),
            brain_config: Some(free_form(json!({
                "persona": {"role": "Underwriting Analyst", "expertise": ["risk"], "personality": "balanced"},
                "reasoningPattern": "react",
            }))),
            deployment_id: Some("deploy_001".into()),
            max_concurrent_sessions: None,
            endpoint: None,
            instances: None,
            load_balancing: None,
        }
    }
}

impl FromBody for Registration {
    type Shape = AgentRegistration;

    const DESCRIPTION: &'static str = "The agent; any subset beyond `agent_id`.";
    const EMPTY: Option<Self> = None;

    fn from_body(body: Value) -> Result<Self, Faults> {
        Self::parse(body)
    }
}

/// A task for an agent.
#[derive(Object)]
#[oai(example, deny_unknown_fields)]
pub(crate) struct TaskRequest {
    /// The agent that is to do it.
    #[oai(validator(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._:-]+$"))]
    agent_id: String,
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

impl Example for TaskRequest {
    fn example() -> Self {
        Self {
            agent_id: "underwriting_agent_01".into(),
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

impl FromBody for Submission {
    type Shape = TaskRequest;

    const DESCRIPTION: &'static str = "The task.";
    const EMPTY: Option<Self> = None;

    fn from_body(body: Value) -> Result<Self, Faults> {
        Self::parse(body, SubmissionDefaults::default())
    }
}

/// Which agent; may be given as the query parameter `agent_id` instead.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct AgentReference {
    /// The agent.
    #[oai(
        nullable,
        validator(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._:-]+$")
    )]
    agent_id: Option<String>,
}

/// The agent that a body names, if it names one.
#[derive(Debug)]
pub(crate) struct AgentChoice {
    pub(crate) agent_id: Option<AgentId>,
}

impl FromBody for AgentChoice {
    type Shape = AgentReference;

    const DESCRIPTION: &'static str = "Which agent; may be empty when the query says it.";
    const EMPTY: Option<Self> = Some(Self { agent_id: None });

    fn from_body(body: Value) -> Result<Self, Faults> {
        let mut fields = Fields::of(body)?;
        let agent_id = fields.take_parsed("agent_id", AgentId::ACCEPTS, AgentId::parse);
        fields.finish()?;
        Ok(Self { agent_id })
    }
}

/// Which agent to stop; may be given as query parameters instead.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct StopRequest {
    /// The agent.
    #[oai(
        nullable,
        validator(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._:-]+$")
    )]
    agent_id: Option<String>,
    /// Whether what runs may finish; true when absent.
    #[oai(nullable)]
    drain: Option<bool>,
}

/// The agent to stop, if the body names one.
#[derive(Debug)]
pub(crate) struct StopChoice {
    pub(crate) agent_id: Option<AgentId>,
    pub(crate) drain: Option<bool>,
}

impl FromBody for StopChoice {
    type Shape = StopRequest;

    const DESCRIPTION: &'static str = "Which agent; may be empty when the query says it.";
    const EMPTY: Option<Self> = Some(Self {
        agent_id: None,
        drain: None,
    });

    fn from_body(body: Value) -> Result<Self, Faults> {
        let mut fields = Fields::of(body)?;
        let agent_id = fields.take_parsed("agent_id", AgentId::ACCEPTS, AgentId::parse);
        let drain = fields.take("drain");
        if drain.as_ref().is_some_and(|drain| !drain.is_boolean()) {
            fields.fault("drain", "must be true or false");
        }
        fields.finish()?;
        let drain = drain.and_then(|drain| drain.as_bool());
        Ok(Self { agent_id, drain })
    }
}

/// How much an agent is to do at once; at least one of the two is given.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct ScaleRequest {
    /// How many instances the Brain Factory is to make of it. Those too many finish what they run. Not for an agent that was
    /// registered with `endpoint` or `instances`.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "100")))]
    instances: Option<u32>,
    /// How many sessions it may have at once, across all workers.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "100000")))]
    max_concurrent_sessions: Option<u32>,
}

impl FromBody for Scaling {
    type Shape = ScaleRequest;

    const DESCRIPTION: &'static str = "What is to change.";
    const EMPTY: Option<Self> = None;

    fn from_body(body: Value) -> Result<Self, Faults> {
        let mut fields = Fields::of(body)?;
        let scaling = Self::take(&mut fields);
        fields.finish()?;
        Ok(scaling)
    }
}
