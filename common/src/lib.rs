//! What the API, the workers and the embedded default share: the domain, the ledger, the clients of other services.
//!
//! Inside this crate the arrows point one way: `domain` does no I/O and knows none of its siblings.

pub mod audit_service;
pub mod auth;
pub mod brain_factory;
pub mod cache;
pub mod callbacks;
pub mod commands;
pub mod config;
pub mod deployment_pipeline;
pub mod domain;
pub mod health;
mod http;
pub mod ledger;
pub mod messaging;
pub mod metrics;
pub mod signals;
pub mod telemetry;
pub mod waiting;
