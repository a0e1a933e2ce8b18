//! The tasks of one step: one letter each, so that ten thousand of them are ten kilobytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::state::StepError;

macro_rules! child_statuses {
    ($($(#[$doc:meta])* $variant:ident = $letter:literal,)*) => {
        /// Where one task of a step stands.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ChildStatus { $($(#[$doc])* $variant,)* }

        impl ChildStatus {
            const fn letter(self) -> u8 {
                match self { $(Self::$variant => $letter,)* }
            }

            const fn of_letter(letter: u8) -> Option<Self> {
                match letter { $($letter => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

child_statuses! {
    /// It is not made yet.
    Waiting = b'.',
    /// It is made and has no outcome yet.
    Running = b'r',
    /// It has no outcome yet and is being cancelled.
    Dropping = b'd',
    /// It has a result.
    Completed = b'c',
    /// It failed, timed out, or was cancelled by somebody else.
    Failed = b'f',
    /// It was cancelled because nobody needs it any more.
    Dropped = b'x',
    /// It was never made, because nobody needs it any more.
    Spared = b's',
}

impl ChildStatus {
    /// Whether its task is there and has no outcome yet.
    #[must_use]
    pub const fn is_in_flight(self) -> bool {
        match self {
            Self::Running | Self::Dropping => true,
            Self::Waiting | Self::Completed | Self::Failed | Self::Dropped | Self::Spared => false,
        }
    }
}

/// What became of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildOutcome {
    /// It has a result.
    Completed,
    /// It has none and never will.
    Failed(StepError),
}

/// The tasks of one step, in the order of their list.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Children(Vec<u8>);

impl TryFrom<String> for Children {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text
            .bytes()
            .all(|letter| ChildStatus::of_letter(letter).is_some())
        {
            Ok(Self(text.into_bytes()))
        } else {
            Err("a letter that stands for no status of a task")
        }
    }
}

impl From<Children> for String {
    fn from(children: Children) -> Self {
        children.0.into_iter().map(char::from).collect()
    }
}

impl fmt::Debug for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(self.clone()))
    }
}

/// How many of some tasks stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) total: usize,
    pub(super) completed: usize,
    pub(super) failed: usize,
    pub(super) in_flight: usize,
}

impl Children {
    /// `count` tasks that are not made yet.
    pub(super) fn waiting(count: usize) -> Self {
        Self(vec![ChildStatus::Waiting.letter(); count])
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where one stands; `None` when there is no such task.
    #[must_use]
    pub fn get(&self, child: usize) -> Option<ChildStatus> {
        self.0.get(child).copied().and_then(ChildStatus::of_letter)
    }

    /// How many stand there.
    #[must_use]
    pub fn count(&self, status: ChildStatus) -> usize {
        self.0
            .iter()
            .filter(|letter| **letter == status.letter())
            .count()
    }

    /// Those that stand there, by their places.
    pub fn at(&self, status: ChildStatus) -> impl Iterator<Item = usize> + '_ {
        let letters = self.0.iter().enumerate();
        letters
            .filter(move |(_, letter)| **letter == status.letter())
            .map(|(child, _)| child)
    }

    pub(super) fn set(&mut self, child: usize, status: ChildStatus) {
        if let Some(letter) = self.0.get_mut(child) {
            *letter = status.letter();
        }
    }

    /// Moves all that stand in one place to another; returns which.
    pub(super) fn turn(&mut self, from: ChildStatus, to: ChildStatus) -> Vec<usize> {
        let moved: Vec<usize> = self.at(from).collect();
        for child in &moved {
            self.set(*child, to);
        }
        moved
    }

    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally {
            total: self.0.len(),
            ..Tally::default()
        };
        for status in self
            .0
            .iter()
            .filter_map(|letter| ChildStatus::of_letter(*letter))
        {
            tally.completed += usize::from(status == ChildStatus::Completed);
            tally.failed += usize::from(status == ChildStatus::Failed);
            tally.in_flight += usize::from(status.is_in_flight());
        }
        tally
    }
}
