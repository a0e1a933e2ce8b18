//! Authentication of callers: which tokens are taken, and what they are checked with.

use jsonwebtoken::DecodingKey;
use url::Url;

use super::key_pair::KeyPairAlgorithm;
use super::{ConfigError, Reader, Secret, secret};

/// Tokens that are signed with [`AuthSettings::jwt_secret`].
const SHARED: &str = "HS256";

/// Authentication of callers.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// Whether a token is needed.
    pub required: bool,
    /// What callers' tokens are checked with.
    pub keys: TokenKeys,
    /// At least 32 bytes when it is needed: to check callers' tokens, or to vouch for messages between our processes.
    pub jwt_secret: Secret,
    /// Who must have issued callers' tokens (`iss`); `None` for anybody who has the key.
    pub issuer: Option<String>,
    /// Whom callers' tokens must be meant for (`aud`); with `None`, a token that is meant for somebody is refused.
    pub audience: Option<String>,
}

/// What callers' tokens are checked with; one source, and one algorithm whatever a token says of itself.
#[derive(Clone, Debug)]
pub enum TokenKeys {
    /// HS256 with [`AuthSettings::jwt_secret`].
    Shared,
    /// One public key.
    Public(KeyPairAlgorithm, DecodingKey),
    /// The public keys that the issuer publishes at this address.
    Published(KeyPairAlgorithm, Url),
}

pub(super) fn auth(env: &Reader) -> Result<AuthSettings, ConfigError> {
    let required = env.boolean("REQUIRE_AUTH", false)?;
    let jwt_secret = env.optional("JWT_SECRET").unwrap_or_default();
    let keys = if required {
        keys(env, &jwt_secret)?
    } else {
        TokenKeys::Shared
    };
    Ok(AuthSettings {
        required,
        keys,
        jwt_secret: Secret::new(jwt_secret),
        issuer: env.optional("JWT_ISSUER"),
        audience: env.optional("JWT_AUDIENCE"),
    })
}

fn keys(env: &Reader, jwt_secret: &str) -> Result<TokenKeys, ConfigError> {
    let pairs = KeyPairAlgorithm::ALL.map(KeyPairAlgorithm::as_str);
    let all = [&[SHARED], &pairs[..]].concat();
    let chosen = env.one_of("JWT_ALGORITHM", SHARED, &all)?;
    let pair = KeyPairAlgorithm::ALL
        .into_iter()
        .find(|pair| pair.as_str() == chosen);
    let (pem, address) = (env.optional("JWT_PUBLIC_KEY"), env.optional("JWT_JWKS_URL"));
    let Some(algorithm) = pair else {
        for (variable, value) in [("JWT_PUBLIC_KEY", &pem), ("JWT_JWKS_URL", &address)] {
            if value.is_some() {
                let accepts = format!("must be {} when {variable} is set", pairs.join(" or "));
                return Err(ConfigError::new("JWT_ALGORITHM", accepts));
            }
        }
        secret::check_strength("JWT_SECRET", jwt_secret)?;
        return Ok(TokenKeys::Shared);
    };
    if !jwt_secret.is_empty() {
        secret::check_strength("JWT_SECRET", jwt_secret)?;
    }
    match (pem, address) {
        (Some(pem), None) => {
            // Where variables have one line, its breaks are written as \n.
            let key = algorithm.key_in_pem(&pem.replace("\\n", "\n"));
            let key = key.ok_or_else(|| ConfigError::new("JWT_PUBLIC_KEY", algorithm.accepts()))?;
            Ok(TokenKeys::Public(algorithm, key))
        }
        (None, Some(address)) => Ok(TokenKeys::Published(algorithm, key_set(&address)?)),
        (Some(_), Some(_)) => Err(ConfigError::new(
            "JWT_JWKS_URL",
            "must not be set when JWT_PUBLIC_KEY is",
        )),
        (None, None) => Err(ConfigError::new(
            "JWT_PUBLIC_KEY",
            format!("or JWT_JWKS_URL must be set when JWT_ALGORITHM is {algorithm}"),
        )),
    }
}

fn key_set(address: &str) -> Result<Url, ConfigError> {
    Url::parse(address)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            ConfigError::new(
                "JWT_JWKS_URL",
                "must be an address such as https://issuer.example/.well-known/jwks.json",
            )
        })
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
