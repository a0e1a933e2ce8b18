//! What is done when it is a step's turn: tasks are made, a person is asked, or the step is skipped.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::advance::{Decisions, Facts};
use super::children::{ChildStatus, Children};
use super::definition::{ApprovalWork, Definition, Step, Target, TaskWork, Work};
use super::scope::{Child, Scope};
use super::state::{ApprovalState, RunState, StepError, StepStatus};
use crate::domain::{AgentId, Priority, TaskId, Timestamp};

/// The most bytes of a task's input.
const MAX_TASK_BYTES: usize = 1_024 * 1_024;

/// A task that is to be made for a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Creation {
    /// Its identifier, always the same for the same child.
    pub task_id: TaskId,
    /// Who does it.
    pub agent_id: AgentId,
    /// What kind of work it is.
    pub task_type: String,
    /// The input.
    pub task_data: Value,
    /// How urgent it is.
    pub priority: Priority,
    /// Seconds that one attempt may take.
    pub timeout_seconds: u32,
    /// How many attempts may fail.
    pub max_attempts: u32,
    /// The step, by its place in the definition.
    pub step: usize,
    /// Which of the step's tasks it is.
    pub child: usize,
}

/// Begins a step whose turn has come, unless something has to be read for it first.
pub(super) fn start(n: usize, state: &mut RunState, facts: &Facts<'_>, decisions: &mut Decisions) {
    let Some(step) = facts.definition.steps.get(n) else {
        return;
    };
    let scope = facts.scope(state);
    let missing = scope.missing(|mut visit| step.visit(&mut visit));
    if !missing.is_empty() {
        decisions.needs.extend(missing);
        return;
    }
    let is_wanted = step
        .when
        .as_ref()
        .is_none_or(|condition| condition.holds(&|reference| scope.look_up(reference, None)));
    let begun = if is_wanted {
        match &step.work {
            Work::Task(task) => children_of(task, n, &scope).map(Begun::Tasks),
            Work::Approval(approval) => ask(n, approval, &scope, facts).map(Begun::Question),
        }
    } else {
        Ok(Begun::Nothing)
    };
    let Some(state) = state.steps.get_mut(n) else {
        return;
    };
    state.started_at = Some(facts.now);
    state.ended_at = None;
    match begun {
        Ok(Begun::Tasks(children)) => {
            state.children = children;
            state.status = StepStatus::Running;
        }
        Ok(Begun::Question(approval)) => {
            state.approval = Some(approval);
            state.status = StepStatus::Waiting;
        }
        Ok(Begun::Nothing) => state.end(StepStatus::Skipped, facts.now),
        Err(error) => state.fail(error, facts.now),
    }
}

/// How a step began.
enum Begun {
    Tasks(Children),
    Question(ApprovalState),
    Nothing,
}

/// The tasks of a step, none of them made yet; what an earlier try left is kept.
fn children_of(task: &TaskWork, n: usize, scope: &Scope<'_>) -> Result<Children, StepError> {
    let before = scope.state.steps.get(n).map(|state| &state.children);
    if let Some(before) = before.filter(|before| !before.is_empty()) {
        return Ok(before.clone());
    }
    let Some(for_each) = &task.for_each else {
        return Ok(Children::waiting(1));
    };
    let items = scope.look_up(&for_each.items, None);
    let items = items.or_else(|| for_each.items.default.clone());
    let Some(Value::Array(items)) = items else {
        let message = format!("{} leads to no list", for_each.items.as_str());
        return Err(StepError::new("not_a_list", message));
    };
    let most = Definition::MAX_FAN_OUT;
    if items.len() > most {
        let message = format!(
            "the list has {} elements, and at most {most} are allowed",
            items.len()
        );
        return Err(StepError::new("fan_out_too_large", message));
    }
    Ok(Children::waiting(items.len()))
}

