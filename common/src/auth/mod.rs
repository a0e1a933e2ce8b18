//! Bearer tokens: what they allow, for HTTP requests and for messages alike.

mod claims;
mod endorsement;
mod key_set;
mod verifier;

use std::fmt;

pub use endorsement::Endorser;
pub use key_set::KeySet;
pub use verifier::Verifier;

/// Whoever bears an acceptable token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The token's subject.
    pub subject: String,
    /// What it allows.
    pub levels: Levels,
}

/// Why the bearer of a token is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token will not do.
    #[error("{0}")]
    Unacceptable(&'static str),
    /// It is signed with a key that its issuer does not publish, as far as was known a moment ago.
    #[error("the token is signed with a key that is not known")]
    UnknownKey,
    /// It cannot be checked now: the issuer's keys cannot be fetched.
    #[error("the keys that tokens are checked with cannot be fetched now")]
    NoKeys,
}

/// What a token can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// To read agents and tasks.
    Read,
    /// To submit and change tasks.
    Write,
    /// To change agents, and to read the audit and dead letters.
    Admin,
}

impl Level {
    /// Its name in a token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The levels that a caller has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    read: bool,
    write: bool,
    admin: bool,
}

impl Levels {
    /// Adds a level; the level admin contains the others.
    pub(crate) const fn grant(&mut self, level: Level) {
        match level {
            Level::Read => self.read = true,
            Level::Write => self.write = true,
            Level::Admin => {
                *self = Self {
                    read: true,
                    write: true,
                    admin: true,
                }
            }
        }
    }

    /// Whether `level` is among them.
    #[must_use]
    pub const fn include(self, level: Level) -> bool {
        match level {
            Level::Read => self.read,
            Level::Write => self.write,
            Level::Admin => self.admin,
        }
    }
}
