//! Workflows: graphs of steps that agents and people carry out, as pure functions free of I/O.
//!
//! A [`Definition`] says what is to be done, a [`RunState`] where one run of it stands, and [`advance`] what follows
//! when tasks have ended or time has passed. The ledger keeps both and carries the decisions out.

mod advance;
mod approval;
mod children;
mod condition;
mod definition;
mod draft;
mod graph;
mod joining;
mod reference;
mod request;
mod resume;
mod run;
mod scope;
mod starting;
mod state;
mod step_fields;
mod template;

#[cfg(test)]
mod advance_tests;
#[cfg(test)]
mod draft_tests;

pub use advance::{Decisions, Facts, advance, cancel};
pub use approval::{Decision, NotDecided, Verdict, decide};
pub use children::{ChildOutcome, ChildStatus, Children};
pub use condition::Condition;
pub use definition::{
    ApprovalWork, Definition, ForEach, Join, OnFailure, Step, Target, TaskWork, Work,
};
pub use draft::Draft;
pub use reference::Reference;
pub use request::{DefinitionName, RunRequest, RunSource};
pub use resume::resume;
pub use run::{NewRun, RunId, RunRecord, RunStatus, RunSummary};
pub use scope::Results;
pub use starting::Creation;
pub use state::{ApprovalState, RunState, StepError, StepState, StepStatus};
pub use template::Template;
