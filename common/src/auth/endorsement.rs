//! The API's own word for the messages that it sends to workers; see ADR 10.
//!
//! It is signed with a key of its own, made from `JWT_SECRET`, and named as what it is: no token of a caller is one, and
//! it is no token of a caller, however callers' tokens are signed.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, get_current_timestamp,
};
use serde_json::json;

use super::verifier::{Token, bearer_of};
use super::{Bearer, Level, TokenError};
use crate::config::{AuthSettings, ConfigError};

/// What the header of an endorsement says it is (`typ`).
const TYPE: &str = "endorsement+jwt";
/// What the key is made for.
const PURPOSE: &[u8] = b"agent-orchestrator: endorsement of messages";
/// How long an endorsement holds: longer than any message should wait.
const LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// Makes and checks endorsements.
pub struct Endorser {
    signing: EncodingKey,
    checking: DecodingKey,
    validation: Validation,
}

impl fmt::Debug for Endorser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endorser").finish_non_exhaustive()
    }
}

impl Endorser {
    /// Follows the settings; `None` when no token is needed.
    ///
    /// # Errors
    /// When there is no `JWT_SECRET`.
    pub fn new(settings: &AuthSettings) -> Result<Option<Self>, ConfigError> {
        if !settings.required {
            return Ok(None);
        }
        let secret = settings.jwt_secret.expose();
        if secret.is_empty() {
            return Err(ConfigError::new(
                "JWT_SECRET",
                "must have at least 32 bytes, the same for API and workers: they vouch with it for messages between them",
            ));
        }
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let key = hmac::sign(&secret, PURPOSE);
        Ok(Some(Self {
            signing: EncodingKey::from_secret(key.as_ref()),
            checking: DecodingKey::from_secret(key.as_ref()),
            validation: Validation::new(Algorithm::HS256),
        }))
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
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.to_owned());
        let exp = get_current_timestamp() + LIFETIME.as_secs();
        let claims = json!({"sub": subject, "scope": level.as_str(), "exp": exp});
        let token = jsonwebtoken::encode(&header, &claims, &self.signing)?;
        Ok(format!("Bearer {token}"))
    }

    /// Who vouches for a message with `header`, its `authorization` header; `None` when it says to be something else.
    pub fn check(&self, header: &str) -> Option<Result<Bearer, TokenError>> {
        let token = Token::read(header).ok()?;
        if !token.is_of_type(TYPE) {
            return None;
        }
        Some(bearer_of(token.text, &self.checking, &self.validation))
    }
}