fn ask(
    n: usize,
    work: &ApprovalWork,
    scope: &Scope<'_>,
    facts: &Facts<'_>,
) -> Result<ApprovalState, StepError> {
    let data = match &work.data {
        Some(data) => data
            .fill(&|reference| scope.look_up(reference, None))
            .map_err(unresolved)?,
        None => Value::Null,
    };
    // Bound to this run, this step and this asking: no other approval fits.
    let asked = json!([facts.run_id, n, scope.state.resumed, work.message, data]);
    let timeout = work
        .timeout_seconds
        .map(|seconds| std::time::Duration::from_secs(seconds.into()));
    Ok(ApprovalState {
        message: work.message.clone(),
        data,
        hash: hexadecimal(digest(&SHA256, asked.to_string().as_bytes()).as_ref()),
        expires_at: timeout.map(|timeout| facts.now.plus(timeout)),
        decision: None,
        comment: None,
        decided_by: None,
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unresolved(reference: &super::reference::Reference) -> StepError {
    let message = format!("{} leads nowhere, and has no default", reference.as_str());
    StepError::new("unresolved_reference", message)
}

/// Makes as many of a running step's tasks as its concurrency and the room for new tasks let it; returns whether any was
/// made, or could not be.
pub(super) fn make_tasks(
    n: usize,
    state: &mut RunState,
    facts: &Facts<'_>,
    decisions: &mut Decisions,
) -> bool {
    let Some(Step {
        work: Work::Task(task),
        ..
    }) = facts.definition.steps.get(n)
    else {
        return false;
    };
    let Some(waiting) = state
        .steps
        .get(n)
        .map(|state| next_of(task, &state.children))
    else {
        return false;
    };
    if waiting.is_empty() {
        return false;
    }
    let room = facts.room.saturating_sub(decisions.create.len());
    if waiting.len() > room {
        decisions.has_more = true;
    }
    let scope = facts.scope(state);
    let missing = scope.missing(|visit| {
        task.task_data.visit(&mut |reference| visit(reference));
        if let Some(for_each) = &task.for_each {
            visit(&for_each.items);
        }
    });
    if !missing.is_empty() {
        decisions.needs.extend(missing);
        return false;
    }
    let items = task.for_each.as_ref().and_then(|for_each| {
        let items = scope.look_up(&for_each.items, None);
        items.or_else(|| for_each.items.default.clone())
    });
    let made: Vec<(usize, Result<Creation, StepError>)> = waiting
        .into_iter()
        .take(room)
        .map(|index| {
            let item = items.as_ref().and_then(|items| items.get(index));
            (
                index,
                creation(n, task, Child { item, index }, &scope, facts),
            )
        })
        .collect();
    let Some(state) = state.steps.get_mut(n) else {
        return false;
    };
    let any = !made.is_empty();
    for (child, made) in made {
        match made {
            Ok(creation) => {
                state.children.set(child, ChildStatus::Running);
                decisions.create.push(creation);
            }
            Err(error) => {
                state.children.set(child, ChildStatus::Failed);
                state.error.get_or_insert(error);
            }
        }
    }
    any
}

/// The children that may be made now.
fn next_of(task: &TaskWork, children: &Children) -> Vec<usize> {
    let limit = task
        .for_each
        .as_ref()
        .and_then(|for_each| for_each.max_concurrent);
    let free = limit.map_or(usize::MAX, |limit| {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        limit.saturating_sub(children.tally().in_flight)
    });
    children.at(ChildStatus::Waiting).take(free).collect()
}

fn creation(
    n: usize,
    task: &TaskWork,
    child: Child<'_>,
    scope: &Scope<'_>,
    facts: &Facts<'_>,
) -> Result<Creation, StepError> {
    let agent_id = match &task.target {
        Target::Agent(agent_id) => agent_id.clone(),
        Target::Domain(domain) => chosen(facts.agents, domain, child.index)
            .ok_or_else(|| {
                let message = format!("no agent of the domain {domain:?} is registered");
                StepError::new("no_agent", message)
            })?
            .clone(),
    };
    let look_up = |reference: &super::reference::Reference| scope.look_up(reference, Some(child));
    let task_data = task.task_data.fill(&look_up).map_err(unresolved)?;
    if !task.task_data.is_literal() && task_data.to_string().len() > MAX_TASK_BYTES {
        let message = format!("the input of the task would be larger than {MAX_TASK_BYTES} bytes");
        return Err(StepError::new("task_too_large", message));
    }
    let state = scope.state.steps.get(n);
    let task_id = state.map(|state| state.task_id(facts.run_id, n, child.index));
    Ok(Creation {
        task_id: task_id.unwrap_or_else(|| TaskId::of_step(facts.run_id, n, child.index, 0)),
        agent_id,
        task_type: task.task_type.clone(),
        task_data,
        priority: task.priority,
        timeout_seconds: task.timeout_seconds,
        max_attempts: task.max_attempts,
        step: n,
        child: child.index,
    })
}

/// The tasks of a fan-out go round the agents of a domain, the least busy first.
fn chosen<'a>(
    agents: &'a BTreeMap<String, Vec<AgentId>>,
    domain: &str,
    index: usize,
) -> Option<&'a AgentId> {
    let agents = agents.get(domain)?;
    agents.get(index.checked_rem(agents.len())?)
}

/// The earliest time at which a question that is open counts as failed.
pub(super) fn next_expiry(state: &RunState) -> Option<Timestamp> {
    let open = state
        .steps
        .iter()
        .filter(|step| step.status == StepStatus::Waiting);
    open.filter_map(|step| step.approval.as_ref()?.expires_at)
        .min()
}
