//! Measures a running orchestrator from outside, over HTTP.
//!
//! `load` drives one that already runs; `embedded` starts the built program and measures it from its first moment.

pub mod connection;
pub mod distribution;
pub mod embedded;
pub mod latency;
pub mod orchestrator;
pub mod process;
pub mod report;
pub mod throughput;
