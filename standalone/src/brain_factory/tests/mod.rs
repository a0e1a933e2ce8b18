//! Tests of the server through real HTTP, as the orchestrator's own client sees it.

mod client;
mod contract;
mod deterministic;
mod reasoning;
mod repetition;
mod script;
mod simulated;
mod validation;

use std::time::{Duration, Instant};

use orchestrator_common::brain_factory::contract::{
    AgentStatusAnswer, ExecuteAnswer, GenerateAgentAnswer,
};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{BrainFactory, BrainFactoryOptions, Stats};

/// A running server on a port of its own. It stops when dropped.
struct TestFactory {
    url: String,
    stats: Stats,
    client: Client,
    shutdown: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
}

impl Drop for TestFactory {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl TestFactory {
    /// Without a model, with simulation.
    async fn start() -> Self {
        let simulation = true;
        Self::with(BrainFactoryOptions {
            simulation,
            ..BrainFactoryOptions::default()
        })
        .await
    }

    async fn with(options: BrainFactoryOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let factory = BrainFactory::build(listener, options).unwrap();
        assert_eq!(factory.url(), format!("http://{}", factory.local_address()));
        let shutdown = CancellationToken::new();
        Self {
            url: factory.url().to_owned(),
            stats: factory.stats(),
            client: Client::new(),
            server: tokio::spawn(factory.run_until_stopped(shutdown.clone())),
            shutdown,
        }
    }

    async fn generate(&self, agent_config: Value) -> GenerateAgentAnswer {
        let response = self
            .post("/generate-agent", &json!({"agent_config": agent_config}))
            .await;
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }

    /// Makes an agent that must be valid.
    async fn agent(&self, agent_config: Value) {
        let answer = self.generate(agent_config).await;
        assert!(answer.success, "{answer:?}");
    }

    /// Executes a task that must be answered with 200.
    async fn execute(&self, agent_id: &str, task: Value) -> ExecuteAnswer {
        let response = self.call(agent_id, &task, &[]).await;
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }

    async fn call(&self, agent_id: &str, task: &Value, headers: &[(&str, &str)]) -> Response {
        self.request(agent_id, task, headers).send().await.unwrap()
    }

    fn request(
        &self,
        agent_id: &str,
        task: &Value,
        headers: &[(&str, &str)],
    ) -> reqwest::RequestBuilder {
        let url = format!("{}/agents/{agent_id}/execute", self.url);
        let mut request = self.client.post(url).json(task);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
    }

    async fn post(&self, path: &str, body: &Value) -> Response {
        let request = self.client.post(format!("{}{path}", self.url)).json(body);
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.url));
        request.send().await.unwrap()
    }

    async fn status(&self, agent_id: &str) -> AgentStatusAnswer {
        let response = self.get(&format!("/agents/{agent_id}/status")).await;
        response.json().await.unwrap()
    }

    async fn delete(&self, agent_id: &str) -> Value {
        let request = self
            .client
            .delete(format!("{}/agents/{agent_id}", self.url));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }
}

/// Waits until `condition` holds; fails after ten seconds.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A whole configuration with nothing special.
fn config(agent_id: &str) -> Value {
    json!({
        "agent_id": agent_id,
        "name": "Underwriting Assistant",
        "persona": {"name": "Ada", "description": "An underwriting analyst.", "domain": "underwriting", "risk_tolerance": "low"},
        "reasoning_config": {"pattern": "ReAct"},
        "memory_config": {"vector_memory_enabled": false},
        "plugin_config": {"enabled_plugins": []},
    })
}

/// `config` with the members of `more`.
fn config_with(agent_id: &str, more: Value) -> Value {
    let mut config = config(agent_id);
    let Value::Object(more) = more else {
        panic!("members wanted")
    };
    config.as_object_mut().unwrap().extend(more);
    config
}

/// A task with `input_data`.
fn task(task_id: &str, input_data: Value) -> Value {
    json!({"task_id": task_id, "description": "risk_assessment", "input_data": input_data, "priority": "normal"})
}
