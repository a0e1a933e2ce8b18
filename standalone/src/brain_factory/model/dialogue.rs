//! ReAct: the model thinks, calls tools, sees what they gave, and goes on until it answers.
//!
//! The other patterns ask their own questions through it, so their agents can use tools too.

use serde::Serialize;
use serde_json::{Value, json};

use super::ReasoningError;
use super::chat::{Chat, ToolCall};
use super::tool::{Tool, ToolCaller};
use super::usage::Usage;

/// How often the model may call tools before it must answer.
const MAX_ROUNDS: usize = 8;
/// The most tool calls of one round that are carried out.
const MAX_CALLS: usize = 8;
/// How much of a text a recorded step shows, in characters.
const MAX_SHOWN: usize = 2_000;

/// One step on the way to an answer.
#[derive(Serialize)]
pub(super) struct Step {
    /// What it was for, such as `answer`, `draft` or `plan`.
    stage: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    thought: String,
    /// The tool that was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    #[serde(skip_serializing_if = "Value::is_null")]
    input: Value,
    /// What the tool gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    observation: Option<String>,
}

/// An agent's conversation with the model during one task.
pub(super) struct Dialogue<'a> {
    chat: &'a Chat,
    caller: &'a ToolCaller,
    tools: &'a [Tool],
    /// The tools as the model is told of them.
    described: Vec<Value>,
    usage: &'a Usage,
    steps: Vec<Step>,
}

impl<'a> Dialogue<'a> {
    pub(super) fn new(
        chat: &'a Chat,
        caller: &'a ToolCaller,
        tools: &'a [Tool],
        usage: &'a Usage,
    ) -> Self {
        Self {
            chat,
            caller,
            tools,
            described: tools.iter().map(Tool::describe).collect(),
            usage,
            steps: Vec::new(),
        }
    }

    pub(super) fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    /// Asks one question and lets the model use the tools until it answers.
    pub(super) async fn ask(
        &mut self,
        stage: &str,
        system: &str,
        question: &str,
    ) -> Result<String, ReasoningError> {
        let mut messages = opening(system, question);
        for _ in 0..MAX_ROUNDS {
            let reply = self
                .chat
                .complete(&messages, &self.described, self.usage)
                .await?;
            if reply.tool_calls.is_empty() {
                return self.conclude(stage, reply.text);
            }
            self.note(stage, &reply.text);
            messages.push(reply.message);
            for (index, call) in reply.tool_calls.iter().enumerate() {
                let observation = if index < MAX_CALLS {
                    self.act(call).await
                } else {
                    "Error: too many tool calls at once".to_owned()
                };
                self.steps.push(Step {
                    stage: stage.to_owned(),
                    thought: String::new(),
                    action: Some(call.function.name.clone()),
                    input: call.function.arguments.clone(),
                    observation: Some(shown(&observation)),
                });
                messages
                    .push(json!({"role": "tool", "tool_call_id": call.id, "content": observation}));
            }
        }
        messages.push(json!({"role": "user", "content": "Answer now with what you know; no tool can be called any more."}));
        let reply = self.chat.complete(&messages, &[], self.usage).await?;
        self.conclude(stage, reply.text)
    }

    /// Asks one question that needs no tools.
    pub(super) async fn ask_plainly(
        &mut self,
        stage: &str,
        system: &str,
        question: &str,
    ) -> Result<String, ReasoningError> {
        let messages = opening(system, question);
        let reply = self.chat.complete(&messages, &[], self.usage).await?;
        self.conclude(stage, reply.text)
    }

    fn conclude(&mut self, stage: &str, text: String) -> Result<String, ReasoningError> {
        if text.is_empty() {
            return Err(ReasoningError::NoAnswer);
        }
        self.note(stage, &text);
        Ok(text)
    }

    fn note(&mut self, stage: &str, thought: &str) {
        if !thought.is_empty() {
            self.steps.push(Step {
                stage: stage.to_owned(),
                thought: shown(thought),
                action: None,
                input: Value::Null,
                observation: None,
            });
        }
    }

    /// Calls a tool. A failure is for the model to deal with.
    async fn act(&self, call: &ToolCall) -> String {
        let name = &call.function.name;
        let Some(tool) = self.tools.iter().find(|tool| tool.name() == name) else {
            return format!("Error: there is no tool '{name}'");
        };
        let arguments = match &call.function.arguments {
            Value::String(text) if text.trim().is_empty() => json!({}),
            Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
            Value::Null => json!({}),
            other => other.clone(),
        };
        let Value::Object(arguments) = arguments else {
            return "Error: the arguments are not a JSON object".to_owned();
        };
        match self.caller.call(tool, &arguments).await {
            Ok(answer) => answer,
            Err(error) => format!("Error: {error}"),
        }
    }
}

fn opening(system: &str, question: &str) -> Vec<Value> {
    vec![
        json!({"role": "system", "content": system}),
        json!({"role": "user", "content": question}),
    ]
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}
