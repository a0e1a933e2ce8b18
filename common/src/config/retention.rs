//! How long what has ended is kept.

use std::time::Duration;

use super::{ConfigError, Reader};
use crate::domain::Expiring;

/// The longest time that can be asked for, in days: a hundred years.
const MAX_DAYS: u64 = 36_500;
const DAY: Duration = Duration::from_secs(86_400);

/// How long what has ended is kept; `None` is for ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct RetentionSettings {
    tasks: Option<Duration>,
    sessions: Option<Duration>,
    callbacks: Option<Duration>,
    dead_letters: Option<Duration>,
    audit: Option<Duration>,
}

impl RetentionSettings {
    pub(super) fn read(env: &Reader) -> Result<Self, ConfigError> {
        let days = |name: &str, default: u64| {
            let days: u64 = env.number(name, default, 0, MAX_DAYS)?;
            let days = u32::try_from(days).ok().filter(|days| *days > 0);
            Ok(days.map(|days| DAY * days))
        };
        Ok(Self {
            tasks: days("TASK_RETENTION_DAYS", 90)?,
            sessions: days("SESSION_RETENTION_DAYS", 90)?,
            callbacks: days("CALLBACK_RETENTION_DAYS", 30)?,
            dead_letters: days("DEAD_LETTER_RETENTION_DAYS", 90)?,
            audit: days("AUDIT_RETENTION_DAYS", 0)?,
        })
    }

    /// How long these are kept after they ended; `None` is for ever.
    #[must_use]
    pub const fn of(&self, what: Expiring) -> Option<Duration> {
        match what {
            Expiring::Tasks => self.tasks,
            Expiring::Sessions => self.sessions,
            Expiring::Callbacks => self.callbacks,
            Expiring::DeadLetters => self.dead_letters,
            Expiring::Audit => self.audit,
        }
    }
}
