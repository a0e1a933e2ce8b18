//! What processes say of their work: traces that go from the request to the agent, and lines of JSON.

mod logs;
mod traces;

use std::collections::BTreeMap;
use std::path::Path;

use orchestrator_tests::deployment::Programs;
use orchestrator_tests::eventually;
use orchestrator_tests::process::Process;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

const PROGRAMS: Programs = Programs {
    api: env!("CARGO_BIN_EXE_tested-api"),
    worker: env!("CARGO_BIN_EXE_tested-worker"),
};

/// A trace that a caller has begun, and its own span in it.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// What the caller sends.
fn traceparent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

/// A process of the embedded default, and its base address.
struct Orchestrator {
    process: Process,
    url: String,
}

impl Orchestrator {
    /// Starts it with `more` variables; its data is in the folder of the process.
    async fn start(more: &[(&str, &str)]) -> Self {
        let mut variables = BTreeMap::from([
            ("AGENT_ORCHESTRATOR_HOST", "127.0.0.1"),
            ("AGENT_ORCHESTRATOR_PORT", "0"),
            ("SHUTDOWN_GRACE_SECONDS", "5"),
            ("LOG_FORMAT", "text"),
            ("NO_COLOR", "1"),
        ]);
        variables.extend(more.iter().copied());
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let variables = variables.into_iter().map(owned).collect();
        let program = Path::new(env!("CARGO_BIN_EXE_tested-orchestrator"));
        let process = Process::start(program, &variables).unwrap();
        let mut url = None;
        eventually("it greets", async || {
            let said = process.said();
            let named = said
                .lines()
                .find_map(|line| line.trim().strip_prefix("API "));
            url = named.map(|url| url.trim().to_owned());
            said.contains("Ctrl-C") && url.is_some()
        })
        .await;
        let url = url.unwrap();
        Self { process, url }
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        Client::new()
            .post(format!("{}/orchestrator/{path}", self.url))
            .json(body)
    }

    /// Registers the agent `a`, at `endpoint` if it has one of its own.
    async fn register(&self, endpoint: Option<&str>) {
        let body = json!({"agent_id": "a", "endpoint": endpoint});
        let answer = self.post("register", &body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    /// Has it run a task with this input as part of the caller's trace, and returns the task as it has ended.
    async fn run(&self, input: Value) -> Value {
        let body =
            json!({"agent_id": "a", "task_type": "t", "task_data": input, "max_attempts": 1});
        let request = self
            .post("execute-task", &body)
            .header("traceparent", traceparent())
            .header("x-request-id", "request-1")
            .header("prefer", "wait=30");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }
}
