//! A chat endpoint that gives prepared answers in order, and a factory whose model it is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use orchestrator_common::brain_factory::contract::ExecuteAnswer;
use orchestrator_common::config::{LlmSettings, Secret};
use serde_json::{Value, json};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::{TestFactory, config_with, task};
use crate::brain_factory::{BrainFactoryOptions, TokenPrices};

pub(super) const KEY: &str = "sk-very-secret-key";

/// A chat endpoint that gives its answers in order.
pub(super) struct Script {
    pub(super) server: MockServer,
    answers: Arc<Mutex<VecDeque<ResponseTemplate>>>,
}

struct Player(Arc<Mutex<VecDeque<ResponseTemplate>>>);

impl Respond for Player {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let next = self.0.lock().unwrap().pop_front();
        next.unwrap_or_else(|| ResponseTemplate::new(418).set_body_string("the script is over"))
    }
}

impl Script {
    pub(super) async fn of(answers: impl IntoIterator<Item = ResponseTemplate>) -> Self {
        let server = MockServer::start().await;
        let answers = Arc::new(Mutex::new(answers.into_iter().collect()));
        Mock::given(method("POST"))
            .and(path("/v1/chat/completions"))
            .and(header("authorization", format!("Bearer {KEY}")))
            .respond_with(Player(Arc::clone(&answers)))
            .mount(&server)
            .await;
        Self { server, answers }
    }

    /// A factory whose model is this endpoint.
    pub(super) async fn factory(&self) -> TestFactory {
        let llm = LlmSettings {
            base_url: format!("{}/v1", self.server.uri()).parse().unwrap(),
            model: "test-model".to_owned(),
            prices: None,
            api_key: Some(Secret::new(KEY.to_owned())),
        };
        TestFactory::with(BrainFactoryOptions {
            llm: Some(llm),
            prices: Some(TokenPrices {
                input_per_million: 1.0,
                output_per_million: 10.0,
            }),
            ..BrainFactoryOptions::default()
        })
        .await
    }

    /// The answer of an agent with this pattern and `more` configuration.
    pub(super) async fn run(&self, pattern: &str, more: Value) -> ExecuteAnswer {
        let factory = self.factory().await;
        let mut config = config_with("a", more);
        config["reasoning_config"]["pattern"] = json!(pattern);
        factory.agent(config).await;
        factory
            .execute("a", task("t", json!({"credit_score": 720})))
            .await
    }

    /// The bodies of the chat calls, in order.
    pub(super) async fn heard(&self) -> Vec<Value> {
        let requests = self.server.received_requests().await.unwrap();
        let chats = requests
            .iter()
            .filter(|request| request.url.path() == "/v1/chat/completions");
        chats.map(|request| request.body_json().unwrap()).collect()
    }

    pub(super) fn is_over(&self) -> bool {
        self.answers.lock().unwrap().is_empty()
    }
}

/// A completion that used 100 tokens of input and 10 of output.
pub(super) fn completion(message: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }))
}

pub(super) fn says(text: &str) -> ResponseTemplate {
    completion(&json!({"role": "assistant", "content": text}))
}

pub(super) fn calls(tool: &str, arguments: &str) -> ResponseTemplate {
    completion(
        &json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": tool, "arguments": arguments}}]}),
    )
}

pub(super) fn last_message(body: &Value) -> &Value {
    body["messages"].as_array().unwrap().last().unwrap()
}
