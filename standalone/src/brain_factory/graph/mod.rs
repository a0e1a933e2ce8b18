//! An agent's components and connections as a graph that runs without a language model.
//!
//! It is compiled once when the agent is made, so that running it only looks values up.

mod compile;
mod component;
mod condition;
mod decision;
mod path;
mod report;
mod rule;
mod run;
mod template;

pub(super) use compile::compile;
pub(super) use component::{kind_name, settings};
pub(super) use report::NOTE;

use component::Component;
use run::GraphError;

/// A compiled graph.
pub(super) struct Graph {
    components: Vec<Component>,
    /// Indices of `components`, each after everything that it reads.
    order: Vec<usize>,
    /// The components that nothing reads: their outputs are the graph's.
    sinks: Vec<usize>,
}

impl Graph {
    /// Whether there is nothing to run.
    pub(super) fn is_empty(&self) -> bool {
        self.components.is_empty()
    }

    /// Whether any component does more than hand its input on.
    pub(super) fn computes(&self) -> bool {
        self.components.iter().any(Component::computes)
    }
}
