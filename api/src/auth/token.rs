//! Who sent a request, by its `Authorization` header.

use orchestrator_common::auth::{Bearer, KeySet, TokenError, Verifier};
use orchestrator_common::config::AuthSettings;
use poem::http::{HeaderMap, header};

use super::Identity;

/// Decides who sent a request.
#[derive(Debug)]
pub(crate) struct Authenticator {
    verifier: Option<Verifier>,
}

impl Authenticator {
    /// Follows the settings.
    pub(crate) fn new(settings: &AuthSettings) -> Self {
        Self {
            verifier: Verifier::new(settings),
        }
    }

    /// The keys that the issuer publishes, if tokens are checked with such.
    pub(crate) fn key_set(&self) -> Option<&KeySet> {
        self.verifier.as_ref()?.key_set()
    }

    /// Who sent a request with these headers.
    pub(crate) async fn identify(&self, headers: &HeaderMap) -> Identity {
        let Some(verifier) = &self.verifier else {
            return Identity::Anyone;
        };
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Identity::Refused {
                reason: "a bearer token is needed in the header Authorization",
                sent: false,
            };
        };
        if values.next().is_some() {
            return refused("there is more than one Authorization header");
        }
        let Ok(text) = value.to_str() else {
            return refused("the header Authorization cannot be read");
        };
        match verifier.verify(text).await {
            Ok(Bearer { subject, levels }) => Identity::Known { subject, levels },
            Err(TokenError::Unacceptable(reason)) => refused(reason),
            Err(TokenError::UnknownKey) => {
                refused("the token is signed with a key that is not known")
            }
            Err(TokenError::NoKeys) => Identity::Undecided,
        }
    }
}

const fn refused(reason: &'static str) -> Identity {
    Identity::Refused { reason, sent: true }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
