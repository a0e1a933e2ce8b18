//! Telling outcomes to the addresses that tasks name: signing, checking where that leads, one attempt at a time. When
//! attempts are made is the ledger's and the workers' business.

mod client;
mod resolver;
mod signature;

#[cfg(test)]
mod tests;

pub use client::{ANSWER_TIMEOUT, CallbackClient, CallbackClientError, Told};
pub use signature::SigningKey;
