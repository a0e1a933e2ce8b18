//! A run of a workflow as callers see it.

use std::collections::HashMap;

use orchestrator_common::domain::workflow::{
    ApprovalState, ChildStatus, Children, RunId, RunRecord, RunStatus, Step, StepError, StepState,
    StepStatus, Work,
};
use orchestrator_common::domain::{Json, TaskDocument, TaskId, Timestamp};
use poem_openapi::Object;
use poem_openapi::types::Example;
use serde::Serialize;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use super::{TaskView, Wire};

/// How many tasks of one fan-out a run shows.
const SHOWN_TASKS: usize = 100;

/// Where a run can be asked for.
pub(crate) fn run_address(run_id: RunId) -> String {
    format!("/orchestrator/workflows/{run_id}")
}

fn any(value: &Value) -> Option<Wire<Json>> {
    to_raw_value(value).ok().map(|raw| Wire(raw.into()))
}

/// A workflow that is in durable hands.
#[derive(Debug, Object, Serialize)]
#[oai(example)]
pub(crate) struct RunAccepted {
    /// Always true: a workflow that was not accepted is answered with a problem.
    success: bool,
    /// Its identifier.
    run_id: Wire<RunId>,
    /// Where it stands.
    status: Wire<RunStatus>,
    /// Where to ask for it; also in the header `Location`.
    workflow_status_endpoint: String,
}

impl RunAccepted {
    pub(crate) fn new(run_id: RunId, status: RunStatus) -> Self {
        Self {
            success: true,
            run_id: Wire(run_id),
            status: Wire(status),
            workflow_status_endpoint: run_address(run_id),
        }
    }
}

impl Example for RunAccepted {
    fn example() -> Self {
        Self::new(example_id(), RunStatus::Running)
    }
}

fn example_id() -> RunId {
    RunId::from(uuid::Uuid::from_u128(
        0x0199_a3c4_6f6e_7c3b_9b1e_3d1f_0a5c_7e22,
    ))
}

/// What became of a change to a workflow.
#[derive(Debug, Object, Serialize)]
#[oai(example)]
pub(crate) struct RunChanged {
    /// Always true: a change that was not made is answered with a problem.
    success: bool,
    /// The run.
    run_id: Wire<RunId>,
    /// What was done, for people.
    message: String,
    /// Where to ask for it.
    workflow_status_endpoint: String,
}

impl RunChanged {
    pub(crate) fn new(run_id: RunId, message: &str) -> Self {
        Self {
            success: true,
            run_id: Wire(run_id),
            message: message.to_owned(),
            workflow_status_endpoint: run_address(run_id),
        }
    }
}

impl Example for RunChanged {
    fn example() -> Self {
        Self::new(example_id(), "the workflow goes on")
    }
}

/// A run of a workflow.
#[derive(Debug, Object, Serialize)]
pub(crate) struct RunView {
    /// Its identifier.
    run_id: Wire<RunId>,
    /// The stored definition that it follows, if it follows one.
    #[oai(nullable)]
    name: Option<String>,
    /// The version of that.
    #[oai(nullable)]
    version: Option<u32>,
    /// Where it stands. `completed`, `failed` and `cancelled` are final, unless one that failed is resumed.
    status: Wire<RunStatus>,
    /// When it was accepted.
    created_at: Wire<Timestamp>,
    /// When it ended.
    #[oai(nullable)]
    ended_at: Option<Wire<Timestamp>>,
    /// Why it failed.
    #[oai(nullable)]
    error: Option<String>,
    /// Its input.
    input: Option<Wire<Json>>,
    /// What it came to, as its definition says.
    #[oai(nullable)]
    output: Option<Wire<Json>>,
    /// How often it was resumed.
    resumed: u32,
    /// Its steps, in the order of the definition.
    steps: Vec<StepView>,
}

/// A step of a run.
#[derive(Debug, Object, Serialize)]
pub(crate) struct StepView {
    /// Its name.
    id: String,
    /// `task` or `approval`.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    kind: String,
    /// Where it stands.
    status: Wire<StepStatus>,
    /// The steps before it.
    depends_on: Vec<String>,
    /// When its turn came.
    #[oai(nullable)]
    started_at: Option<Wire<Timestamp>>,
    /// When it ended.
    #[oai(nullable)]
    ended_at: Option<Wire<Timestamp>>,
    /// What came out of it: what the agent answered, or what was decided. The results of a fan-out are with its tasks.
    #[oai(nullable)]
    result: Option<Wire<Json>>,
    /// Why it failed.
    #[oai(nullable)]
    error: Option<StepErrorView>,
    /// Of a fan-out: how many of its tasks stand where.
    #[serde(skip_serializing_if = "Option::is_none")]
    fan_out: Option<FanOutView>,
    /// Its tasks; of a fan-out the first hundred that were made.
    tasks: Vec<StepTaskView>,
    /// What a person is to decide, or has decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<ApprovalView>,
}

/// Why a step failed.
#[derive(Debug, Object, Serialize)]
pub(crate) struct StepErrorView {
    /// For programs: that of a task's error, or one of `unresolved_reference`, `not_a_list`, `fan_out_too_large`,
    /// `task_too_large`, `no_agent`, `join_missed`, `rejected` and `approval_expired`.
    code: String,
    /// For people.
    message: String,
}

impl From<&StepError> for StepErrorView {
    fn from(error: &StepError) -> Self {
        Self {
            code: error.code.clone(),
            message: error.message.clone(),
        }
    }
}

