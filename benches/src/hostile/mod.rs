//! Hostile callers: requests and messages that nobody sends by mistake, and what they are answered.

pub mod messages;
pub mod requests;
pub mod tokens;
pub mod watch;
pub mod wire;
