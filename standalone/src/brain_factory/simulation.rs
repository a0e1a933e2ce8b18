//! `input_data._simulate`: misbehaviour on request, for tests of whoever calls an agent.

use serde::Deserialize;
use serde_json::{Map, Value};

/// How an execution misbehaves. Refusals come first, then the delay, then the rest in this order.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Simulation {
    /// Removes the agent and answers 404.
    pub(super) forget: Times,
    /// Answers that the agent is busy.
    pub(super) busy: Times,
    /// Milliseconds that the execution takes longer, within the task's time-out.
    pub(super) delay_ms: u64,
    /// Breaks the connection.
    pub(super) drop_connection: bool,
    /// Answers 503 while `X-Attempt` is at most this.
    pub(super) fail_attempts: u32,
    /// Answers with this status.
    pub(super) status: Option<u16>,
    /// Seconds for the `Retry-After` of `status` and `fail_attempts`.
    pub(super) retry_after: Option<u64>,
    /// Answers 200 `failed` with this message.
    pub(super) fail: Option<String>,
    /// Reports these tokens.
    pub(super) tokens_used: Option<u64>,
    /// Reports this cost.
    pub(super) cost_estimate: Option<f64>,
}

/// How often: `true` always, a number for the first so many calls of the task.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
pub(super) enum Times {
    Always(bool),
    First(u32),
}

impl Default for Times {
    fn default() -> Self {
        Self::Always(false)
    }
}

impl Times {
    /// Whether the task's `call`, counted from 1, is meant.
    pub(super) const fn includes(self, call: u32) -> bool {
        match self {
            Self::Always(always) => always,
            Self::First(count) => call <= count,
        }
    }
}

impl Simulation {
    /// Takes the wish out of a task's input.
    pub(super) fn take(input: &mut Value) -> Result<Self, serde_json::Error> {
        let wish = input
            .as_object_mut()
            .and_then(|input| input.remove("_simulate"));
        wish.map_or_else(|| Ok(Self::default()), serde_json::from_value)
    }

    /// Adds the usage that it pretends.
    pub(super) fn pretend_usage(&self, metadata: &mut Map<String, Value>) {
        if let Some(tokens) = self.tokens_used {
            metadata.insert("tokens_used".to_owned(), tokens.into());
        }
        if let Some(cost) = self.cost_estimate {
            metadata.insert("cost_estimate".to_owned(), cost.into());
        }
    }
}
