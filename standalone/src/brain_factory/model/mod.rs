//! Agents that reason with a language model, by the pattern that their configuration names.

mod chat;
mod dialogue;
mod planning;
mod prompt;
mod reflection;
mod tool;
mod usage;

use std::sync::Arc;

use orchestrator_common::config::LlmSettings;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use thiserror::Error;

use super::blueprint::{Blueprint, Pattern};
use super::options::TokenPrices;

use chat::{Chat, ChatError};
use dialogue::{Dialogue, Step};
pub(super) use tool::Tool;
use tool::ToolCaller;
pub(super) use usage::Usage;

/// What an agent is to do.
pub(super) struct Assignment<'a> {
    pub(super) blueprint: &'a Blueprint,
    /// The task in words.
    pub(super) description: &'a str,
    /// Passed to the model as they are.
    pub(super) constraints: &'a Map<String, Value>,
    pub(super) input: &'a Arc<Value>,
    /// About the input's size in bytes.
    pub(super) size: usize,
}

/// Why reasoning came to no answer.
#[derive(Debug, Error)]
pub(super) enum ReasoningError {
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error("the model gave no answer")]
    NoAnswer,
    #[error("the model gave no plan that can be read")]
    NoPlan,
    #[error("the result cannot be written: {0}")]
    Unwritable(#[from] serde_json::Error),
}

/// The language model and what it can reach.
pub(super) struct Model {
    chat: Chat,
    tools: ToolCaller,
    prices: Option<TokenPrices>,
}

/// What reasoning came to.
#[derive(Serialize)]
struct Reasoned<'a> {
    mode: &'static str,
    pattern: &'static str,
    answer: String,
    reasoning_steps: Vec<Step>,
    /// What the agent's own graph computed, when it has one that computes.
    #[serde(skip_serializing_if = "Option::is_none")]
    graph: Option<&'a RawValue>,
}

impl Model {
    pub(super) fn new(
        settings: LlmSettings,
        prices: Option<TokenPrices>,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            chat: Chat::new(settings)?,
            tools: ToolCaller::new()?,
            prices,
        })
    }

    /// The metadata of an answer, also of one that failed: what was used until then.
    pub(super) fn metadata(&self, usage: &Usage) -> Map<String, Value> {
        let mut metadata = Map::from_iter([
            ("mode".to_owned(), "language_model".into()),
            ("model".to_owned(), self.chat.model().into()),
        ]);
        usage.report(self.prices, &mut metadata);
        metadata
    }

    /// Reasons by the agent's pattern until there is an answer.
    pub(super) async fn reason(
        &self,
        assignment: &Assignment<'_>,
        usage: &Usage,
    ) -> Result<Box<RawValue>, ReasoningError> {
        let blueprint = assignment.blueprint;
        let computed = blueprint.graph.computes().then(|| {
            let run = blueprint
                .graph
                .run(assignment.input, assignment.size, false);
            run.map_err(|error| error.to_string())
        });
        let mut dialogue = Dialogue::new(&self.chat, &self.tools, &blueprint.tools, usage);
        let system = prompt::system(&blueprint.persona);
        let task = prompt::task(assignment, computed.as_ref());
        let answer = match blueprint.pattern {
            Pattern::ReAct => dialogue.ask("answer", &system, &task).await?,
            Pattern::Reflection => reflection::reason(&mut dialogue, &system, &task).await?,
            Pattern::Planning => planning::reason(&mut dialogue, &system, &task, false).await?,
            Pattern::MultiAgent => planning::reason(&mut dialogue, &system, &task, true).await?,
        };
        let graph = computed.and_then(Result::ok);
        let reasoned = Reasoned {
            mode: "language_model",
            pattern: blueprint.pattern.as_str(),
            answer,
            reasoning_steps: dialogue.into_steps(),
            graph: graph.as_deref(),
        };
        Ok(serde_json::value::to_raw_value(&reasoned)?)
    }
}
