//! Where operators' commands find the API, and what they show it.

use url::Url;

use super::{ConfigError, Reader, Secret};

/// What operators' commands need.
#[derive(Clone, Debug)]
pub struct OperatorSettings {
    /// Address of the API; by default, what runs on this machine.
    pub url: Url,
    /// Token for it.
    pub token: Option<Secret>,
}

impl OperatorSettings {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// The first variable with an unacceptable value, and what it accepts.
    pub fn from_process_environment() -> Result<Self, ConfigError> {
        Self::read(&Reader::new(std::env::vars().collect()))
    }

    fn read(env: &Reader) -> Result<Self, ConfigError> {
        let port: u16 = env.number("AGENT_ORCHESTRATOR_PORT", 8200, 0, 65_535)?;
        let text = env.text("ORCHESTRATOR_URL", &format!("http://127.0.0.1:{port}"))?;
        let url = Url::parse(&text).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let accepts = "must be an address such as https://agents.example";
        Ok(Self {
            url: url.ok_or_else(|| ConfigError::new("ORCHESTRATOR_URL", accepts))?,
            token: env.optional("ORCHESTRATOR_TOKEN").map(Secret::new),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<OperatorSettings, String> {
        let variables = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        OperatorSettings::read(&Reader::new(variables.collect())).map_err(|error| error.to_string())
    }

    #[test]
    fn the_api_is_on_this_machine_unless_another_is_named() {
        assert_eq!(read(&[]).unwrap().url.as_str(), "http://127.0.0.1:8200/");
        let other_port = read(&[("AGENT_ORCHESTRATOR_PORT", "9")]).unwrap();
        assert_eq!(other_port.url.as_str(), "http://127.0.0.1:9/");
        let named = [
            ("ORCHESTRATOR_URL", "https://agents.example/x"),
            ("ORCHESTRATOR_TOKEN", "hunter2"),
        ];
        let named = read(&named).unwrap();
        assert_eq!(named.url.as_str(), "https://agents.example/x");
        assert!(!format!("{named:?}").contains("hunter2"));
        for bad in ["agents.example", "ftp://a", "https://"] {
            let error = read(&[("ORCHESTRATOR_URL", bad)]).unwrap_err();
            assert!(
                error.starts_with("ORCHESTRATOR_URL must be an address"),
                "{error}"
            );
        }
    }
}
