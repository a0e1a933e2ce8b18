//! The engine: what follows for a run when tasks have ended, somebody has decided, or time has passed.
//!
//! A pure function of what is known. Whatever calls it holds the run's row locked, and writes the new state and carries
//! out the decisions in the same transaction; so each child of a step is made once, and each end of a task counts once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::children::{ChildOutcome, ChildStatus};
use super::definition::{Definition, Join, OnFailure, Work};
use super::joining::{Joined, Readiness};
use super::run::{RunId, RunStatus};
use super::scope::{Results, Scope};
use super::starting::{Creation, make_tasks, next_expiry, start};
use super::state::{RunState, StepError, StepStatus};
use crate::domain::{AgentId, TaskId, Timestamp};

/// What is known when a run is advanced.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The run.
    pub run_id: RunId,
    /// What it follows.
    pub definition: &'a Definition,
    /// Its input.
    pub input: &'a Value,
    /// What came out of its steps, as far as it was read.
    pub results: &'a Results,
    /// The agents of each domain, the least busy first.
    pub agents: &'a BTreeMap<String, Vec<AgentId>>,
    /// Tasks of it that ended.
    pub ended: &'a [(TaskId, ChildOutcome)],
    /// How many tasks may be made now.
    pub room: usize,
    /// The time.
    pub now: Timestamp,
}

impl<'a> Facts<'a> {
    pub(super) fn scope(&self, state: &'a RunState) -> Scope<'a> {
        Scope {
            definition: self.definition,
            state,
            input: self.input,
            results: self.results,
        }
    }
}

/// What is to be done for a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decisions {
    /// Tasks to make.
    pub create: Vec<Creation>,
    /// Tasks to cancel.
    pub cancel: Vec<TaskId>,
    /// Steps whose results must be read first. Unless this is empty nothing else counts: advance the old state again, with
    /// them.
    pub needs: BTreeSet<usize>,
    /// Whether there was no room for more tasks: advance again soon.
    pub has_more: bool,
    /// When to advance again even if nothing happens.
    pub wake_at: Option<Timestamp>,
    /// What a run that has just completed came to.
    pub output: Option<Value>,
    /// Why a run that has just failed did.
    pub error: Option<String>,
}

/// Advances a run: changes `status` and `state`, and says what is to be done.
pub fn advance(status: &mut RunStatus, state: &mut RunState, facts: &Facts<'_>) -> Decisions {
    let mut decisions = Decisions::default();
    note_ends(state, facts);
    if status.has_ended() {
        return decisions;
    }
    loop {
        let mut changed = settle_steps(status, state, facts, &mut decisions);
        if *status == RunStatus::Running {
            changed |= start_steps(state, facts, &mut decisions);
        }
        if !decisions.needs.is_empty() {
            return decisions;
        }
        if !changed {
            break;
        }
    }
    finish(status, state, facts, &mut decisions);
    if !status.has_ended() {
        let soon = decisions.has_more.then_some(facts.now);
        decisions.wake_at = soon.or_else(|| next_expiry(state));
    }
    decisions
}

/// Cancels a run that has not ended; the rest happens when it is advanced. Returns whether there was anything to cancel.
#[must_use]
pub fn cancel(status: &mut RunStatus) -> bool {
    let may = matches!(status, RunStatus::Running | RunStatus::Failing);
    if may {
        *status = RunStatus::Cancelling;
    }
    may
}

/// Takes in which tasks have ended. One that is not under way has been taken in before, or belongs to an earlier try.
fn note_ends(state: &mut RunState, facts: &Facts<'_>) {
    if facts.ended.is_empty() {
        return;
    }
    let mut in_flight = BTreeMap::new();
    for (n, step) in state.steps.iter().enumerate() {
        for status in [ChildStatus::Running, ChildStatus::Dropping] {
            for child in step.children.at(status) {
                in_flight.insert(step.task_id(facts.run_id, n, child), (n, child, status));
            }
        }
    }
    for (task_id, outcome) in facts.ended {
        let Some((n, child, before)) = in_flight.remove(task_id) else {
            continue;
        };
        let Some(step) = state.steps.get_mut(n) else {
            continue;
        };
        let after = match (outcome, before) {
            (ChildOutcome::Completed, _) => ChildStatus::Completed,
            (ChildOutcome::Failed(_), ChildStatus::Dropping) => ChildStatus::Dropped,
            (ChildOutcome::Failed(error), _) => {
                step.error.get_or_insert_with(|| error.clone());
                ChildStatus::Failed
            }
        };
        step.children.set(child, after);
    }
}

