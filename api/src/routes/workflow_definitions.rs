//! `/orchestrator/workflow-definitions`: stored definitions, of which every change is a new version.

use std::sync::Arc;

use orchestrator_common::domain::workflow::DefinitionName;
use orchestrator_common::domain::{Faults, Timestamp};
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};
use poem_openapi::registry::MetaSchema;

use super::Tag;
use crate::auth::{Caller, Read, Write};
use crate::body::{DefinitionBody, JsonBody};
use crate::problem::{Administering, ApiError, Reading, Refusal};
use crate::service::{Service, patiently, take};
use crate::views::{
    Answer, DefinitionCursor, DefinitionList, DefinitionStored, DefinitionView, Loose, PageSize,
    QueryValue, WireSchema,
};

pub(super) struct WorkflowDefinitions(pub(super) Arc<Service>);

/// The number of a version.
struct Version(u32);

impl WireSchema for Version {
    fn schema() -> MetaSchema {
        MetaSchema {
            minimum: Some(1.0),
            maximum: Some(f64::from(i32::MAX)),
            ..MetaSchema::new_with_format("integer", "uint32")
        }
    }
}

impl QueryValue for Version {
    const ACCEPTS: &'static str = "must be a whole number from 1 to 2147483647";

    fn read(text: &str) -> Option<Self> {
        let version = text.parse().ok()?;
        (1..=i32::MAX.unsigned_abs())
            .contains(&version)
            .then_some(Self(version))
    }
}

#[OpenApi(tag = "Tag::Workflows")]
impl WorkflowDefinitions {
    /// Store a definition
    ///
    /// As a new version, unless the newest one is the same. Workflows that run keep the version that they began with.
    #[oai(
        path = "/orchestrator/workflow-definitions/:name",
        method = "put",
        operation_id = "store_workflow_definition"
    )]
    async fn store(
        &self,
        caller: Caller<Write>,
        /// Its name: letters, digits, `.`, `_` and `-`.
        name: Path<String>,
        body: JsonBody<DefinitionBody>,
    ) -> Result<Answer<DefinitionStored>, Refusal<Administering>> {
        let name = DefinitionName::parse(&name)
            .ok_or_else(|| Faults::one("name", DefinitionName::ACCEPTS))?;
        let DefinitionBody(body) = body.content;
        self.0.check_definition(&body).await?;
        let ledger = self.0.ledger.by(caller.origin());
        let storing = ledger.store_definition(&name, &body, Timestamp::now());
        let (version, created) = patiently(storing).await?;
        Ok(Answer(DefinitionStored::new(&name, version, created)))
    }

    /// List definitions
    ///
    /// By name, each in its newest version.
    #[oai(
        path = "/orchestrator/workflow-definitions",
        method = "get",
        operation_id = "list_workflow_definitions"
    )]
    async fn list(
        &self,
        _caller: Caller<Read>,
        /// At most this many.
        limit: Query<Option<Loose<PageSize<100>>>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Loose<DefinitionCursor>>>,
    ) -> Result<Answer<DefinitionList>, Refusal<Reading>> {
        let mut faults = Faults::default();
        let PageSize(limit) = take("limit", limit.0, &mut faults).unwrap_or_default();
        let after = take("cursor", cursor.0, &mut faults).map(|cursor| cursor.0);
        let after = faults.none_or(after)?;
        let page = patiently(self.0.ledger.definition_page(after.as_ref(), limit)).await?;
        Ok(Answer(page.into()))
    }

    /// Get a definition
    ///
    /// Its steps and everything else that was stored, in one of its versions.
    #[oai(
        path = "/orchestrator/workflow-definitions/:name",
        method = "get",
        operation_id = "get_workflow_definition"
    )]
    async fn get(
        &self,
        _caller: Caller<Read>,
        /// Its name.
        name: Path<String>,
        /// Which version; the newest when absent.
        version: Query<Option<Loose<Version>>>,
    ) -> Result<Answer<DefinitionView>, Refusal<Reading>> {
        let mut faults = Faults::default();
        let version = take("version", version.0, &mut faults).map(|version| version.0);
        let version = faults.none_or(version)?;
        let no_such = || ApiError::NoSuchDefinition(name.0.clone());
        let parsed = DefinitionName::parse(&name).ok_or_else(no_such)?;
        let stored = patiently(self.0.ledger.definition(&parsed, version)).await?;
        Ok(Answer(stored.ok_or_else(no_such)?.into()))
    }
}
