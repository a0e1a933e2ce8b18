//! A collector of OpenTelemetry that keeps the spans it is sent over HTTP.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::eventually;

/// Listens on a free port until dropped.
pub struct Collector(MockServer);

/// A span as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The service that sent it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its trace, in hexadecimal digits.
    pub trace_id: String,
    /// Itself, in hexadecimal digits.
    pub span_id: String,
    /// The span that it is part of, in hexadecimal digits; none for the first of a trace.
    pub parent_id: String,
    /// Its attributes that are texts.
    pub attributes: Vec<(String, String)>,
}

impl Received {
    /// An attribute that is a text.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        text_of(&self.attributes, name)
    }
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Self {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/v1/traces"))
            .and(header("content-type", "application/x-protobuf"))
            .respond_with(ResponseTemplate::new(200))
            .mount(&server)
            .await;
        Self(server)
    }

    /// Its address, for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.uri()
    }

    /// The spans of a trace, once there are as many as `number`.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn spans_of(&self, trace_id: &str, number: usize) -> Vec<Received> {
        let mut spans = Vec::new();
        eventually("the spans of the trace arrive", async || {
            spans = self.received().await;
            spans.retain(|span| span.trace_id == trace_id);
            spans.len() >= number
        })
        .await;
        spans
    }

    async fn received(&self) -> Vec<Received> {
        let requests = self.0.received_requests().await.unwrap_or_default();
        let requests = requests
            .into_iter()
            .map(|request| ExportTraceServiceRequest::decode(request.body.as_slice()).unwrap());
        requests
            .flat_map(|request| request.resource_spans)
            .flat_map(of_resource)
            .collect()
    }
}

fn of_resource(spans: ResourceSpans) -> Vec<Received> {
    let resource = texts(spans.resource.unwrap_or_default().attributes);
    let service = text_of(&resource, "service.name").unwrap_or_default();
    let spans = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
    let received = spans.map(|span| Received {
        service: service.to_owned(),
        name: span.name,
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_id: hex(&span.parent_span_id),
        attributes: texts(span.attributes),
    });
    received.collect()
}

fn texts(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    let texts = attributes.into_iter().filter_map(|attribute| {
        match attribute.value.and_then(|value| value.value) {
            Some(Value::StringValue(text)) => Some((attribute.key, text)),
            _ => None,
        }
    });
    texts.collect()
}

fn text_of<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
