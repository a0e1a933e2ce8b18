//! The embedded default: API, worker, ledger and Brain Factory in one process, with no servers beside it.

pub mod brain_factory;
pub mod cli;
mod data_dir;
mod embedded;
mod operator;
mod parts;
mod welcome;

pub use data_dir::{DataDir, DataDirError};
pub use embedded::Embedded;
pub use parts::brain_factory_alone;
pub use welcome::welcome;
