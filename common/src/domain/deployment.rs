//! How the deployment of an agent stands, as the Deployment Pipeline says.

/// The one status that keeps an agent from being started; every other, also one that is not known here, does not.
const FAILED: &str = "failed";

/// A deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentRecord {
    /// Its identifier.
    pub deployment_id: String,
    /// Its status in the pipeline's own words, in lower case.
    pub status: String,
    /// The stage that it is in.
    pub stage: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
}

impl DeploymentRecord {
    /// Whether it has failed, so that its agent must not be started.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.status == FAILED
    }
}
