//! The platform's audit service, to which entries of the audit log can be forwarded.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use crate::brain_factory::{ClientError, HttpClient, http_client};
use crate::config::AuditServiceSettings;
use crate::domain::{AuditEntry, AuditOutcome};
use crate::http::{USER_AGENT_NAME, retry_after, root_cause};

/// The most events that the service takes at a time.
pub const MAX_EVENTS: usize = 100;
/// How long the service may take for one call.
const DEADLINE: Duration = Duration::from_secs(5);
/// How much of an answer is read so that its connection can be used again, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Why the service has not got an event, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotForwarded {
    /// It takes nothing now.
    #[error("{reason}")]
    Unavailable {
        /// Why.
        reason: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It will never take what was sent as it is.
    #[error("status {0}")]
    Refused(u16),
}

/// Sends events to the service; cheap to clone.
#[derive(Clone, Debug)]
pub struct AuditService {
    http: HttpClient,
    events: Url,
    batch: Url,
    key: HeaderValue,
}

impl AuditService {
    /// The client that the settings ask for, if they do.
    ///
    /// # Errors
    /// When the certificates of the operating system cannot be read.
    pub fn of(settings: Option<&AuditServiceSettings>) -> Result<Option<Self>, ClientError> {
        let Some(settings) = settings else {
            return Ok(None);
        };
        let below = |path: &str| {
            let mut url = settings.url.clone();
            let base = url.path().trim_end_matches('/').to_owned();
            url.set_path(&format!("{base}{path}"));
            url
        };
        Ok(Some(Self {
            http: http_client()?,
            events: below("/audit/events"),
            batch: below("/audit/events/batch"),
            key: settings.key.clone(),
        }))
    }

    /// Sends up to [`MAX_EVENTS`] entries with their numbers: together, and one by one when the service does not take them
    /// together. An entry that it will never take is left out; returns how many were.
    ///
    /// # Errors
    /// When the service takes nothing now; some may have been taken.
    pub async fn send(&self, entries: &[(i64, AuditEntry)]) -> Result<usize, NotForwarded> {
        let events: Vec<Event<'_>> = entries
            .iter()
            .map(|(seq, entry)| Event::of(*seq, entry))
            .collect();
        match self.post(&self.batch, &events).await {
            Ok(()) => return Ok(0),
            Err(NotForwarded::Refused(_)) => {}
            Err(unavailable @ NotForwarded::Unavailable { .. }) => return Err(unavailable),
        }
        let mut left_out = 0;
        for event in &events {
            match self.post(&self.events, event).await {
                Ok(()) => {}
                Err(NotForwarded::Refused(status)) => {
                    left_out += 1;
                    let seq = event.seq();
                    tracing::warn!(status, seq, "the audit service refuses an entry of the log");
                }
                Err(unavailable @ NotForwarded::Unavailable { .. }) => return Err(unavailable),
            }
        }
        Ok(left_out)
    }

    async fn post(&self, url: &Url, body: &(impl Serialize + Sync)) -> Result<(), NotForwarded> {
        match tokio::time::timeout(DEADLINE, self.exchange(url, body)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(unavailable(format!(
                "no answer within {} s",
                DEADLINE.as_secs()
            ))),
        }
    }

    async fn exchange(
        &self,
        url: &Url,
        body: &(impl Serialize + Sync),
    ) -> Result<(), NotForwarded> {
        let body = serde_json::to_vec(body).map_err(|error| unavailable(error.to_string()))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(url.as_str())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, USER_AGENT_NAME)
            .header(API_KEY, &self.key)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| unavailable(root_cause(&error)))?;
        let response = self.http.request(request).await;
        let response = response.map_err(|error| unavailable(root_cause(&error)))?;
        let (status, wish) = (response.status(), retry_after(response.headers()));
        // Read so that the connection can be used again; what it says is of no use here.
        let _ = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await;
        match status.as_u16() {
            200..=299 => Ok(()),
            // What is wrong with the key or the address can be put right, and nothing is to be lost until then.
            400 | 404 | 405 | 409 | 413 | 415 | 422 => Err(NotForwarded::Refused(status.as_u16())),
            status => Err(NotForwarded::Unavailable {
                reason: format!("status {status}"),
                retry_after: wish,
            }),
        }
    }
}

