//! Fan-in: when enough of several have completed, and when that can no longer be.

use super::children::Tally;
use super::definition::Join;
use super::state::StepStatus;

/// Whether a join is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// Enough have completed.
    Reached,
    /// It is still open.
    Open,
    /// Not enough can complete any more.
    Missed,
}

impl Join {
    /// Whether the tasks of a fan-out are enough.
    pub(super) fn of_children(self, tally: Tally) -> Joined {
        let needed = match self {
            Self::All => tally.total,
            Self::Any => 1,
            Self::Quorum(number) => usize::try_from(number).unwrap_or(usize::MAX),
        };
        if tally.completed >= needed {
            Joined::Reached
        } else if tally.total - tally.failed < needed {
            Joined::Missed
        } else {
            Joined::Open
        }
    }
}

/// What becomes of a step, as far as its dependencies decide that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// Its turn may still come.
    Wait,
    /// It is its turn.
    Start,
    /// Everything before it was skipped.
    Skip,
    /// Not enough before it can complete any more.
    Miss,
}

impl Join {
    /// Whether it is a step's turn, whose dependencies stand there.
    ///
    /// Skipped ones do not count. With `all`, one that failed with `on_failure: continue` is good enough; in a run that
    /// goes on no other has failed.
    pub(super) fn of_dependencies(self, before: impl Iterator<Item = StepStatus>) -> Readiness {
        let (mut total, mut completed, mut skipped, mut open) = (0u32, 0u32, 0u32, 0u32);
        for status in before {
            total += 1;
            match status {
                StepStatus::Completed => completed += 1,
                StepStatus::Skipped => skipped += 1,
                StepStatus::Pending | StepStatus::Running | StepStatus::Waiting => open += 1,
                StepStatus::Failed | StepStatus::Cancelled => {}
            }
        }
        if total == 0 {
            return Readiness::Start;
        }
        if skipped == total {
            return Readiness::Skip;
        }
        let needed = match self {
            Self::All if open > 0 => return Readiness::Wait,
            Self::All => return Readiness::Start,
            Self::Any => 1,
            Self::Quorum(number) => number,
        };
        if completed >= needed {
            Readiness::Start
        } else if open > 0 && completed + open >= needed {
            Readiness::Wait
        } else if open > 0 && completed == 0 && skipped > 0 && skipped + open == total {
            // All of them may yet be skipped, which is no failure.
            Readiness::Wait
        } else {
            Readiness::Miss
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepStatus::{Completed, Failed, Pending, Running, Skipped};

    #[test]
    fn a_fan_out_is_decided_as_soon_as_it_can_be() {
        let tally = |total, completed, failed| Tally {
            total,
            completed,
            failed,
            in_flight: 0,
        };
        for (join, tally, joined) in [
            (Join::All, tally(0, 0, 0), Joined::Reached),
            (Join::All, tally(3, 2, 0), Joined::Open),
            (Join::All, tally(3, 2, 1), Joined::Missed),
            (Join::Any, tally(3, 1, 1), Joined::Reached),
            (Join::Any, tally(3, 0, 2), Joined::Open),
            (Join::Any, tally(0, 0, 0), Joined::Missed),
            (Join::Quorum(2), tally(3, 2, 0), Joined::Reached),
            (Join::Quorum(2), tally(3, 1, 1), Joined::Open),
            (Join::Quorum(2), tally(3, 1, 2), Joined::Missed),
        ] {
            assert_eq!(join.of_children(tally), joined, "{join:?} {tally:?}");
        }
    }

    #[test]
    fn a_step_starts_when_enough_before_it_has_completed() {
        for (join, before, readiness) in [
            (Join::All, vec![], Readiness::Start),
            (Join::All, vec![Completed, Running], Readiness::Wait),
            (Join::All, vec![Completed, Skipped], Readiness::Start),
            (Join::All, vec![Failed, Completed], Readiness::Start),
            (Join::All, vec![Skipped, Skipped], Readiness::Skip),
            (Join::Any, vec![Pending, Completed], Readiness::Start),
            (Join::Any, vec![Failed, Skipped], Readiness::Miss),
            (
                Join::Quorum(2),
                vec![Completed, Failed, Running],
                Readiness::Wait,
            ),
            (
                Join::Quorum(2),
                vec![Failed, Failed, Running],
                Readiness::Miss,
            ),
            (Join::Quorum(2), vec![Skipped, Running], Readiness::Wait),
        ] {
            assert_eq!(
                join.of_dependencies(before.iter().copied()),
                readiness,
                "{join:?} {before:?}"
            );
        }
    }
}
