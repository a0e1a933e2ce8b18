//! `GET /health`, `/health/live` and `/health/ready`.

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;

use super::Tag;
use crate::health::{Health, HealthReport};
use crate::service::Service;
use crate::views::Answer;

pub(super) struct HealthEndpoints(pub(super) Arc<Service>);

/// How the service is.
#[derive(ApiResponse)]
enum HealthAnswer {
    /// It can do its job.
    #[oai(status = 200)]
    Able(Answer<HealthReport>),
    /// It can neither accept nor read.
    #[oai(status = 503)]
    Unable(Answer<HealthReport>),
}

impl From<HealthReport> for HealthAnswer {
    fn from(report: HealthReport) -> Self {
        match report.status {
            Health::Healthy | Health::Degraded => Self::Able(Answer(report)),
            Health::Unhealthy => Self::Unable(Answer(report)),
        }
    }
}

/// A sign of life.
#[derive(Object, Serialize)]
struct Liveness {
    /// Always `alive`.
    status: String,
}

#[OpenApi(tag = "Tag::Operations")]
impl HealthEndpoints {
    /// How the service is
    ///
    /// With the state of each dependency, at most a second old. `degraded` is still 200: something does not answer,
    /// and the service does its job nevertheless.
    #[oai(path = "/health", method = "get", operation_id = "health")]
    async fn health(&self) -> HealthAnswer {
        self.0.health.report().await.into()
    }

    /// Whether the process is alive
    ///
    /// Asks no dependency: a process whose database is down must not be restarted for it.
    #[oai(path = "/health/live", method = "get", operation_id = "health_live")]
    async fn live(&self) -> Answer<Liveness> {
        Answer(Liveness {
            status: "alive".into(),
        })
    }

    /// Whether the process should get requests
    ///
    /// 503 when it can neither accept nor read.
    #[oai(path = "/health/ready", method = "get", operation_id = "health_ready")]
    async fn ready(&self) -> HealthAnswer {
        self.0.health.report().await.into()
    }
}
