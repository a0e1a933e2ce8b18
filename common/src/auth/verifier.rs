//! Checking callers' tokens. Algorithm and keys are pinned by configuration, whatever a token says of itself.

use std::fmt;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};

use super::claims::Claims;
use super::key_set::{KeySet, Pace};
use super::{Bearer, TokenError};
use crate::config::{AuthSettings, TokenKeys};

/// The longest `Authorization` header that is looked at, in bytes.
const MAX_HEADER_BYTES: usize = 8 * 1024;
/// How far the clocks of issuer and orchestrator may differ, in seconds.
const LEEWAY_SECONDS: u64 = 30;
/// What the header of a token for access may say it is (`typ`), after RFC 7519 and RFC 9068.
const ACCESS_TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// Checks tokens, when authentication is on.
pub struct Verifier {
    keys: Keys,
    validation: Validation,
}

enum Keys {
    One(DecodingKey),
    Published(KeySet),
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl Verifier {
    /// Follows the settings; `None` when no token is needed. Must be called within a Tokio runtime: keys that the issuer
    /// publishes are fetched from now on.
    #[must_use]
    pub fn new(settings: &AuthSettings) -> Option<Self> {
        Self::at_pace(settings, Pace::default())
    }

    pub(super) fn at_pace(settings: &AuthSettings, pace: Pace) -> Option<Self> {
        if !settings.required {
            return None;
        }
        let (keys, algorithm) = match &settings.keys {
            TokenKeys::Shared => {
                let secret = settings.jwt_secret.expose().as_bytes();
                (
                    Keys::One(DecodingKey::from_secret(secret)),
                    Algorithm::HS256,
                )
            }
            TokenKeys::Public(algorithm, key) => (Keys::One(key.clone()), algorithm.in_tokens()),
            TokenKeys::Published(algorithm, address) => {
                let set = KeySet::follow(*algorithm, address.clone(), pace);
                (Keys::Published(set), algorithm.in_tokens())
            }
        };
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        for (claim, expected) in [("iss", &settings.issuer), ("aud", &settings.audience)] {
            if expected.is_some() {
                validation.required_spec_claims.insert(claim.to_owned());
            }
        }
        validation.iss = settings.issuer.clone().map(|issuer| [issuer].into());
        validation.aud = settings.audience.clone().map(|audience| [audience].into());
        Some(Self { keys, validation })
    }

    /// The keys that the issuer publishes, if tokens are checked with such.
    #[must_use]
    pub const fn key_set(&self) -> Option<&KeySet> {
        match &self.keys {
            Keys::One(_) => None,
            Keys::Published(set) => Some(set),
        }
    }

    /// Who bears the token of `header`, the value of an `Authorization` header.
    ///
    /// Takes time only when the token names a key that is not known.
    ///
    /// # Errors
    /// Why it is not acceptable: enough for its bearer to fix their side, nothing about ours.
    pub async fn verify(&self, header: &str) -> Result<Bearer, TokenError> {
        let token = Token::read(header)?;
        // Before any key is looked for: what could not be let in by any key fetches none.
        if !self.validation.algorithms.contains(&token.header.alg) {
            return Err(INVALID);
        }
        if token.header.typ.is_some() && !ACCESS_TYPES.iter().any(|kind| token.is_of_type(kind)) {
            return Err(TokenError::Unacceptable("the token is not an access token"));
        }
        match &self.keys {
            Keys::One(key) => bearer_of(token.text, key, &self.validation),
            Keys::Published(set) => {
                let key = set.key(token.header.kid.as_deref()).await?;
                bearer_of(token.text, &key, &self.validation)
            }
        }
    }
}

const INVALID: TokenError = TokenError::Unacceptable("the token is not valid");

/// A token that has not been checked yet.
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    header: Header,
}

impl<'a> Token<'a> {
    /// Takes a token out of the value of an `Authorization` header.
    pub(super) fn read(header: &'a str) -> Result<Self, TokenError> {
        if header.len() > MAX_HEADER_BYTES {
            return Err(TokenError::Unacceptable("the token is too long"));
        }
        let text = match header.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => {
                return Err(TokenError::Unacceptable(
                    "the header Authorization must hold a bearer token",
                ));
            }
        };
        let header = jsonwebtoken::decode_header(text).map_err(|_| INVALID)?;
        // An extension that has to be understood, and we understand none (RFC 7515, 4.1.11). `b64` would change what is
        // signed.
        if header.crit.is_some() {
            return Err(INVALID);
        }
        Ok(Self { text, header })
    }

    /// Whether its header says that it is a `kind`, as a media type with or without `application/`.
    pub(super) fn is_of_type(&self, kind: &str) -> bool {
        self.header.typ.as_deref().is_some_and(|said| {
            let said = said.to_ascii_lowercase();
            said.strip_prefix("application/").unwrap_or(&said) == kind
        })
    }
}

/// Who bears `token`, if it is signed with `key`, valid now, for access, and names somebody.
pub(super) fn bearer_of(
    token: &str,
    key: &DecodingKey,
    validation: &Validation,
) -> Result<Bearer, TokenError> {
    let claims = jsonwebtoken::decode::<Claims>(token, key, validation)
        .map_err(|error| TokenError::Unacceptable(reason_of(error.kind())))?
        .claims;
    if !claims.are_for_access() {
        return Err(TokenError::Unacceptable("the token is not an access token"));
    }
    let subject = claims
        .subject()
        .ok_or(TokenError::Unacceptable("the token names no subject"))?;
    let levels = claims.levels();
    Ok(Bearer { subject, levels })
}

fn reason_of(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "iss" => "the token lacks a claim that is needed: iss",
            "aud" => "the token lacks a claim that is needed: aud",
            _ => "the token lacks a claim that is needed: exp",
        },
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        _ => "the token is not valid",
    }
}
