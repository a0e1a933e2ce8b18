//! Values that must never be shown.

use std::collections::BTreeSet;
use std::fmt;

use super::ConfigError;

/// A secret: `Debug` hides it and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// Parts of the keys that tutorials and example files use, and of what is no secret.
const WELL_KNOWN: [&str; 9] = [
    // A public key, which everybody knows.
    "-----begin",
    "secret-key",
    "secret_key",
    "secretkey",
    "changeme",
    "change-me",
    "change_me",
    "change-in-production",
    "example",
];

/// Refuses signing keys that are short, well-known, or hardly random.
pub(super) fn check_strength(name: &str, value: &str) -> Result<(), ConfigError> {
    if value.len() < 32 {
        return Err(ConfigError::new(
            name,
            "must have at least 32 bytes when REQUIRE_AUTH is true",
        ));
    }
    let lower = value.to_ascii_lowercase();
    let distinct: BTreeSet<u8> = value.bytes().collect();
    if distinct.len() < 8 || WELL_KNOWN.iter().any(|known| lower.contains(known)) {
        return Err(ConfigError::new(
            name,
            "must be a random key, not a well-known one, when REQUIRE_AUTH is true",
        ));
    }
    Ok(())
}
