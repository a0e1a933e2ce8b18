//! Who may give commands over the broker: when authentication is on, the bearer of a token that allows them.

use orchestrator_common::auth::{Level, Verifier};
use orchestrator_common::config::AuthSettings;
use orchestrator_common::messaging::{Command, Reason, Received, Refusal};

/// Decides whether a message's sender may ask what it asks.
#[derive(Debug)]
pub(crate) struct Admission {
    verifier: Option<Verifier>,
}

impl Admission {
    pub(crate) fn new(settings: &AuthSettings) -> Self {
        Self {
            verifier: Verifier::new(settings),
        }
    }

    /// Refuses a command whose sender may not give it.
    pub(crate) fn check(&self, received: &Received) -> Result<(), Refusal> {
        let Some(verifier) = &self.verifier else {
            return Ok(());
        };
        let refused = |detail: String| Refusal::new(Reason::Unauthorized, detail);
        let Some(header) = &received.authorization else {
            return Err(refused(
                "a bearer token is needed in the header authorization".to_owned(),
            ));
        };
        let bearer = verifier
            .verify_message(header.expose())
            .map_err(|reason| refused(reason.to_owned()))?;
        let level = level_of(&received.command);
        if bearer.levels.include(level) {
            Ok(())
        } else {
            Err(refused(format!("the token does not allow {level}")))
        }
    }
}

/// What the same request needs over HTTP.
const fn level_of(command: &Command) -> Level {
    match command {
        Command::Execute(_)
        | Command::ExecuteBatch(_)
        | Command::CancelTask { .. }
        | Command::Reprioritise { .. } => Level::Write,
        Command::Register(_)
        | Command::Unregister { .. }
        | Command::Start { .. }
        | Command::Stop { .. }
        | Command::Pause { .. }
        | Command::Resume { .. }
        | Command::Scale { .. } => Level::Admin,
    }
}
