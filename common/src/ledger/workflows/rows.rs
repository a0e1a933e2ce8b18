//! Between rows of runs and the domain.

use sea_orm::{QueryResult, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::super::LedgerError;
use super::super::convert::{at, count, name};
use crate::domain::Timestamp;
use crate::domain::workflow::{Definition, DefinitionName, RunRecord, RunState, RunSummary};

/// What a list reads of a run.
pub(super) const SUMMARY: &str = "run_id, name, version, status, created_at, ended_at, error";
/// What else there is to a run.
pub(super) const WHOLE: &str = "definition, input, state, output";

/// A run of a row of [`SUMMARY`].
pub(super) fn summary(row: &QueryResult) -> Result<RunSummary, LedgerError> {
    let version = row.try_get_by_index::<Option<i32>>(2)?;
    let version = version
        .map(|version| count("version", version.into()))
        .transpose()?;
    let named = row.try_get_by_index::<Option<String>>(1)?;
    let named = named.map(|text| definition_name(&text)).transpose()?;
    Ok(RunSummary {
        run_id: row.try_get_by_index::<Uuid>(0)?.into(),
        named: named.zip(version),
        status: name("status", &row.try_get_by_index::<String>(3)?)?,
        created_at: Timestamp::from_micros(row.try_get_by_index(4)?),
        ended_at: at(row.try_get_by_index(5)?),
        error: row.try_get_by_index(6)?,
    })
}

/// A run of a row of [`SUMMARY`] and [`WHOLE`].
pub(super) fn whole(row: &QueryResult) -> Result<RunRecord, LedgerError> {
    let output: Option<String> = row.try_get_by_index(10)?;
    Ok(RunRecord {
        summary: summary(row)?,
        definition: definition(&row.try_get_by_index::<String>(7)?)?,
        input: parsed("input", &row.try_get_by_index::<String>(8)?)?,
        state: parsed::<RunState>("state", &row.try_get_by_index::<String>(9)?)?,
        output: output.map(|text| parsed("output", &text)).transpose()?,
    })
}

pub(super) fn definition(text: &str) -> Result<Definition, LedgerError> {
    Definition::stored(parsed("definition", text)?)
        .map_err(|faults| LedgerError::Corrupt(format!("a definition of a workflow: {faults}")))
}

pub(super) fn definition_name(text: &str) -> Result<DefinitionName, LedgerError> {
    DefinitionName::parse(text).ok_or_else(|| LedgerError::Corrupt(format!("name is {text:?}")))
}

pub(super) fn parsed<T: DeserializeOwned>(column: &str, text: &str) -> Result<T, LedgerError> {
    serde_json::from_str(text)
        .map_err(|error| LedgerError::Corrupt(format!("{column} of a workflow: {error}")))
}

/// Something as JSON text.
pub(super) fn text<T: Serialize>(column: &str, value: &T) -> Result<Value, LedgerError> {
    match serde_json::to_string(value) {
        Ok(text) => Ok(text.into()),
        Err(error) => Err(LedgerError::Corrupt(format!(
            "{column} of a workflow: {error}"
        ))),
    }
}
