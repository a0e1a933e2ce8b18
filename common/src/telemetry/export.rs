//! Sending spans to a collector: in batches, from a thread of its own. Nobody waits for a collector; what it does not
//! take in time is lost, and a line a minute says so.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};

use crate::config::ConfigError;

/// How long a process that stops waits for its last spans to be taken.
const LAST_SPANS: Duration = Duration::from_secs(2);
/// How far apart two lines about a collector that takes nothing are.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// The attribute of a resource that names the service, and what the SDK calls one that was not named.
const SERVICE_NAME: &str = "service.name";
const UNNAMED: &str = "unknown_service";

/// Records spans as the standard variables say; `service` is their service unless those name another.
pub(super) fn provider(service: &'static str) -> Result<SdkTracerProvider, ConfigError> {
    let exporter = OtlpExporter::builder()
        .with_http()
        .build()
        .map_err(|error| {
            let problem = format!("cannot be used for traces: {error}");
            ConfigError::new("OTEL_EXPORTER_OTLP_ENDPOINT", problem)
        })?;
    let exporter = Complaining {
        inner: exporter,
        lost: Mutex::default(),
    };
    Ok(SdkTracerProvider::builder()
        .with_resource(resource(service))
        .with_batch_exporter(exporter)
        .build())
}

/// Sends what is left, and waits for that only so long.
pub(super) fn flush(provider: &SdkTracerProvider) {
    if let Err(error) = provider.shutdown_with_timeout(LAST_SPANS) {
        tracing::warn!(%error, "the last traces were not exported in time");
    }
}

fn resource(service: &'static str) -> Resource {
    let resource = Resource::builder().build();
    let name = resource.get(&SERVICE_NAME.into());
    if name.is_none_or(|name| name.as_str().starts_with(UNNAMED)) {
        Resource::builder().with_service_name(service).build()
    } else {
        resource
    }
}

/// An exporter that says itself what it could not export. The SDK would say so of every batch, and its own logs are left
/// out for that.
#[derive(Debug)]
struct Complaining {
    inner: OtlpExporter,
    lost: Mutex<Lost>,
}

/// Spans that the collector did not take.
#[derive(Debug, Default)]
struct Lost {
    /// Since the latest line about them.
    spans: usize,
    said: Option<Instant>,
}

impl Lost {
    /// Counts `spans`, and returns all that are to be told of now.
    fn add(&mut self, spans: usize, now: Instant) -> Option<usize> {
        self.spans += spans;
        let is_due = |said| now.duration_since(said) >= COMPLAINT_PAUSE;
        if !self.said.is_none_or(is_due) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.spans))
    }
}

impl SpanExporter for Complaining {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        if let Err(error) = self.inner.export(batch).await {
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(spans) = lost.add(spans, Instant::now()) {
                tracing::warn!(%error, spans, "the collector does not take traces; they are lost");
            }
        }
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_spans_are_told_of_once_a_minute_and_none_is_forgotten() {
        let mut lost = Lost::default();
        let start = Instant::now();
        assert_eq!(lost.add(512, start), Some(512));
        for second in 1..60 {
            assert_eq!(lost.add(10, start + Duration::from_secs(second)), None);
        }
        assert_eq!(lost.add(10, start + COMPLAINT_PAUSE), Some(600));
        assert_eq!(lost.add(1, start + COMPLAINT_PAUSE), None);
    }
}