/// Ends what is decided: fan-outs, questions that nobody answered in time, and everything when the run is being ended.
fn settle_steps(
    status: &mut RunStatus,
    state: &mut RunState,
    facts: &Facts<'_>,
    decisions: &mut Decisions,
) -> bool {
    let mut changed = false;
    for (n, step) in facts.definition.steps.iter().enumerate() {
        let Some(stands) = state.steps.get_mut(n) else {
            continue;
        };
        match (&step.work, stands.status) {
            (Work::Task(task), StepStatus::Running) => {
                let join = task
                    .for_each
                    .as_ref()
                    .map_or(Join::All, |for_each| for_each.join);
                match join.of_children(stands.children.tally()) {
                    Joined::Open => continue,
                    Joined::Reached => {
                        // What an earlier failure of a single task said does not matter any more.
                        stands.error = None;
                        stands.end(StepStatus::Completed, facts.now);
                        stands
                            .children
                            .turn(ChildStatus::Waiting, ChildStatus::Spared);
                        for child in stands
                            .children
                            .turn(ChildStatus::Running, ChildStatus::Dropping)
                        {
                            decisions
                                .cancel
                                .push(stands.task_id(facts.run_id, n, child));
                        }
                    }
                    Joined::Missed => {
                        stands.fail(
                            StepError::new("join_missed", "too few of its tasks completed"),
                            facts.now,
                        );
                    }
                }
                changed = true;
            }
            (Work::Approval(_), StepStatus::Waiting) => {
                let expires_at = stands.approval.as_ref().and_then(|asked| asked.expires_at);
                if expires_at.is_some_and(|at| at <= facts.now) {
                    let error = StepError::new("approval_expired", "nobody decided in time");
                    stands.fail(error, facts.now);
                    changed = true;
                }
            }
            (Work::Task(_) | Work::Approval(_), _) => {}
        }
        if stands.status == StepStatus::Failed
            && step.on_failure == OnFailure::Fail
            && *status == RunStatus::Running
        {
            *status = RunStatus::Failing;
            changed = true;
        }
    }
    match *status {
        RunStatus::Failing => changed |= withdraw_questions(state),
        RunStatus::Cancelling => changed |= drop_everything(state, facts, decisions),
        RunStatus::Running | RunStatus::Completed | RunStatus::Failed | RunStatus::Cancelled => {}
    }
    changed
}

/// Begins steps whose turn has come, and makes their tasks.
fn start_steps(state: &mut RunState, facts: &Facts<'_>, decisions: &mut Decisions) -> bool {
    let mut changed = false;
    for (n, step) in facts.definition.steps.iter().enumerate() {
        if state
            .steps
            .get(n)
            .is_some_and(|stands| stands.status == StepStatus::Pending)
        {
            let before = step
                .depends_on
                .iter()
                .filter_map(|parent| state.steps.get(*parent));
            match step
                .join
                .of_dependencies(before.map(|parent| parent.status))
            {
                Readiness::Wait => continue,
                Readiness::Start => start(n, state, facts, decisions),
                Readiness::Skip => end(state, n, StepStatus::Skipped, None, facts.now),
                Readiness::Miss => {
                    let error =
                        StepError::new("join_missed", "too few of the steps before it completed");
                    end(state, n, StepStatus::Failed, Some(error), facts.now);
                }
            }
            changed = true;
        }
        if state
            .steps
            .get(n)
            .is_some_and(|stands| stands.status == StepStatus::Running)
        {
            changed |= make_tasks(n, state, facts, decisions);
        }
    }
    changed
}

fn end(
    state: &mut RunState,
    n: usize,
    status: StepStatus,
    error: Option<StepError>,
    now: Timestamp,
) {
    if let Some(step) = state.steps.get_mut(n) {
        step.error = error;
        step.end(status, now);
    }
}

/// In a run that fails nobody is asked any more; a resumption asks anew.
fn withdraw_questions(state: &mut RunState) -> bool {
    let mut changed = false;
    for step in state
        .steps
        .iter_mut()
        .filter(|step| step.status == StepStatus::Waiting)
    {
        step.status = StepStatus::Pending;
        step.approval = None;
        changed = true;
    }
    changed
}

/// Ends all that is left of a run that is being cancelled.
fn drop_everything(state: &mut RunState, facts: &Facts<'_>, decisions: &mut Decisions) -> bool {
    let mut changed = false;
    for (n, step) in state.steps.iter_mut().enumerate() {
        if !step.status.has_ended() {
            step.end(StepStatus::Cancelled, facts.now);
            changed = true;
        }
        for child in step
            .children
            .turn(ChildStatus::Running, ChildStatus::Dropping)
        {
            decisions.cancel.push(step.task_id(facts.run_id, n, child));
            changed = true;
        }
    }
    changed
}

/// Ends a run of which nothing is left to do.
fn finish(
    status: &mut RunStatus,
    state: &mut RunState,
    facts: &Facts<'_>,
    decisions: &mut Decisions,
) {
    if state.has_tasks_in_flight() {
        return;
    }
    match *status {
        RunStatus::Cancelling => *status = RunStatus::Cancelled,
        RunStatus::Failing => {
            for step in state
                .steps
                .iter_mut()
                .filter(|step| step.status == StepStatus::Running)
            {
                // A fan-out of which the rest was not made: a resumption goes on with it.
                step.status = StepStatus::Pending;
            }
            decisions.error = failure(state, facts.definition);
            *status = RunStatus::Failed;
        }
        RunStatus::Running if state.steps.iter().all(|step| step.status.has_ended()) => {
            let scope = facts.scope(state);
            if let Some(output) = &facts.definition.output {
                decisions.needs =
                    scope.missing(|visit| output.visit(&mut |reference| visit(reference)));
                if !decisions.needs.is_empty() {
                    return;
                }
                // Where a step was skipped or failed there is nothing, and that is an answer.
                let look_up = |reference: &super::reference::Reference| {
                    let found = scope.look_up(reference, None);
                    Some(
                        found
                            .or_else(|| reference.default.clone())
                            .unwrap_or_default(),
                    )
                };
                decisions.output = output.fill(&look_up).ok();
            }
            *status = RunStatus::Completed;
        }
        RunStatus::Running | RunStatus::Completed | RunStatus::Failed | RunStatus::Cancelled => {}
    }
}

/// The first step that failed the run, in words.
fn failure(state: &RunState, definition: &Definition) -> Option<String> {
    let mut steps = definition.steps.iter().zip(&state.steps);
    let (step, stands) = steps.find(|(step, stands)| {
        stands.status == StepStatus::Failed && step.on_failure == OnFailure::Fail
    })?;
    let why = stands
        .error
        .as_ref()
        .map_or("unknown", |error| error.message.as_str());
    Some(format!("step {} failed: {why}", step.id))
}
