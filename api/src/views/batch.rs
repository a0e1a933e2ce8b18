//! What became of a batch of tasks.

use poem_openapi::Object;
use poem_openapi::types::Example;
use serde::Serialize;

use super::TaskAccepted;
use crate::problem::Problem;

/// What became of one task of a batch: it was accepted, or there is a problem.
#[derive(Debug, Object, Serialize)]
pub(crate) struct BatchResult {
    /// Whether it was accepted.
    success: bool,
    /// The accepted task.
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<TaskAccepted>,
    /// Why it was not accepted, as the same task alone would have been answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

impl From<Result<TaskAccepted, Problem>> for BatchResult {
    fn from(result: Result<TaskAccepted, Problem>) -> Self {
        Self {
            success: result.is_ok(),
            problem: result.as_ref().err().cloned(),
            accepted: result.ok(),
        }
    }
}

/// What became of a batch of tasks.
#[derive(Debug, Object, Serialize)]
#[oai(example)]
pub(crate) struct BatchResults {
    /// What became of each task, in their order.
    results: Vec<BatchResult>,
    /// How many were accepted.
    accepted: usize,
    /// How many were not.
    refused: usize,
}

impl From<Vec<BatchResult>> for BatchResults {
    fn from(results: Vec<BatchResult>) -> Self {
        let accepted = results.iter().filter(|result| result.success).count();
        Self {
            refused: results.len() - accepted,
            accepted,
            results,
        }
    }
}

impl Example for BatchResults {
    fn example() -> Self {
        let results = [Ok(TaskAccepted::example()), Err(Problem::example())];
        results
            .map(BatchResult::from)
            .into_iter()
            .collect::<Vec<_>>()
            .into()
    }
}
