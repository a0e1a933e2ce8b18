//! One answer to an execute call, written once and shared by all who wait for it.

use std::io;
use std::time::Duration;

use orchestrator_common::brain_factory::contract::BUSY_PREFIX;
use poem::http::{StatusCode, header};
use poem::{Body, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio_util::bytes::Bytes;

/// An answer, cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    status: StatusCode,
    retry_after: Option<u64>,
    body: Bytes,
    /// Whether it is the answer of a completed task, which a repeated call gets again.
    pub(super) completed: bool,
    /// Whether the connection breaks instead of delivering it.
    broken: bool,
}

/// What an execution came to.
pub(super) struct Verdict {
    /// The result, or why there is none.
    pub(super) result: Result<Box<RawValue>, String>,
    pub(super) metadata: Map<String, Value>,
}

/// The wire form of the contract's `ExecuteAnswer`, borrowed.
#[derive(Serialize)]
struct Executed<'a> {
    task_id: &'a str,
    status: &'static str,
    result: Option<&'a RawValue>,
    error_message: Option<&'a str>,
    /// Seconds.
    execution_time: f64,
    /// Nothing here measures confidence, and none is made up.
    confidence_score: Option<f64>,
    metadata: &'a Map<String, Value>,
}

impl Answer {
    /// 200, for a completed and for a failed task.
    pub(super) fn executed(task_id: &str, verdict: &Verdict, took: Duration) -> Self {
        let result = verdict.result.as_deref();
        let body = Executed {
            task_id,
            status: if result.is_ok() {
                "completed"
            } else {
                "failed"
            },
            result: result.ok(),
            error_message: verdict.result.as_ref().err().map(String::as_str),
            execution_time: took.as_secs_f64(),
            confidence_score: None,
            metadata: &verdict.metadata,
        };
        match serde_json::to_vec(&body) {
            Ok(body) => Self::of(StatusCode::OK, body, verdict.result.is_ok()),
            Err(error) => {
                Self::detail(StatusCode::INTERNAL_SERVER_ERROR, &json!(error.to_string()))
            }
        }
    }

    /// 200 with the failure of an agent that runs as many tasks as it may.
    pub(super) fn busy(task_id: &str) -> Self {
        let verdict = Verdict {
            result: Err(format!("{BUSY_PREFIX} executing")),
            metadata: Map::new(),
        };
        Self::executed(task_id, &verdict, Duration::ZERO)
    }

    /// 404.
    pub(super) fn unknown_agent(agent_id: &str) -> Self {
        let detail = json!(format!("Agent {agent_id} not found"));
        Self::detail(StatusCode::NOT_FOUND, &detail)
    }

    /// Another status than 200, with its `detail`.
    pub(super) fn detail(status: StatusCode, detail: &Value) -> Self {
        let body = json!({"detail": detail}).to_string().into_bytes();
        Self::of(status, body, false)
    }

    /// 422 for a body that is not of the contract.
    pub(super) fn malformed(message: &str) -> Self {
        let detail = json!([{"loc": ["body"], "msg": message, "type": "value_error"}]);
        Self::detail(StatusCode::UNPROCESSABLE_ENTITY, &detail)
    }

    fn of(status: StatusCode, body: Vec<u8>, completed: bool) -> Self {
        Self {
            status,
            retry_after: None,
            body: body.into(),
            completed,
            broken: false,
        }
    }

    /// Asks the caller to come back after so many seconds.
    pub(super) fn retry_after(mut self, seconds: Option<u64>) -> Self {
        self.retry_after = seconds;
        self
    }

    /// Breaks the connection instead of delivering it.
    pub(super) fn broken(mut self) -> Self {
        self.broken = true;
        self
    }

    /// About how much memory it holds, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.body.len()
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = Response::builder()
            .status(self.status)
            .content_type("application/json");
        if let Some(seconds) = self.retry_after {
            response = response.header(header::RETRY_AFTER, seconds);
        }
        if self.broken {
            let cut = futures::stream::iter([Err::<Bytes, _>(io::Error::other("simulated"))]);
            return response
                .header(header::CONTENT_LENGTH, self.body.len())
                .body(Body::from_bytes_stream(cut));
        }
        response.body(self.body)
    }
}
