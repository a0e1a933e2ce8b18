//! Whether callbacks are made, what signs them, and where they may go.

use url::Url;

use super::{ConfigError, Reader};
use crate::callbacks::SigningKey;
use crate::domain::{CallbackTargets, Faults};

/// Callbacks.
#[derive(Clone, Debug, Default)]
pub struct CallbackSettings {
    /// What signs them; without it none are made.
    pub key: Option<SigningKey>,
    /// Where they may go.
    pub targets: CallbackTargets,
}

impl CallbackSettings {
    pub(super) fn read(env: &Reader) -> Result<Self, ConfigError> {
        let key = env.optional("WEBHOOK_SECRET").map(|secret| {
            SigningKey::parse(secret.trim())
                .ok_or_else(|| ConfigError::new("WEBHOOK_SECRET", SigningKey::ACCEPTS))
        });
        let targets = env.optional("CALLBACK_ALLOWED_HOSTS").map(|hosts| {
            CallbackTargets::parse(&hosts)
                .ok_or_else(|| ConfigError::new("CALLBACK_ALLOWED_HOSTS", CallbackTargets::ACCEPTS))
        });
        Ok(Self {
            key: key.transpose()?,
            targets: targets.transpose()?.unwrap_or_default(),
        })
    }

    /// Whether a task may ask to be told its outcome at `url`, as far as can be said before the name is resolved.
    ///
    /// # Errors
    /// Why it may not, as a fault of `callback_url`.
    pub fn accept(&self, url: Option<&Url>) -> Result<(), Faults> {
        let Some(url) = url else { return Ok(()) };
        let fault = |message: String| Faults::one("callback_url", message);
        if self.key.is_none() {
            let message = "needs WEBHOOK_SECRET, with which callbacks are signed, to be set where the orchestrator runs";
            return Err(fault(message.to_owned()));
        }
        self.targets
            .check(url)
            .map_err(|why| fault(why.to_string()))
    }
}