/// How many tasks of a fan-out stand where.
#[derive(Debug, Object, Serialize)]
pub(crate) struct FanOutView {
    /// All of them.
    total: usize,
    /// Not made yet.
    waiting: usize,
    /// Made, without an outcome.
    running: usize,
    /// With a result.
    completed: usize,
    /// Without one.
    failed: usize,
    /// Cancelled or never made, because they were not needed any more.
    not_needed: usize,
}

impl From<&Children> for FanOutView {
    fn from(children: &Children) -> Self {
        let count = |status| children.count(status);
        Self {
            total: children.len(),
            waiting: count(ChildStatus::Waiting),
            running: count(ChildStatus::Running) + count(ChildStatus::Dropping),
            completed: count(ChildStatus::Completed),
            failed: count(ChildStatus::Failed),
            not_needed: count(ChildStatus::Dropped) + count(ChildStatus::Spared),
        }
    }
}

/// A task of a step.
#[derive(Debug, Object, Serialize)]
pub(crate) struct StepTaskView {
    /// Its place in the list of a fan-out, from 0.
    index: usize,
    /// The task, as far as it is known already.
    task: TaskView,
}

/// What a person is to decide, or has decided.
#[derive(Debug, Object, Serialize)]
pub(crate) struct ApprovalView {
    /// The question.
    #[oai(nullable)]
    message: Option<String>,
    /// What is to be approved.
    data: Option<Wire<Json>>,
    /// A decision must carry it: it belongs to exactly this, asked exactly this time.
    hash: String,
    /// When it counts as failed.
    #[oai(nullable)]
    expires_at: Option<Wire<Timestamp>>,
    /// `approve` or `reject`, once somebody has decided.
    #[oai(nullable)]
    decision: Option<String>,
    /// What they had to say.
    #[oai(nullable)]
    comment: Option<String>,
    /// Who decided: the subject of a token, or `anonymous` when authentication is off.
    #[oai(nullable)]
    decided_by: Option<String>,
}

impl From<&ApprovalState> for ApprovalView {
    fn from(state: &ApprovalState) -> Self {
        Self {
            message: state.message.clone(),
            data: any(&state.data),
            hash: state.hash.clone(),
            expires_at: state.expires_at.map(Wire),
            decision: state.decision.clone(),
            comment: state.comment.clone(),
            decided_by: state.decided_by.clone(),
        }
    }
}

/// The tasks that a view of `run` shows.
pub(crate) fn shown_tasks(run: &RunRecord) -> Vec<TaskId> {
    let steps = run.state.steps.iter().enumerate();
    let of_step = |(n, state): (usize, &StepState)| {
        let made = made(&state.children).map(|child| state.task_id(run.summary.run_id, n, child));
        made.collect::<Vec<_>>()
    };
    steps.flat_map(of_step).collect()
}

fn made(children: &Children) -> impl Iterator<Item = usize> + '_ {
    let is_made = |child: &usize| {
        !matches!(
            children.get(*child),
            None | Some(ChildStatus::Waiting | ChildStatus::Spared)
        )
    };
    (0..children.len()).filter(is_made).take(SHOWN_TASKS)
}

impl RunView {
    /// A run with what is known of its tasks.
    pub(crate) fn new(run: &RunRecord, mut tasks: HashMap<TaskId, TaskDocument>) -> Self {
        let steps = run
            .definition
            .steps
            .iter()
            .zip(&run.state.steps)
            .enumerate();
        let steps = steps
            .map(|(n, (step, state))| StepView::new(run, n, step, state, &mut tasks))
            .collect();
        let summary = &run.summary;
        Self {
            run_id: Wire(summary.run_id),
            name: summary.named.as_ref().map(|(name, _)| name.to_string()),
            version: summary.named.as_ref().map(|(_, version)| *version),
            status: Wire(summary.status),
            created_at: Wire(summary.created_at),
            ended_at: summary.ended_at.map(Wire),
            error: summary.error.clone(),
            input: any(&run.input),
            output: run.output.as_ref().and_then(any),
            resumed: run.state.resumed,
            steps,
        }
    }
}

impl StepView {
    fn new(
        run: &RunRecord,
        n: usize,
        step: &Step,
        state: &StepState,
        tasks: &mut HashMap<TaskId, TaskDocument>,
    ) -> Self {
        let name = |place: &usize| run.definition.steps.get(*place).map(|step| step.id.clone());
        let mut result = state.approval.as_ref().and_then(decided);
        let mut shown = Vec::new();
        for child in made(&state.children) {
            let task_id = state.task_id(run.summary.run_id, n, child);
            if let Some(document) = tasks.remove(&task_id) {
                if !step.fans_out() && state.status == StepStatus::Completed {
                    result = document.result.clone().map(Wire);
                }
                let task = TaskView::new(document, None);
                shown.push(StepTaskView { index: child, task });
            }
        }
        Self {
            id: step.id.clone(),
            kind: match step.work {
                Work::Task(_) => "task".to_owned(),
                Work::Approval(_) => "approval".to_owned(),
            },
            status: Wire(state.status),
            depends_on: step.depends_on.iter().filter_map(name).collect(),
            started_at: state.started_at.map(Wire),
            ended_at: state.ended_at.map(Wire),
            result,
            error: state.error.as_ref().map(Into::into),
            fan_out: step.fans_out().then(|| (&state.children).into()),
            tasks: shown,
            approval: state.approval.as_ref().map(Into::into),
        }
    }
}

fn decided(approval: &ApprovalState) -> Option<Wire<Json>> {
    let decision = approval.decision.as_ref()?;
    any(
        &json!({"decision": decision, "comment": approval.comment, "decided_by": approval.decided_by}),
    )
}
