//! What was found while an agent's configuration was checked: the `validation_results` of the contract.

use orchestrator_common::brain_factory::contract::ValidationResult;

/// A fault of one field.
#[derive(Debug)]
pub(super) struct Fault {
    /// Where, for example `connections[2].to`.
    pub(super) field: String,
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) suggestion: Option<String>,
}

impl Fault {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
            suggestion: None,
        }
    }

    pub(super) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

/// Everything found, in the order of checking.
#[derive(Default)]
pub(super) struct Findings(Vec<ValidationResult>);

impl Findings {
    /// A fault that no agent can be made with.
    pub(super) fn error(&mut self, fault: Fault) {
        self.push(false, "error", fault);
    }

    /// Something that the agent will not have.
    pub(super) fn warning(&mut self, fault: Fault) {
        self.push(true, "warning", fault);
    }

    /// Takes the value of `checked`, or notes its fault.
    pub(super) fn take<T>(&mut self, checked: Result<T, Fault>) -> Option<T> {
        checked.map_err(|fault| self.error(fault)).ok()
    }

    fn push(&mut self, is_valid: bool, severity: &str, fault: Fault) {
        self.0.push(ValidationResult {
            is_valid,
            severity: Some(severity.to_owned()),
            message: Some(fault.message),
            field: Some(fault.field),
            suggestion: fault.suggestion,
        });
    }

    /// The errors in one line; empty when there is none.
    pub(super) fn errors(&self) -> String {
        let errors = self.0.iter().filter(|result| !result.is_valid);
        let lines: Vec<String> = errors
            .filter_map(|result| {
                Some(format!(
                    "{}: {}",
                    result.field.as_deref()?,
                    result.message.as_deref()?
                ))
            })
            .collect();
        lines.join("; ")
    }

    pub(super) fn into_results(self) -> Vec<ValidationResult> {
        self.0
    }
}
