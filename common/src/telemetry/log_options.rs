//! Logs: what is written, and in which form.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, Reader};

/// What is logged when nothing else is said: libraries only when something is wrong. lapin calls every closed connection
/// an error; what matters of that is logged by those who use it.
const DEFAULT_FILTER: &str = "info,poem=warn,sea_orm_migration=warn,lapin=off";

/// What is logged, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Directives such as `info` or `warn,orchestrator_worker=debug`.
    pub filter: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

impl LogOptions {
    /// Reads `RUST_LOG` (else `LOG_LEVEL`, else `info` and from libraries warnings) and `LOG_FORMAT` (`text` or `json`; without it text for a
    /// terminal and JSON otherwise).
    ///
    /// # Errors
    /// The first variable with an unacceptable value, and what it accepts.
    pub fn from_reader(env: &Reader) -> Result<Self, ConfigError> {
        let (variable, filter) = match env.optional("RUST_LOG") {
            Some(directives) => ("RUST_LOG", directives),
            None => ("LOG_LEVEL", env.text("LOG_LEVEL", DEFAULT_FILTER)?),
        };
        EnvFilter::try_new(&filter).map_err(|_| {
            ConfigError::new(variable, "must be a level such as info, or directives such as info,orchestrator_worker=debug")
        })?;
        let unset = if std::io::stderr().is_terminal() {
            "text"
        } else {
            "json"
        };
        let json = env.one_of("LOG_FORMAT", unset, &["text", "json"])? == "json";
        Ok(Self { filter, json })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<LogOptions, String> {
        let variables = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        LogOptions::from_reader(&Reader::new(variables)).map_err(|error| error.to_string())
    }

    #[test]
    fn directives_prevail_over_the_level() {
        let both = [
            ("RUST_LOG", "warn,orchestrator_api=debug"),
            ("LOG_LEVEL", "error"),
        ];
        assert_eq!(
            options(&both).unwrap().filter,
            "warn,orchestrator_api=debug"
        );
        assert_eq!(options(&[("LOG_LEVEL", "error")]).unwrap().filter, "error");
        assert_eq!(options(&[]).unwrap().filter, DEFAULT_FILTER);
    }

    #[test]
    fn the_form_can_be_chosen() {
        assert!(options(&[("LOG_FORMAT", "json")]).unwrap().json);
        assert!(!options(&[("LOG_FORMAT", "text")]).unwrap().json);
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_accepted() {
        assert!(
            options(&[("LOG_FORMAT", "xml")])
                .unwrap_err()
                .starts_with("LOG_FORMAT must be one of")
        );
        assert!(
            options(&[("RUST_LOG", "orchestrator_api=louder")])
                .unwrap_err()
                .starts_with("RUST_LOG must be")
        );
    }
}
