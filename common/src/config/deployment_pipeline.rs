//! The Deployment Pipeline.

use std::time::Duration;

use url::Url;

use super::{ConfigError, Reader};

/// Where the Deployment Pipeline is, and how long it may take.
#[derive(Clone, Debug)]
pub struct DeploymentPipelineSettings {
    /// Base address, for example `http://deployment-pipeline:8302`.
    pub url: Url,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl DeploymentPipelineSettings {
    /// The settings, when `DEPLOYMENT_PIPELINE_HOST` is set: without it, deployments are not looked at.
    pub(super) fn read(env: &Reader) -> Result<Option<Self>, ConfigError> {
        let port: u16 = env.number("DEPLOYMENT_PIPELINE_PORT", 8302, 1, 65_535)?;
        let timeout = env.seconds("DEPLOYMENT_PIPELINE_TIMEOUT_SECONDS", 5, 1, 60)?;
        let Some(host) = env.optional("DEPLOYMENT_PIPELINE_HOST") else {
            return Ok(None);
        };
        let url = Url::parse(&format!("http://{host}:{port}"))
            .map_err(|_| ConfigError::new("DEPLOYMENT_PIPELINE_HOST", "must be a host name"))?;
        Ok(Some(Self { url, timeout }))
    }
}
