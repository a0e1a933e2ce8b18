//! What references lead to, at one moment of a run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::definition::{Definition, Work};
use super::reference::{Part, Reference, Source};
use super::state::{RunState, StepStatus};

/// What came out of steps, as far as it was read from the ledger: by their places in the definition.
pub type Results = BTreeMap<usize, Value>;

/// The child of a fan-out that a reference is followed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child<'a> {
    pub(super) item: Option<&'a Value>,
    pub(super) index: usize,
}

/// What references are followed in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub(super) definition: &'a Definition,
    pub(super) state: &'a RunState,
    pub(super) input: &'a Value,
    pub(super) results: &'a Results,
}

impl Scope<'_> {
    /// What a reference leads to.
    pub(super) fn look_up(&self, reference: &Reference, child: Option<Child<'_>>) -> Option<Value> {
        let within = reference.within.as_str();
        match reference.source {
            Source::Input => self.input.pointer(within).cloned(),
            Source::Item => child?.item?.pointer(within).cloned(),
            Source::Index => Some(child?.index.into()),
            Source::Step(step, Part::Result) => self.result(step, within),
            Source::Step(step, Part::Status) => {
                let status = self.state.steps.get(step)?.status;
                Value::from(status.as_str()).pointer(within).cloned()
            }
            Source::Step(step, Part::Error) => {
                let error = self.state.steps.get(step)?.error.as_ref()?;
                json!({"code": error.code, "message": error.message})
                    .pointer(within)
                    .cloned()
            }
        }
    }

    fn result(&self, step: usize, within: &str) -> Option<Value> {
        let state = self.state.steps.get(step)?;
        if let Some(approval) = &state.approval {
            let decision = approval.decision.as_ref()?;
            let result = json!({
                "decision": decision, "comment": approval.comment, "decided_by": approval.decided_by,
            });
            return result.pointer(within).cloned();
        }
        self.results.get(&step)?.pointer(within).cloned()
    }

    /// Which of the steps that `references` read have results that are still to be read from the ledger.
    pub(super) fn missing<'r>(
        &self,
        visit: impl FnOnce(&mut dyn FnMut(&'r Reference)),
    ) -> BTreeSet<usize> {
        let mut missing = BTreeSet::new();
        visit(&mut |reference: &'r Reference| {
            if let Source::Step(step, Part::Result) = reference.source
                && !self.results.contains_key(&step)
                && self.may_have_result(step)
            {
                missing.insert(step);
            }
        });
        missing
    }

    fn may_have_result(&self, step: usize) -> bool {
        let status = self.state.steps.get(step).map(|state| state.status);
        let work = self.definition.steps.get(step).map(|step| &step.work);
        match (work, status) {
            (Some(Work::Task(_)), Some(StepStatus::Completed)) => true,
            // Of a fan-out that failed, those that completed have results.
            (Some(Work::Task(task)), Some(StepStatus::Failed)) => task.for_each.is_some(),
            (Some(Work::Task(_) | Work::Approval(_)) | None, _) => false,
        }
    }
}
