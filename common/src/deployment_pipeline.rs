//! The client of the Deployment Pipeline, which knows how the deployments of agents stand.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use thiserror::Error;

use crate::brain_factory::{
    Answer, Broken, ClientError, HttpClient, StatusClass, call, http_client, request,
};
use crate::config::DeploymentPipelineSettings;
use crate::domain::DeploymentRecord;
use crate::http::clip;

/// The longest status that is kept, in characters.
const MAX_STATUS: usize = 100;

/// Asks the Deployment Pipeline. Clones share their connections.
#[derive(Clone, Debug)]
pub struct DeploymentPipelineClient {
    http: HttpClient,
    base: Arc<str>,
    timeout: Duration,
}

/// Why it is not known how a deployment stands.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PipelineError {
    /// The pipeline knows no such deployment.
    #[error("the Deployment Pipeline does not know the deployment")]
    UnknownDeployment,
    /// No connection, or one that broke.
    #[error("the Deployment Pipeline cannot be reached: {0}")]
    Unreachable(String),
    /// A server error, or the wish to be asked later.
    #[error("the Deployment Pipeline is unavailable: {0}")]
    Unavailable(String),
    /// No answer in time.
    #[error("the Deployment Pipeline did not answer within {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// It answered something that is not of its contract.
    #[error("the Deployment Pipeline's answer makes no sense: {0}")]
    InvalidAnswer(String),
}

/// `GET /deployments/{deployment_id}/status`, of which the rest is not needed.
#[derive(Deserialize)]
struct StatusAnswer {
    status: String,
    #[serde(default)]
    stage: Option<String>,
    #[serde(default)]
    error_message: Option<String>,
}

impl DeploymentPipelineClient {
    /// A client of the pipeline that `settings` name; `None` when they name none.
    ///
    /// # Errors
    /// When the system offers no certificates to trust.
    pub fn of(settings: Option<&DeploymentPipelineSettings>) -> Result<Option<Self>, ClientError> {
        let Some(settings) = settings else {
            return Ok(None);
        };
        Ok(Some(Self {
            http: http_client()?,
            base: settings.url.as_str().into(),
            timeout: settings.timeout,
        }))
    }

    /// How a deployment stands.
    ///
    /// # Errors
    /// See [`PipelineError`].
    pub async fn deployment(&self, deployment_id: &str) -> Result<DeploymentRecord, PipelineError> {
        let named = utf8_percent_encode(deployment_id, NON_ALPHANUMERIC);
        let path = format!("/deployments/{named}/status");
        let request = request(Method::GET, &self.base, &path)?;
        let answer = call(&self.http, request, self.timeout).await?;
        match answer.class() {
            StatusClass::Success => read(deployment_id, &answer),
            StatusClass::NotFound => Err(PipelineError::UnknownDeployment),
            StatusClass::ComeBackLater => Err(PipelineError::Unavailable(answer.status_and_said())),
            StatusClass::Refused | StatusClass::OutOfContract => {
                Err(PipelineError::InvalidAnswer(answer.status_and_said()))
            }
        }
    }
}

fn read(deployment_id: &str, answer: &Answer) -> Result<DeploymentRecord, PipelineError> {
    let said: StatusAnswer = serde_json::from_slice(&answer.body)
        .map_err(|error| PipelineError::InvalidAnswer(clip(&error.to_string())))?;
    let short = |text: &str| clip(text).chars().take(MAX_STATUS).collect::<String>();
    Ok(DeploymentRecord {
        deployment_id: deployment_id.to_owned(),
        status: short(&said.status).to_ascii_lowercase(),
        stage: said.stage.as_deref().map(short),
        error: said.error_message.as_deref().map(clip),
    })
}

impl From<Broken> for PipelineError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::NotSent(message) | Broken::Lost(message) => Self::Unreachable(message),
            Broken::TimedOut(waited) => Self::TimedOut(waited),
            Broken::TooLarge => Self::InvalidAnswer("it is too large".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wiremock::matchers::{method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    async fn asked(answer: ResponseTemplate) -> Result<DeploymentRecord, PipelineError> {
        let pipeline = MockServer::start().await;
        Mock::given(method("GET"))
            .and(path("/deployments/team%2Fdeploy%20001/status"))
            .respond_with(answer)
            .expect(1)
            .mount(&pipeline)
            .await;
        let settings = DeploymentPipelineSettings {
            url: pipeline.uri().parse().unwrap(),
            timeout: Duration::from_millis(500),
        };
        let client = DeploymentPipelineClient::of(Some(&settings)).unwrap();
        client.unwrap().deployment("team/deploy 001").await
    }

    #[tokio::test]
    async fn a_deployment_is_read_with_its_status() {
        let body = json!({"deployment_id": "x", "agent_id": "a", "status": "FAILED", "stage": "testing",
            "progress_percentage": 40, "error_message": "no such image"});
        let found = asked(ResponseTemplate::new(200).set_body_json(body))
            .await
            .unwrap();
        assert!(found.has_failed());
        assert_eq!(found.deployment_id, "team/deploy 001");
        assert_eq!(
            (found.status.as_str(), found.stage.as_deref()),
            ("failed", Some("testing"))
        );
        assert_eq!(found.error.as_deref(), Some("no such image"));
        let body = json!({"status": "in_progress"});
        let found = asked(ResponseTemplate::new(200).set_body_json(body))
            .await
            .unwrap();
        assert!(!found.has_failed());
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told_apart() {
        let of = async |status| asked(ResponseTemplate::new(status)).await.unwrap_err();
        assert_eq!(of(404).await, PipelineError::UnknownDeployment);
        assert!(matches!(of(503).await, PipelineError::Unavailable(_)));
        assert!(matches!(of(422).await, PipelineError::InvalidAnswer(_)));
        assert!(matches!(of(200).await, PipelineError::InvalidAnswer(_)));
        let late = ResponseTemplate::new(200).set_delay(Duration::from_secs(10));
        let late = asked(late).await.unwrap_err();
        assert_eq!(late, PipelineError::TimedOut(Duration::from_millis(500)));
        let settings = DeploymentPipelineSettings {
            url: "http://127.0.0.1:1".parse().unwrap(),
            timeout: Duration::from_secs(5),
        };
        let nobody = DeploymentPipelineClient::of(Some(&settings))
            .unwrap()
            .unwrap();
        let error = nobody.deployment("x").await.unwrap_err();
        assert!(matches!(error, PipelineError::Unreachable(_)), "{error}");
        assert!(DeploymentPipelineClient::of(None).unwrap().is_none());
    }
}
