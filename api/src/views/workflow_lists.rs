//! Lists of runs and of stored definitions as callers see them.

use std::fmt;

use orchestrator_common::domain::Timestamp;
use orchestrator_common::domain::workflow::{DefinitionName, RunId, RunStatus, RunSummary};
use orchestrator_common::ledger::{
    DefinitionPage, DefinitionSummary, RunPage, RunPlace, StoredDefinition,
};
use poem_openapi::Object;
use poem_openapi::registry::MetaSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::paging::cursor_of_time_and_id;
use super::{QueryValue, Wire, WireSchema};

/// What a list says of a run.
#[derive(Debug, Object, Serialize)]
pub(crate) struct RunSummaryView {
    /// Its identifier.
    run_id: Wire<RunId>,
    /// The stored definition that it follows, if it follows one.
    #[oai(nullable)]
    name: Option<String>,
    /// The version of that.
    #[oai(nullable)]
    version: Option<u32>,
    /// Where it stands.
    status: Wire<RunStatus>,
    /// When it was accepted.
    created_at: Wire<Timestamp>,
    /// When it ended.
    #[oai(nullable)]
    ended_at: Option<Wire<Timestamp>>,
    /// Why it failed.
    #[oai(nullable)]
    error: Option<String>,
}

impl From<RunSummary> for RunSummaryView {
    fn from(run: RunSummary) -> Self {
        let (name, version) = run.named.unzip();
        Self {
            run_id: Wire(run.run_id),
            name: name.map(|name| name.to_string()),
            version,
            status: Wire(run.status),
            created_at: Wire(run.created_at),
            ended_at: run.ended_at.map(Wire),
            error: run.error,
        }
    }
}

/// A page of runs.
#[derive(Debug, Object, Serialize)]
pub(crate) struct RunList {
    /// Newest first.
    workflows: Vec<RunSummaryView>,
    /// How many are on this page.
    count: usize,
    /// Gets the next page as `cursor`; absent on the last one. A page with a rare filter may hold fewer runs than were
    /// asked for, or none, before the last one.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

impl From<RunPage> for RunList {
    fn from(page: RunPage) -> Self {
        let workflows: Vec<_> = page.runs.into_iter().map(Into::into).collect();
        Self {
            count: workflows.len(),
            workflows,
            next_cursor: page.next.map(|place| RunCursor(place).to_string()),
        }
    }
}

/// Where a page of runs ends and the next one begins; its form is our own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunCursor(pub(crate) RunPlace);

impl fmt::Display for RunCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (created_at, run_id) = self.0;
        write!(f, "{}.{}", created_at.as_micros(), run_id.uuid().simple())
    }
}

impl WireSchema for RunCursor {
    fn schema() -> MetaSchema {
        cursor_of_time_and_id()
    }
}

impl QueryValue for RunCursor {
    const ACCEPTS: &'static str = "must be the next_cursor of a page";

    fn read(text: &str) -> Option<Self> {
        let (micros, run_id) = text.split_once('.')?;
        let created_at = Timestamp::from_micros(micros.parse().ok()?);
        Some(Self((created_at, run_id.parse().ok()?)))
    }
}

impl QueryValue for RunStatus {
    const ACCEPTS: &'static str =
        "must be one of running, failing, cancelling, completed, failed, cancelled";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl WireSchema for DefinitionName {
    fn schema() -> MetaSchema {
        MetaSchema {
            min_length: Some(1),
            max_length: Some(100),
            pattern: Some("^[A-Za-z0-9._-]+$".to_owned()),
            ..MetaSchema::new("string")
        }
    }
}

impl QueryValue for DefinitionName {
    const ACCEPTS: &'static str = Self::ACCEPTS;

    fn read(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

/// Where a page of definitions ends: the last name on it.
pub(crate) struct DefinitionCursor(pub(crate) DefinitionName);

impl WireSchema for DefinitionCursor {
    fn schema() -> MetaSchema {
        DefinitionName::schema()
    }
}

impl QueryValue for DefinitionCursor {
    const ACCEPTS: &'static str = "must be the next_cursor of a page";

    fn read(text: &str) -> Option<Self> {
        DefinitionName::parse(text).map(Self)
    }
}

/// What a list says of a stored definition.
#[derive(Debug, Object, Serialize)]
pub(crate) struct DefinitionSummaryView {
    /// The name.
    name: String,
    /// The newest version, from 1.
    version: u32,
    /// When that was stored.
    created_at: Wire<Timestamp>,
    /// Who stored it: the subject of a token, or `anonymous` when authentication is off.
    #[oai(nullable)]
    created_by: Option<String>,
}

impl From<DefinitionSummary> for DefinitionSummaryView {
    fn from(summary: DefinitionSummary) -> Self {
        Self {
            name: summary.name.to_string(),
            version: summary.version,
            created_at: Wire(summary.created_at),
            created_by: summary.created_by,
        }
    }
}

/// A page of stored definitions.
#[derive(Debug, Object, Serialize)]
pub(crate) struct DefinitionList {
    /// By name, each in its newest version.
    definitions: Vec<DefinitionSummaryView>,
    /// How many are on this page.
    count: usize,
    /// Gets the next page as `cursor`; absent on the last one.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

impl From<DefinitionPage> for DefinitionList {
    fn from(page: DefinitionPage) -> Self {
        let definitions: Vec<_> = page.definitions.into_iter().map(Into::into).collect();
        Self {
            count: definitions.len(),
            definitions,
            next_cursor: page.next.map(|name| name.to_string()),
        }
    }
}

/// A version of a stored definition.
#[derive(Debug, Object, Serialize)]
pub(crate) struct DefinitionView {
    /// The name.
    name: String,
    /// The version, from 1.
    version: u32,
    /// When it was stored.
    created_at: Wire<Timestamp>,
    /// Who stored it: the subject of a token, or `anonymous` when authentication is off.
    #[oai(nullable)]
    created_by: Option<String>,
    /// The definition, as it was stored.
    definition: Wire<Map<String, Value>>,
}

impl From<StoredDefinition> for DefinitionView {
    fn from(stored: StoredDefinition) -> Self {
        let definition = match stored.body {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        Self {
            name: stored.summary.name.to_string(),
            version: stored.summary.version,
            created_at: Wire(stored.summary.created_at),
            created_by: stored.summary.created_by,
            definition: Wire(definition),
        }
    }
}

/// What became of a definition that was to be stored.
#[derive(Debug, Object, Serialize)]
pub(crate) struct DefinitionStored {
    /// Always true: a definition that was not stored is answered with a problem.
    success: bool,
    /// The name.
    name: String,
    /// The version that holds it.
    version: u32,
    /// Whether that is new; the newest version held the same, otherwise.
    created: bool,
}

impl DefinitionStored {
    pub(crate) fn new(name: &DefinitionName, version: u32, created: bool) -> Self {
        Self {
            success: true,
            name: name.to_string(),
            version,
            created,
        }
    }
}