fn unavailable(reason: String) -> NotForwarded {
    NotForwarded::Unavailable {
        reason,
        retry_after: None,
    }
}

/// An entry in the form of the service.
#[derive(Serialize)]
struct Event<'a> {
    event_type: &'static str,
    severity: &'static str,
    service_name: &'static str,
    operation: &'a str,
    resource_type: &'a str,
    resource_id: &'a str,
    user_id: &'a str,
    success: bool,
    error_message: Option<&'a str>,
    tags: [&'static str; 1],
    metadata: Value,
}

impl<'a> Event<'a> {
    fn of(seq: i64, entry: &'a AuditEntry) -> Self {
        let detail = entry.detail.as_deref();
        let done = match entry.outcome {
            AuditOutcome::Done => true,
            AuditOutcome::Refused => false,
        };
        let status = detail.filter(|_| !done).and_then(|why| why.get(..3));
        Self {
            event_type: match status {
                Some("401") => "authentication",
                Some("403") => "authorization",
                Some(_) | None => "operation",
            },
            severity: severity(entry),
            service_name: "agent-orchestrator",
            operation: &entry.action,
            // A refused request is about an address; everything else is named `what.happened`.
            resource_type: match entry.action.split_once('.') {
                Some((of, _)) if !entry.action.contains(' ') => of,
                Some(_) | None => "address",
            },
            resource_id: &entry.resource,
            user_id: &entry.origin.actor,
            success: done,
            error_message: detail.filter(|_| !done),
            tags: ["agent-orchestrator"],
            metadata: json!({
                "seq": seq,
                "at": entry.at,
                "request_id": entry.origin.request_id,
                "detail": detail,
            }),
        }
    }

    fn seq(&self) -> Option<i64> {
        self.metadata.get("seq").and_then(Value::as_i64)
    }
}

fn severity(entry: &AuditEntry) -> &'static str {
    match (entry.outcome, entry.action.as_str()) {
        (AuditOutcome::Refused, _) | (AuditOutcome::Done, "instance.lost" | "worker.lost") => {
            "warning"
        }
        (AuditOutcome::Done, "agent.failed") => "error",
        (AuditOutcome::Done, _) => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Origin, Timestamp};

    fn event(action: &str, outcome: AuditOutcome, detail: Option<&str>) -> Value {
        let entry = AuditEntry {
            at: Timestamp::from_micros(1_772_366_400_000_000),
            origin: Origin::new("alice", Some("r-1")),
            action: action.to_owned(),
            resource: "underwriting_agent_01".to_owned(),
            outcome,
            detail: detail.map(str::to_owned),
        };
        serde_json::to_value(Event::of(7, &entry)).unwrap()
    }

    #[test]
    fn an_entry_has_the_form_of_the_service() {
        assert_eq!(
            event("agent.stop", AuditOutcome::Done, None),
            json!({"event_type": "operation", "severity": "info", "service_name": "agent-orchestrator",
                "operation": "agent.stop", "resource_type": "agent", "resource_id": "underwriting_agent_01",
                "user_id": "alice", "success": true, "error_message": null, "tags": ["agent-orchestrator"],
                "metadata": {"seq": 7, "at": "2026-03-01T12:00:00Z", "request_id": "r-1", "detail": null}})
        );
        let refused = event(
            "POST /orchestrator/stop",
            AuditOutcome::Refused,
            Some("403 forbidden"),
        );
        assert_eq!(refused["event_type"], "authorization");
        assert_eq!(refused["resource_type"], "address");
        assert_eq!(refused["error_message"], "403 forbidden");
        let lost = event("instance.lost", AuditOutcome::Done, None);
        assert_eq!(lost["severity"], "warning");
    }
}
