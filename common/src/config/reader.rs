//! Reading typed values out of environment variables, with errors that name the variable and what it accepts.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// A variable with an unacceptable value; never holds the value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {accepts}")]
pub struct ConfigError {
    variable: String,
    accepts: String,
}

impl ConfigError {
    /// Names the variable and what it accepts.
    #[must_use]
    pub fn new(variable: &str, accepts: impl Into<String>) -> Self {
        Self {
            variable: variable.to_owned(),
            accepts: accepts.into(),
        }
    }
}

/// Typed access to a set of variables. An empty value counts as absent.
#[derive(Debug)]
pub struct Reader {
    variables: BTreeMap<String, String>,
}

impl Reader {
    /// Wraps the variables.
    #[must_use]
    pub fn new(variables: BTreeMap<String, String>) -> Self {
        Self { variables }
    }

    /// The value, if there is one.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<String> {
        self.variables
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
    }

    /// The value or the default, without surrounding blanks.
    ///
    /// # Errors
    /// When nothing but blanks is there.
    pub fn text(&self, name: &str, default: &str) -> Result<String, ConfigError> {
        let text = self
            .optional(name)
            .unwrap_or_else(|| default.to_owned())
            .trim()
            .to_owned();
        if text.is_empty() {
            Err(ConfigError::new(name, "must not be blank"))
        } else {
            Ok(text)
        }
    }

    /// A whole number of `min` to `max`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn number<T>(&self, name: &str, default: T, min: T, max: T) -> Result<T, ConfigError>
    where
        T: FromStr + PartialOrd + Copy + std::fmt::Display,
    {
        let Some(text) = self.optional(name) else {
            return Ok(default);
        };
        let number = text
            .trim()
            .parse::<T>()
            .ok()
            .filter(|number| *number >= min && *number <= max);
        number.ok_or_else(|| {
            ConfigError::new(name, format!("must be a whole number from {min} to {max}"))
        })
    }

    /// A number of seconds.
    ///
    /// # Errors
    /// When it is not a whole number of `min` to `max`.
    pub fn seconds(
        &self,
        name: &str,
        default: u64,
        min: u64,
        max: u64,
    ) -> Result<Duration, ConfigError> {
        self.number(name, default, min, max)
            .map(Duration::from_secs)
    }

    /// A number of minutes.
    ///
    /// # Errors
    /// When it is not a whole number of `min` to `max`.
    pub fn minutes(
        &self,
        name: &str,
        default: u64,
        min: u64,
        max: u64,
    ) -> Result<Duration, ConfigError> {
        self.number(name, default, min, max)
            .map(|minutes| Duration::from_secs(minutes * 60))
    }

    /// A price in US dollars, if there is one.
    ///
    /// # Errors
    /// When it is not a number from 0 to a million.
    pub fn price(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        let Some(text) = self.optional(name) else {
            return Ok(None);
        };
        let price = text
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|price| (0.0..=1_000_000.0).contains(price));
        price
            .map(Some)
            .ok_or_else(|| ConfigError::new(name, "must be a number of US dollars such as 2.5"))
    }

    /// `true` or `false`, also `1`/`0`, `yes`/`no`, `on`/`off`, in any case.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn boolean(&self, name: &str, default: bool) -> Result<bool, ConfigError> {
        let Some(text) = self.optional(name) else {
            return Ok(default);
        };
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(ConfigError::new(name, "must be true or false")),
        }
    }

    /// One of `choices`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn one_of(
        &self,
        name: &str,
        default: &str,
        choices: &[&str],
    ) -> Result<String, ConfigError> {
        let text = self.text(name, default)?;
        if choices.contains(&text.as_str()) {
            Ok(text)
        } else {
            Err(ConfigError::new(
                name,
                format!("must be one of {}", choices.join(", ")),
            ))
        }
    }
}
