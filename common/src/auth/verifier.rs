//! Checking bearer tokens. The algorithm is pinned by configuration and never read from the token.

use std::fmt;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, get_current_timestamp,
};
use serde_json::json;

use super::claims::Claims;
use super::claims::MESSAGE_TYPE;
use super::{Level, Levels};
use crate::config::AuthSettings;

/// The longest `Authorization` header that is looked at, in bytes.
const MAX_HEADER_BYTES: usize = 8 * 1024;
/// How far the clocks of issuer and orchestrator may differ, in seconds.
const LEEWAY_SECONDS: u64 = 30;
/// How long an endorsement holds: longer than any message should wait.
const ENDORSEMENT: Duration = Duration::from_secs(30 * 86_400);

/// Whoever bears an acceptable token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The token's subject.
    pub subject: String,
    /// What it allows.
    pub levels: Levels,
}

/// Checks tokens, when authentication is on.
pub struct Verifier {
    key: DecodingKey,
    endorsing: EncodingKey,
    validation: Validation,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl Verifier {
    /// Follows the settings; `None` when no token is needed.
    #[must_use]
    pub fn new(settings: &AuthSettings) -> Option<Self> {
        let secret = settings.jwt_secret.expose().as_bytes();
        settings.required.then(|| {
            let mut validation = Validation::new(Algorithm::HS256);
            validation.leeway = LEEWAY_SECONDS;
            validation.validate_nbf = true;
            Self {
                key: DecodingKey::from_secret(secret),
                endorsing: EncodingKey::from_secret(secret),
                validation,
            }
        })
    }

    /// Who bears the token of `header`, the value of an HTTP request's `Authorization` header.
    ///
    /// # Errors
    /// Why it is not acceptable: enough for its bearer to fix their side, nothing about ours.
    pub fn verify(&self, header: &str) -> Result<Bearer, &'static str> {
        self.verify_where(header, Claims::are_for_access)
    }

    /// Who bears the token of `header`, a message's `authorization` header: a caller, or the API that endorsed it.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_message(&self, header: &str) -> Result<Bearer, &'static str> {
        self.verify_where(header, |claims| {
            claims.are_for_access() || claims.are_for_a_message()
        })
    }

    fn verify_where(
        &self,
        header: &str,
        acceptable: impl Fn(&Claims) -> bool,
    ) -> Result<Bearer, &'static str> {
        if header.len() > MAX_HEADER_BYTES {
            return Err("the token is too long");
        }
        let token = match header.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => return Err("the header Authorization must hold a bearer token"),
        };
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation)
            .map_err(|error| reason_of(error.kind()))?
            .claims;
        if !acceptable(&claims) {
            return Err("the token is not an access token");
        }
        let subject = claims.subject().ok_or("the token names no subject")?;
        let levels = claims.levels();
        Ok(Bearer { subject, levels })
    }

    /// The `authorization` header of a message that the API sends for a caller whom it has let in.
    ///
    /// The caller's own token may run out while the message waits for a worker, and an accepted task must not be lost
    /// for that. It allows `level` only, and only in a message: whoever reads the queue can do nothing over HTTP with it.
    ///
    /// # Errors
    /// When the token cannot be signed.
    pub fn endorse(
        &self,
        subject: &str,
        level: Level,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let exp = get_current_timestamp() + ENDORSEMENT.as_secs();
        let claims =
            json!({"sub": subject, "scope": level.as_str(), "type": MESSAGE_TYPE, "exp": exp});
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.endorsing)?;
        Ok(format!("Bearer {token}"))
    }
}

fn reason_of(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks a claim that is needed: exp",
        ErrorKind::InvalidAudience => "the token is for another audience",
        _ => "the token is not valid",
    }
}
