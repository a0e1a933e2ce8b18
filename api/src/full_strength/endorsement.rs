//! The API's own word for the commands that it publishes: workers want a token when authentication is on, and the
//! caller's own may have run out by the time the message is read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use orchestrator_common::auth::{Endorser, Level};
use orchestrator_common::config::{AuthSettings, ConfigError};
use orchestrator_common::messaging::Command;

/// Who the tokens name.
const SUBJECT: &str = "orchestrator-api";
/// How long one token is used; it is valid for much longer.
const USE: Duration = Duration::from_secs(3_600);

/// Makes the tokens, and keeps them for a while.
#[derive(Debug)]
pub(super) struct Endorsement {
    endorser: Option<Endorser>,
    write: Kept,
    administer: Kept,
}

type Kept = ArcSwapOption<(Instant, String)>;

impl Endorsement {
    /// Follows the settings.
    ///
    /// # Errors
    /// When there is no `JWT_SECRET` to sign with.
    pub(super) fn new(settings: &AuthSettings) -> Result<Self, ConfigError> {
        Ok(Self {
            endorser: Endorser::new(settings)?,
            write: Kept::empty(),
            administer: Kept::empty(),
        })
    }

    /// The `authorization` header for `command`; `None` when authentication is off.
    ///
    /// # Errors
    /// When it cannot be signed: why.
    pub(super) fn of(&self, command: &Command) -> Result<Option<Arc<(Instant, String)>>, String> {
        let level = match command {
            Command::Execute(_)
            | Command::ExecuteBatch(_)
            | Command::CancelTask { .. }
            | Command::Reprioritise { .. }
            | Command::StartWorkflow(_)
            | Command::CancelWorkflow { .. }
            | Command::ApproveStep { .. } => Level::Write,
            Command::Register(_)
            | Command::Unregister { .. }
            | Command::Start { .. }
            | Command::Stop { .. }
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::Scale { .. } => Level::Admin,
        };
        self.for_level(level)
    }

    /// The same for what needs `level`.
    pub(super) fn for_level(&self, level: Level) -> Result<Option<Arc<(Instant, String)>>, String> {
        let Some(endorser) = &self.endorser else {
            return Ok(None);
        };
        let kept = match level {
            Level::Read | Level::Write => &self.write,
            Level::Admin => &self.administer,
        };
        if let Some(token) = kept.load_full().filter(|token| token.0.elapsed() < USE) {
            return Ok(Some(token));
        }
        let header = endorser
            .endorse(SUBJECT, level)
            .map_err(|e| e.to_string())?;
        let token = Arc::new((Instant::now(), header));
        kept.store(Some(Arc::clone(&token)));
        Ok(Some(token))
    }
}
