//! What every accepted task must be, as far as the ledger's answers and the rules of settlement say.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use orchestrator_common::domain::{
    Claim, Completion, NewTask, Settlement, SettlementRules, TaskId, TaskStatus, Timestamp,
};
use orchestrator_common::ledger::{Recorded, Started};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

/// An accepted task.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) task: NewTask,
    pub(crate) status: TaskStatus,
    /// The claim under which it runs; one place at most.
    pub(crate) claim: Option<Claim>,
    pub(crate) claims: u32,
    pub(crate) attempt: u32,
    pub(crate) crashes: u32,
    pub(crate) run_at: Option<Timestamp>,
    pub(crate) cancel_requested: bool,
    /// Attempts that ended and count.
    pub(crate) sessions: u32,
    /// How often the ledger said that it has an outcome.
    pub(crate) outcomes: u32,
}

impl Known {
    /// The place in its agent's order: the least runs first.
    pub(crate) fn urgency(&self) -> impl Ord + std::fmt::Debug + use<> {
        (
            Reverse(self.task.priority),
            self.task.submitted_at,
            self.task.task_id,
        )
    }

    pub(crate) fn waits(&self) -> bool {
        !self.status.is_terminal() && self.status != TaskStatus::Running
    }

    /// Gives the task its outcome, which must be the first.
    pub(crate) fn end(&mut self, status: TaskStatus) -> Result<(), TestCaseError> {
        prop_assert!(status.is_terminal());
        self.status = status;
        self.outcomes += 1;
        prop_assert_eq!(self.outcomes, 1, "one outcome per task");
        Ok(())
    }
}

/// All accepted tasks of a case.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) tasks: BTreeMap<TaskId, Known>,
}

impl Model {
    /// Notes a task; whether it is new.
    pub(crate) fn accept(&mut self, task: &NewTask, now: Timestamp) -> bool {
        if self.tasks.contains_key(&task.task_id) {
            return false;
        }
        let scheduled = task.run_at.is_some_and(|at| at > now);
        let known = Known {
            status: if scheduled {
                TaskStatus::Scheduled
            } else {
                TaskStatus::Queued
            },
            run_at: task.run_at,
            task: task.clone(),
            claim: None,
            claims: 0,
            attempt: 0,
            crashes: 0,
            cancel_requested: false,
            sessions: 0,
            outcomes: 0,
        };
        self.tasks.insert(task.task_id, known);
        true
    }

    pub(crate) fn start(&mut self, started: &Started) -> Result<(), TestCaseError> {
        let claim = &started.claim;
        let Some(known) = self.tasks.get_mut(&claim.task_id) else {
            return Err(TestCaseError::fail("a task started that nobody accepted"));
        };
        prop_assert_eq!(
            known.status,
            TaskStatus::Queued,
            "only what waits for a slot starts: {:?}",
            known
        );
        known.claims += 1;
        known.attempt += 1;
        known.status = TaskStatus::Running;
        prop_assert_eq!(
            (claim.number, claim.attempt, claim.crashes),
            (known.claims, known.attempt, known.crashes)
        );
        prop_assert_eq!(&claim.agent_id, &known.task.agent_id);
        known.claim = Some(claim.clone());
        Ok(())
    }

    /// Compares what the ledger made of completions with the fence and the rules.
    pub(crate) fn settle(
        &mut self,
        told: &[Completion],
        recorded: &[Recorded],
        now: Timestamp,
    ) -> Result<(), TestCaseError> {
        prop_assert_eq!(told.len(), recorded.len());
        for (told, recorded) in told.iter().zip(recorded) {
            let claim = &told.claim;
            prop_assert_eq!(claim, &recorded.claim);
            let Some(known) = self.tasks.get_mut(&claim.task_id) else {
                return Err(TestCaseError::fail("a claim of an unknown task"));
            };
            if known.claim.as_ref() != Some(claim) {
                prop_assert!(
                    recorded.settlement.is_none(),
                    "a stale claim recorded {:?} for {:?}",
                    recorded,
                    known
                );
                continue;
            }
            let Some(settlement) = &recorded.settlement else {
                return Err(TestCaseError::fail(format!(
                    "the current claim was refused: {known:?}"
                )));
            };
            let expected = Settlement::decide(
                claim,
                told.outcome.clone(),
                known.cancel_requested,
                &SettlementRules::default(),
                now,
                0.5,
            );
            prop_assert_eq!(
                (settlement.status, settlement.counts, settlement.crashed),
                (expected.status, expected.counts, expected.crashed)
            );
            known.apply(settlement)?;
        }
        Ok(())
    }

    /// The tasks of a recovery: all that `held` says, and no other of this case.
    pub(crate) fn recover(
        &mut self,
        held: &HashSet<TaskId>,
        recorded: &[Recorded],
    ) -> Result<(), TestCaseError> {
        let mut found = HashSet::new();
        for recorded in recorded {
            let Some(known) = self.tasks.get_mut(&recorded.claim.task_id) else {
                continue;
            };
            let Some(settlement) = &recorded.settlement else {
                return Err(TestCaseError::fail("nobody else changes what is recovered"));
            };
            prop_assert!(settlement.crashed);
            prop_assert_eq!(known.claim.as_ref(), Some(&recorded.claim));
            known.apply(settlement)?;
            found.insert(recorded.claim.task_id);
        }
        prop_assert_eq!(&found, held);
        Ok(())
    }
}

impl Known {
    fn apply(&mut self, settlement: &Settlement) -> Result<(), TestCaseError> {
        self.claim = None;
        self.run_at = settlement.run_at.or(self.run_at);
        self.crashes += u32::from(settlement.crashed);
        if settlement.counts {
            self.sessions += 1;
        } else {
            self.attempt -= 1;
        }
        if settlement.status.is_terminal() {
            self.end(settlement.status)
        } else {
            self.status = settlement.status;
            Ok(())
        }
    }
}
