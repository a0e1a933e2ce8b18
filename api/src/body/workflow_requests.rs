//! What callers send to workflows: the shapes that the document shows. Reading them is the domain's.

use orchestrator_common::domain::Faults;
use orchestrator_common::domain::workflow::{Decision, RunRequest};
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, Union};
use serde_json::{Map, Value, json};

use super::FromBody;
use crate::views::Wire;

type FreeForm = Wire<Map<String, Value>>;

/// How many of several must complete.
#[derive(Union)]
enum JoinRequest {
    /// `all` or `any`.
    Named(Wire<JoinName>),
    /// That many.
    Quorum(QuorumRequest),
}

/// Names of joins.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum JoinName {
    All,
    Any,
}

impl crate::views::WireSchema for JoinName {
    fn schema() -> poem_openapi::registry::MetaSchema {
        poem_openapi::registry::MetaSchema {
            enum_items: vec!["all".into(), "any".into()],
            ..poem_openapi::registry::MetaSchema::new("string")
        }
    }
}

/// So many of several.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct QuorumRequest {
    /// How many must complete.
    #[oai(validator(minimum(value = "1"), maximum(value = "10000")))]
    quorum: u32,
}

/// What kind of step it is.
#[derive(Enum)]
#[oai(rename_all = "snake_case")]
enum StepKind {
    /// An agent does a task.
    Task,
    /// A person decides.
    Approval,
}

/// What a failure means for the run.
#[derive(Enum)]
#[oai(rename_all = "snake_case")]
enum OnFailureRequest {
    /// The run fails.
    Fail,
    /// The run goes on.
    Continue,
}

/// One task for each element of a list.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct ForEachRequest {
    /// A JSON pointer to the list, such as `/input/documents` or `/steps/split/result/parts`; at most 10,000 elements.
    #[oai(validator(min_length = 1, max_length = 1000))]
    items: String,
    /// How many of the tasks may be under way at once; all when absent.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "10000")))]
    max_concurrent: Option<u32>,
    /// How many of the tasks must complete; those that are then not needed are cancelled. `all` when absent.
    #[oai(nullable)]
    join: Option<JoinRequest>,
}

/// How often a task is tried.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct RetryRule {
    /// How many attempts may fail before the step fails.
    #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
    max_attempts: u32,
}

/// One step of a workflow.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct StepRequest {
    /// Its name within the workflow.
    #[oai(validator(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-]+$"))]
    id: String,
    /// `task` when absent.
    #[oai(rename = "type", nullable)]
    kind: Option<StepKind>,
    /// The steps that come before it; only those, and those before them, can be referred to.
    #[oai(nullable)]
    depends_on: Option<Vec<String>>,
    /// How many of the steps before it must have completed; skipped ones do not count. `all` when absent.
    #[oai(nullable)]
    join: Option<JoinRequest>,
    /// The step is skipped unless this holds: `{"path", "op", "value"}` with a JSON pointer and one of eq, ne, gt, gte,
    /// lt, lte, in, contains, exists; or `{"all": [...]}`, `{"any": [...]}`, `{"not": {...}}`.
    #[oai(nullable)]
    when: Option<FreeForm>,
    /// What its failure means for the run. `fail` when absent.
    #[oai(nullable)]
    on_failure: Option<OnFailureRequest>,
    /// How long an attempt may take (300 when absent), or after which an approval counts as failed (never when absent), in
    /// seconds.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "86400")))]
    timeout_seconds: Option<u32>,
    /// Of a task: the agent that does it; or `domain`.
    #[oai(
        nullable,
        validator(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._:-]+$")
    )]
    agent_id: Option<String>,
    /// Of a task: the least busy agent of this domain does it; chosen when the step starts.
    #[oai(nullable, validator(min_length = 1, max_length = 100))]
    domain: Option<String>,
    /// Of a task: what kind of work it is. Needed.
    #[oai(nullable, validator(min_length = 1, max_length = 100))]
    task_type: Option<String>,
    /// Of a task: the input. `{"$ref": "/pointer", "default": …}` stands for what the pointer leads to.
    #[oai(nullable)]
    task_data: Option<FreeForm>,
    /// Of a task: one task for each element of a list. Its data may refer to `/item` and `/index`; its result is the list of
    /// their results.
    #[oai(nullable)]
    for_each: Option<ForEachRequest>,
    /// Of a task: how often it is tried. 3 attempts when absent.
    #[oai(nullable)]
    retry: Option<RetryRule>,
    /// Of a task: 1 to 10; 10 runs first. 1 when absent.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "10")))]
    priority: Option<u32>,
    /// Of an approval: the question.
    #[oai(nullable, validator(min_length = 1, max_length = 1000))]
    message: Option<String>,
    /// Of an approval: what is to be approved, with references as in `task_data`.
    #[oai(nullable)]
    data: Option<FreeForm>,
}

