//! What the tests of the whole need: real servers under names of their own, and a network that fails on demand.

pub mod any_json;
pub mod cancel_commands;
pub mod collector;
pub mod counting_agents;
pub mod decoding;
pub mod deployment;
pub mod full_api;
pub mod full_worker;
pub mod ledger;
pub mod ledger_steps;
pub mod platform;
pub mod private_servers;
pub mod process;
pub mod receiver;
pub mod surface;
pub mod tcp_proxy;
pub mod test_broker;
pub mod tls;
mod wait;

pub use wait::{eventually, eventually_within};
