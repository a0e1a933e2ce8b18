//! How the errors of other layers become errors of the API. What callers must not see is logged here and dropped.

use std::fmt::Display;

use orchestrator_common::commands::{AcceptError, RETRY_AFTER};
use orchestrator_common::domain::{Faults, NobodyFits};
use orchestrator_common::ledger::LedgerError;
use poem::error::{MethodNotAllowedError, NotFoundError, ReadBodyError};
use poem_openapi::error::{ParseParamError, ParsePathError};

use super::ApiError;

impl From<Faults> for ApiError {
    fn from(faults: Faults) -> Self {
        Self::Invalid(faults)
    }
}

impl From<NobodyFits> for ApiError {
    fn from(nobody: NobodyFits) -> Self {
        match nobody {
            NobodyFits::Domain => Self::Invalid(Faults::one("domain", nobody.to_string())),
            NobodyFits::TaskType { .. } => {
                Self::Invalid(Faults::one("task_type", nobody.to_string()))
            }
            NobodyFits::NotNow { .. } => Self::NobodyAvailable(nobody),
            NobodyFits::Full { .. } => Self::EverybodyFull(nobody),
        }
    }
}

impl From<AcceptError> for ApiError {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::UnknownAgent(agent_id) => Self::NoSuchAgent(agent_id.into()),
            AcceptError::Conflict(task_id) => Self::Conflict(task_id),
            AcceptError::Unacceptable(reason) => unacceptable(&reason),
            AcceptError::Unavailable { retry_after } => Self::Unavailable(retry_after),
        }
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Unavailable(reason) => {
                tracing::warn!(%reason, "the ledger does not answer");
                Self::Unavailable(RETRY_AFTER)
            }
            LedgerError::Unacceptable(reason) => unacceptable(&reason),
            LedgerError::Corrupt(reason) => {
                tracing::error!(%reason, "the ledger holds something unexpected");
                Self::Internal
            }
        }
    }
}

/// Data that passed every rule of ours and that the database will never take; its own words stay here.
fn unacceptable(reason: &dyn Display) -> ApiError {
    tracing::warn!(%reason, "the ledger refuses the data of a request");
    ApiError::Invalid(Faults::one(
        "",
        "must not hold what cannot be stored, such as the character U+0000",
    ))
}

impl ApiError {
    /// What an error means that came out of the framework: one of ours, or one that it made itself.
    pub(crate) fn from_framework(error: poem::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(ours) => return ours,
            Err(other) => other,
        };
        if error.is::<NotFoundError>() {
            return Self::NoSuchRoute;
        }
        if error.is::<MethodNotAllowedError>() {
            return Self::MethodNotAllowed;
        }
        if let Some(parameter) = error.downcast_ref::<ParseParamError>() {
            return Self::Invalid(Faults::one(parameter.name, parameter.reason.clone()));
        }
        if error.is::<ParsePathError>() || error.is::<poem::error::ParsePathError>() {
            return Self::NoSuchRoute;
        }
        if error.is::<ReadBodyError>() || error.status().is_client_error() {
            return Self::NotUnderstood("the request cannot be read".into());
        }
        tracing::error!(%error, "a request failed");
        Self::Internal
    }
}