impl StepRequest {
    fn task(id: &str, agent_id: &str, depends_on: &[&str], task_data: Value) -> Self {
        let task_data = task_data.as_object().cloned().unwrap_or_default();
        Self {
            id: id.to_owned(),
            kind: None,
            depends_on: Some(depends_on.iter().map(|name| (*name).to_owned()).collect()),
            join: None,
            when: None,
            on_failure: None,
            timeout_seconds: None,
            agent_id: Some(agent_id.to_owned()),
            domain: None,
            task_type: Some("assessment".to_owned()),
            task_data: Some(Wire(task_data)),
            for_each: None,
            retry: None,
            priority: None,
            message: None,
            data: None,
        }
    }
}

fn example_steps() -> Vec<StepRequest> {
    let credit = json!({"applicant": {"$ref": "/input/applicant"}});
    let decision = json!({"score": {"$ref": "/steps/credit/result/score", "default": null}});
    vec![
        StepRequest::task("credit", "credit_agent", &[], credit),
        StepRequest::task("decision", "underwriting_agent_01", &["credit"], decision),
    ]
}

/// A definition to store: a new version, unless the newest one is the same.
#[derive(Object)]
#[oai(example, deny_unknown_fields)]
pub(crate) struct DefinitionRequest {
    /// What it is for, for people.
    #[oai(nullable, validator(min_length = 1, max_length = 1000))]
    description: Option<String>,
    /// Its steps; the definition may have 256 KiB.
    #[oai(validator(min_items = 1, max_items = 200))]
    steps: Vec<StepRequest>,
    /// What a completed run comes to: JSON with references; what leads nowhere is null.
    #[oai(nullable)]
    output: Option<FreeForm>,
}

impl Example for DefinitionRequest {
    fn example() -> Self {
        Self {
            description: Some("Decides on an application.".into()),
            steps: example_steps(),
            output: None,
        }
    }
}

/// A definition, not looked at yet: that needs the ledger.
#[derive(Debug)]
pub(crate) struct DefinitionBody(pub(crate) Value);

impl FromBody for DefinitionBody {
    type Shape = DefinitionRequest;

    const DESCRIPTION: &'static str = "The definition.";
    const EMPTY: Option<Self> = None;

    fn from_body(body: Value) -> Result<Self, Faults> {
        Ok(Self(body))
    }
}

/// A workflow to run: a definition, or the name of a stored one.
#[derive(Object)]
#[oai(example, deny_unknown_fields)]
pub(crate) struct WorkflowRequest {
    /// An identifier of the caller's choice; starting it again with the same body changes nothing.
    #[oai(nullable)]
    run_id: Option<uuid::Uuid>,
    /// A stored definition; not together with `steps`.
    #[oai(
        nullable,
        validator(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._-]+$")
    )]
    name: Option<String>,
    /// Which version of it; the newest when absent. The run keeps its version.
    #[oai(nullable, validator(minimum(value = "1")))]
    version: Option<u32>,
    /// What it is for, for people.
    #[oai(nullable, validator(min_length = 1, max_length = 1000))]
    description: Option<String>,
    /// The steps, when there is no `name`.
    #[oai(nullable, validator(min_items = 1, max_items = 200))]
    steps: Option<Vec<StepRequest>>,
    /// What the completed run comes to: JSON with references; what leads nowhere is null.
    #[oai(nullable)]
    output: Option<FreeForm>,
    /// The input, which steps refer to as `/input`. An empty object when absent.
    #[oai(nullable)]
    input: Option<FreeForm>,
}

impl Example for WorkflowRequest {
    fn example() -> Self {
        let input = json!({"applicant": {"id": "APP001"}});
        Self {
            run_id: None,
            name: None,
            version: None,
            description: None,
            steps: Some(example_steps()),
            output: None,
            input: input.as_object().cloned().map(Wire),
        }
    }
}

impl FromBody for RunRequest {
    type Shape = WorkflowRequest;

    const DESCRIPTION: &'static str = "The workflow.";
    const EMPTY: Option<Self> = None;

    fn from_body(body: Value) -> Result<Self, Faults> {
        Self::read(body)
    }
}

/// What somebody decides.
#[derive(Enum)]
#[oai(rename_all = "snake_case")]
enum VerdictRequest {
    /// The run goes on.
    Approve,
    /// The step fails.
    Reject,
}

/// A decision.
#[derive(Object)]
#[oai(example, deny_unknown_fields)]
pub(crate) struct DecisionRequest {
    /// Yes or no.
    decision: VerdictRequest,
    /// The `approval.hash` of the step, as it was read together with what is to be approved.
    #[oai(validator(min_length = 1, max_length = 100))]
    hash: String,
    /// What there is to say.
    #[oai(nullable, validator(min_length = 1, max_length = 2000))]
    comment: Option<String>,
}

impl Example for DecisionRequest {
    fn example() -> Self {
        Self {
            decision: VerdictRequest::Approve,
            hash: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae".into(),
            comment: Some("Income verified by phone.".into()),
        }
    }
}

impl FromBody for Decision {
    type Shape = DecisionRequest;

    const DESCRIPTION: &'static str = "The decision.";
    const EMPTY: Option<Self> = None;

    fn from_body(body: Value) -> Result<Self, Faults> {
        Self::read(body)
    }
}
