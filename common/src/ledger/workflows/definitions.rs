//! Stored definitions: every change is a new version, and none is ever changed.

use sea_orm::{ConnectionTrait, DatabaseBackend, Statement};

use super::super::convert::{count, small};
use super::super::{Ledger, LedgerError};
use super::rows::{definition_name, parsed, text};
use crate::domain::Timestamp;
use crate::domain::workflow::DefinitionName;

/// How often a new version is tried whose number somebody else has just taken.
const TRIES: u32 = 5;

/// A version of a stored definition.
#[derive(Clone, Debug)]
pub struct StoredDefinition {
    /// What a list says of it.
    pub summary: DefinitionSummary,
    /// The definition as JSON.
    pub body: serde_json::Value,
}

/// What a list says of a version of a stored definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionSummary {
    /// The name.
    pub name: DefinitionName,
    /// The version, from 1.
    pub version: u32,
    /// When it was stored.
    pub created_at: Timestamp,
    /// Who stored it.
    pub created_by: Option<String>,
}

/// A page of stored definitions.
#[derive(Clone, Debug)]
pub struct DefinitionPage {
    /// The newest version of each, by name.
    pub definitions: Vec<DefinitionSummary>,
    /// The name after which the next page begins; `None` on the last one.
    pub next: Option<DefinitionName>,
}

impl Ledger {
    /// Stores a new version of a definition, which was checked, or finds that the newest one is the same; returns its
    /// number, and whether it is new.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn store_definition(
        &self,
        name: &DefinitionName,
        body: &serde_json::Value,
        now: Timestamp,
    ) -> Result<(u32, bool), LedgerError> {
        for _ in 0..TRIES {
            let newest = self.definition(name, None).await?;
            if let Some(newest) = newest.as_ref().filter(|newest| newest.body == *body) {
                return Ok((newest.summary.version, false));
            }
            let version = newest.map_or(1, |newest| newest.summary.version + 1);
            if self.insert_definition(name, version, body, now).await? {
                return Ok((version, true));
            }
        }
        Err(LedgerError::Corrupt(format!(
            "the versions of {name} change too fast"
        )))
    }

    async fn insert_definition(
        &self,
        name: &DefinitionName,
        version: u32,
        body: &serde_json::Value,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let sql = "INSERT INTO workflow_definitions (name, version, definition, created_at, created_by) \
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name, version) DO NOTHING";
        let by = self.origin.as_ref().map(|origin| origin.actor.clone());
        let values = [
            name.as_str().into(),
            small(version).into(),
            text("definition", body)?,
            now.as_micros().into(),
            by.into(),
        ];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        self.within(|db| async move {
            let tx = db.begin().await?;
            if tx.execute_raw(statement).await?.rows_affected() == 0 {
                return Ok(false);
            }
            let detail = Some(format!("version {version}"));
            self.note(&tx, "workflow_definition.store", name.as_str(), detail, now)
                .await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// A version of a definition; the newest when none is named.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn definition(
        &self,
        name: &DefinitionName,
        version: Option<u32>,
    ) -> Result<Option<StoredDefinition>, LedgerError> {
        let mut values = vec![name.as_str().into()];
        let mut only = "";
        if let Some(version) = version {
            values.push(small(version).into());
            only = "AND version = $2";
        }
        let sql = format!(
            "SELECT name, version, created_at, created_by, definition FROM workflow_definitions \
             WHERE name = $1 {only} ORDER BY version DESC LIMIT 1"
        );
        let rows = self.within(|db| db.query(&sql, values)).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(Some(StoredDefinition {
            summary: summary(row)?,
            body: parsed("definition", &row.try_get_by_index::<String>(4)?)?,
        }))
    }

    /// The newest version of each definition whose name comes after `after`, by name.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn definition_page(
        &self,
        after: Option<&DefinitionName>,
        limit: u32,
    ) -> Result<DefinitionPage, LedgerError> {
        // The order of bytes, which both databases then share.
        let collation = match self.backend() {
            DatabaseBackend::Postgres => "COLLATE \"C\"",
            _ => "",
        };
        let sql = format!(
            "SELECT name, version, created_at, created_by FROM workflow_definitions d \
             WHERE name {collation} > $1 AND version = (SELECT MAX(version) FROM workflow_definitions n WHERE n.name = d.name) \
             ORDER BY name {collation} LIMIT $2"
        );
        let after = after.map_or("", DefinitionName::as_str);
        let values = [after.into(), i64::from(limit.saturating_add(1)).into()];
        let rows = self.within(|db| db.query(&sql, values)).await?;
        let mut definitions: Vec<DefinitionSummary> =
            rows.iter().map(summary).collect::<Result<_, _>>()?;
        let shown = usize::try_from(limit).unwrap_or(usize::MAX);
        let next = if definitions.len() > shown {
            definitions.truncate(shown);
            definitions.last().map(|last| last.name.clone())
        } else {
            None
        };
        Ok(DefinitionPage { definitions, next })
    }
}

fn summary(row: &sea_orm::QueryResult) -> Result<DefinitionSummary, LedgerError> {
    Ok(DefinitionSummary {
        name: definition_name(&row.try_get_by_index::<String>(0)?)?,
        version: count("version", row.try_get_by_index::<i32>(1)?.into())?,
        created_at: Timestamp::from_micros(row.try_get_by_index(2)?),
        created_by: row.try_get_by_index(3)?,
    })
}
