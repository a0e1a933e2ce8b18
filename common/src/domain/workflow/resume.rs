//! Going on with a run that failed: what completed is kept, what failed is done anew.

use super::children::ChildStatus;
use super::definition::{Definition, OnFailure};
use super::run::RunStatus;
use super::state::{RunState, StepState, StepStatus};

/// Takes a failed run up again; the rest happens when it is advanced. Returns whether it had failed.
///
/// Done anew are the steps that failed the run, those that failed before and that nothing built on, and those that were
/// skipped after one of them. Of a fan-out only the tasks that did not complete are made anew.
#[must_use]
pub fn resume(status: &mut RunStatus, state: &mut RunState, definition: &Definition) -> bool {
    if *status != RunStatus::Failed {
        return false;
    }
    *status = RunStatus::Running;
    state.resumed += 1;
    let tried = state.resumed;
    let mut again: Vec<bool> = (0..definition.steps.len())
        .map(|n| is_done_anew(n, state, definition))
        .collect();
    // Until nothing more follows: steps can be written in any order.
    loop {
        let mut changed = false;
        for (n, step) in definition.steps.iter().enumerate() {
            let skipped = state
                .steps
                .get(n)
                .is_some_and(|stands| stands.status == StepStatus::Skipped);
            let follows = step
                .depends_on
                .iter()
                .any(|parent| again.get(*parent) == Some(&true));
            if let Some(again) = again.get_mut(n)
                && skipped
                && follows
                && !*again
            {
                *again = true;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    for (step, again) in state.steps.iter_mut().zip(again) {
        if again || step.status == StepStatus::Pending {
            renew(step, tried);
        }
    }
    true
}

fn is_done_anew(n: usize, state: &RunState, definition: &Definition) -> bool {
    let failed = |n: usize| {
        state
            .steps
            .get(n)
            .is_some_and(|step| step.status == StepStatus::Failed)
    };
    let completed = |n: usize| {
        state
            .steps
            .get(n)
            .is_some_and(|step| step.status == StepStatus::Completed)
    };
    if !failed(n) {
        return false;
    }
    let fails_the_run = definition
        .steps
        .get(n)
        .is_some_and(|step| step.on_failure == OnFailure::Fail);
    let mut after = definition
        .steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.depends_on.contains(&n));
    fails_the_run || !after.any(|(m, _)| completed(m))
}

fn renew(step: &mut StepState, tried: u32) {
    step.status = StepStatus::Pending;
    step.error = None;
    step.approval = None;
    step.started_at = None;
    step.ended_at = None;
    for status in [ChildStatus::Failed, ChildStatus::Dropped] {
        for child in step.children.turn(status, ChildStatus::Waiting) {
            step.tries.insert(child, tried);
        }
    }
}
