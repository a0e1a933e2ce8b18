//! Measures a running orchestrator from outside, over HTTP.
//!
//! `load` drives one that already runs; `embedded` starts the built program and measures it from its first moment; `full`
//! does so with API and worker as processes of their own on RabbitMQ, PostgreSQL and Redis; `hostile` attacks those.

pub mod brain;
pub mod connection;
pub mod deployment;
pub mod distribution;
pub mod embedded;
pub mod hostile;
pub mod latency;
pub mod orchestrator;
pub mod process;
pub mod program;
pub mod report;
pub mod runs;
pub mod throughput;
pub mod workload;
