//! Who calls, and what they may do.

#[cfg(test)]
mod attack_testing;
#[cfg(test)]
mod attack_tests;
mod caller;
mod token;

pub(crate) use caller::{Administer, Caller, Read, Write};
pub(crate) use token::Authenticator;

pub use orchestrator_common::auth::Level;
use orchestrator_common::auth::Levels;
use orchestrator_common::commands::RETRY_AFTER;

use crate::problem::ApiError;

/// Who sent a request, as far as that is known.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// Authentication is off: anybody may do anything.
    Anyone,
    /// The bearer of an acceptable token.
    Known {
        /// The token's subject.
        subject: String,
        /// What it allows.
        levels: Levels,
    },
    /// Authentication is on and there is no acceptable token.
    Refused {
        /// Why.
        reason: &'static str,
        /// Whether a token was sent at all.
        sent: bool,
    },
    /// Authentication is on, and what tokens are checked with cannot be had now.
    Undecided,
}

impl Identity {
    /// Succeeds with the caller's name when it has `level`; `None` when nobody has to say who they are.
    pub(crate) fn demand(&self, level: Level) -> Result<Option<&str>, ApiError> {
        match self {
            Self::Anyone => Ok(None),
            Self::Known { subject, levels } if levels.include(level) => Ok(Some(subject)),
            Self::Known { .. } => Err(ApiError::Forbidden(level)),
            Self::Refused { reason, sent } => Err(ApiError::Unauthenticated {
                reason,
                sent: *sent,
            }),
            Self::Undecided => Err(ApiError::Unavailable(RETRY_AFTER)),
        }
    }
}
