//! Who may give commands over the broker: when authentication is on, the API with its endorsement, and the bearer of a
//! token that allows them.

use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::auth::{Bearer, Endorser, Level, TokenError, Verifier};
use orchestrator_common::messaging::{Command, Reason, Received, Refusal};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// How long a message waits for the keys that its token is checked with: an issuer that is restarted is back by then.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks for a key.
const PAUSE: Duration = Duration::from_secs(2);
/// Messages that wait for keys at a time; further ones are put aside at once, so that whoever invents keys holds nobody up.
const MAX_WAITING: usize = 64;

/// Decides whether a message's sender may ask what it asks.
#[derive(Debug)]
pub(crate) struct Admission {
    checks: Option<Checks>,
    waiting: Semaphore,
}

/// What tokens are checked with, when authentication is on.
#[derive(Debug)]
pub(crate) struct Checks {
    /// For what the API sends.
    pub(crate) endorser: Endorser,
    /// For everybody else.
    pub(crate) verifier: Arc<Verifier>,
}

impl Admission {
    pub(crate) fn new(checks: Option<Checks>) -> Self {
        Self {
            checks,
            waiting: Semaphore::new(MAX_WAITING),
        }
    }

    /// Refuses a command whose sender may not give it; returns the subject of the sender's own token. There is none when
    /// the message is to be believed: without authentication, and when the API vouches for it.
    ///
    /// Takes time only while a key is looked for.
    pub(crate) async fn check(&self, received: &Received) -> Result<Option<String>, Refusal> {
        let Some(checks) = &self.checks else {
            return Ok(None);
        };
        let Some(header) = &received.authorization else {
            return Err(refused(
                "a bearer token is needed in the header authorization",
            ));
        };
        let endorsed = checks.endorser.check(header.expose());
        let is_endorsed = endorsed.is_some();
        let bearer = match endorsed {
            Some(endorsed) => endorsed,
            None => match checks.verifier.verify(header.expose()).await {
                Err(TokenError::UnknownKey | TokenError::NoKeys) => {
                    self.wait_for_key(checks, header.expose()).await
                }
                known => known,
            },
        };
        let bearer = bearer.map_err(|reason| refused(&reason.to_string()))?;
        let level = level_of(&received.command);
        if bearer.levels.include(level) {
            Ok((!is_endorsed).then_some(bearer.subject))
        } else {
            Err(refused(&format!("the token does not allow {level}")))
        }
    }

    async fn wait_for_key(&self, checks: &Checks, header: &str) -> Result<Bearer, TokenError> {
        let begun = Instant::now();
        let place = self.waiting.try_acquire();
        loop {
            let bearer = checks.verifier.verify(header).await;
            let in_vain = place.is_err() || begun.elapsed() > PATIENCE;
            if in_vain || !matches!(bearer, Err(TokenError::UnknownKey | TokenError::NoKeys)) {
                return bearer;
            }
            sleep(PAUSE).await;
        }
    }
}

fn refused(detail: &str) -> Refusal {
    Refusal::new(Reason::Unauthorized, detail.to_owned())
}

/// What the same request needs over HTTP.
const fn level_of(command: &Command) -> Level {
    match command {
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
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
