//! What an execution has used of the model, counted while it runs so that a failed one reports it too.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::options::TokenPrices;

/// What one execution has used so far.
#[derive(Default)]
pub(in super::super) struct Usage {
    calls: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    total_tokens: AtomicU64,
}

/// The `usage` of a chat completion.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reported {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

impl Usage {
    pub(super) fn add(&self, reported: Option<Reported>) {
        let reported = reported.unwrap_or_default();
        let sum = reported
            .prompt_tokens
            .saturating_add(reported.completion_tokens);
        for (counter, count) in [
            (&self.calls, 1),
            (&self.input_tokens, reported.prompt_tokens),
            (&self.output_tokens, reported.completion_tokens),
            (&self.total_tokens, reported.total_tokens.max(sum)),
        ] {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Writes it into an answer's metadata; what the endpoint did not report is left out.
    pub(super) fn report(&self, prices: Option<TokenPrices>, metadata: &mut Map<String, Value>) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        metadata.insert("llm_calls".to_owned(), load(&self.calls).into());
        let total = load(&self.total_tokens);
        if total == 0 {
            return;
        }
        metadata.insert("tokens_used".to_owned(), total.into());
        if let Some(prices) = prices {
            #[expect(
                clippy::cast_precision_loss,
                reason = "no task uses 2^53 tokens, and it is an estimate"
            )]
            let cost = (load(&self.input_tokens) as f64 * prices.input_per_million
                + load(&self.output_tokens) as f64 * prices.output_per_million)
                / 1_000_000.0;
            metadata.insert("cost_estimate".to_owned(), cost.into());
        }
    }
}
