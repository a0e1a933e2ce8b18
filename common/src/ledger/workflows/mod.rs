//! Workflows in the ledger: started, advanced, changed and read.
//!
//! Rows are locked in one order everywhere: runs by their identifiers, then agents. Who records what became of a task
//! locks no run, and only adds a row to the inbox.

mod advance;
mod change;
mod definitions;
mod effects;
mod inbox;
mod prepare;
mod read;
mod rows;
mod start;

pub use advance::{Advanced, RunChange};
pub use change::{Resumed, RunDecided, Stopped};
pub use definitions::{DefinitionPage, DefinitionSummary, StoredDefinition};
pub use read::{RunPage, RunPlace, RunQuery};
pub use start::RunStarted;

pub(super) use inbox::News;
