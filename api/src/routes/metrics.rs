//! `GET /metrics`.

use std::sync::Arc;

use poem_openapi::OpenApi;
use poem_openapi::payload::PlainText;

use super::Tag;
use crate::auth::Level;
use crate::edge::Scope;
use crate::problem::{Open, Refusal};
use crate::service::Service;

pub(super) struct MetricsEndpoint(pub(super) Arc<Service>);

#[OpenApi(tag = "Tag::Operations")]
impl MetricsEndpoint {
    /// Metrics
    ///
    /// In Prometheus' text format. Needs a token with the level read only when METRICS_REQUIRE_AUTH is true.
    #[oai(path = "/metrics", method = "get", operation_id = "metrics")]
    async fn metrics(&self, scope: Scope) -> Result<PlainText<String>, Refusal<Open>> {
        if self.0.settings.http.metrics_require_auth {
            scope.0.identity.demand(Level::Read)?;
        }
        Ok(PlainText(self.0.metrics.render()))
    }
}
