//! The answer of the health endpoints.

use std::collections::BTreeMap;

use poem_openapi::{Enum, Object};
use serde::Serialize;

/// How well the service can do its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(crate) enum Health {
    /// Everything it leans on answers.
    Healthy,
    /// Something does not answer, and it does its job nevertheless.
    Degraded,
    /// It can neither accept nor read.
    Unhealthy,
}

/// Whether a dependency answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(crate) enum DependencyState {
    /// It answers.
    Up,
    /// It does not.
    Down,
}

/// A service that the orchestrator leans on.
#[derive(Clone, Debug, Object, Serialize)]
pub(crate) struct DependencyReport {
    /// Whether it answers.
    pub(crate) status: DependencyState,
    /// How long its answer took, in milliseconds.
    pub(crate) latency_ms: f64,
}

/// How the service is.
#[derive(Clone, Debug, Object, Serialize)]
pub(crate) struct HealthReport {
    /// How well it can do its job.
    pub(crate) status: Health,
    /// Always `agent-orchestrator`.
    pub(crate) service: String,
    /// Its version.
    pub(crate) version: String,
    /// Seconds since this process started.
    pub(crate) uptime_seconds: f64,
    /// Every service that it leans on, by name.
    pub(crate) dependencies: BTreeMap<String, DependencyReport>,
}
