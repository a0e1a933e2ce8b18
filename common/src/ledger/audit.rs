//! The audit log: who changed what, written in the transaction of the change, and never changed again.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement, Value};

use super::rows::Rows;
use super::{Ledger, LedgerError};
use crate::domain::{AuditEntry, AuditOutcome, Origin, Timestamp};

/// The action of an accepted task.
pub(super) const ACCEPT: &str = "task.accept";

pub(super) const COLUMNS: [&str; 7] = [
    "at",
    "actor",
    "request_id",
    "action",
    "resource",
    "outcome",
    "detail",
];

impl Ledger {
    /// The same ledger for what `origin` asks for: changes are written down with it.
    #[must_use]
    pub fn by(&self, origin: impl Into<Arc<Origin>>) -> Self {
        Self {
            origin: Some(origin.into()),
            ..self.clone()
        }
    }

    /// Writes a change down in its own transaction, when it is known who asked for it.
    pub(super) async fn note(
        &self,
        tx: &DatabaseTransaction,
        action: &str,
        resource: &str,
        detail: Option<String>,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let Some(origin) = &self.origin else {
            return Ok(());
        };
        let entry = AuditEntry {
            at: now,
            origin: Origin::clone(origin),
            action: action.to_owned(),
            resource: resource.to_owned(),
            outcome: AuditOutcome::Done,
            detail,
        };
        self.write_entries(tx, std::slice::from_ref(&entry)).await
    }

    /// Writes the same down of many resources, each with what else there is to say, as [`Self::note`] does of one.
    pub(super) async fn note_each(
        &self,
        tx: &DatabaseTransaction,
        action: &str,
        resources: impl IntoIterator<Item = (String, Option<String>)>,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let Some(origin) = &self.origin else {
            return Ok(());
        };
        let entry = |(resource, detail)| AuditEntry {
            at: now,
            origin: Origin::clone(origin),
            action: action.to_owned(),
            resource,
            outcome: AuditOutcome::Done,
            detail,
        };
        let entries: Vec<AuditEntry> = resources.into_iter().map(entry).collect();
        self.write_entries(tx, &entries).await
    }

    /// Writes entries in a transaction of others.
    pub(super) async fn write_entries(
        &self,
        tx: &DatabaseTransaction,
        entries: &[AuditEntry],
    ) -> Result<(), LedgerError> {
        for statement in self.insertions(entries) {
            tx.execute_raw(statement).await?;
        }
        Ok(())
    }

    /// Runs one statement and writes it down in the same transaction, unless it changes nothing; returns whether it did.
    pub(super) async fn execute_noted(
        &self,
        action: &str,
        resource: &str,
        now: Timestamp,
        sql: &str,
        values: &[Value],
    ) -> Result<bool, LedgerError> {
        let statement = Statement::from_sql_and_values(self.backend(), sql, values.to_vec());
        self.within(|db| async move {
            let tx = db.begin().await?;
            if tx.execute_raw(statement).await?.rows_affected() == 0 {
                return Ok(false);
            }
            self.note(&tx, action, resource, None, now).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Writes down what changed nothing.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn note_refusals(&self, entries: &[AuditEntry]) -> Result<(), LedgerError> {
        let statements = self.insertions(entries);
        self.within(|db| async move {
            for statement in statements {
                db.write.execute_raw(statement).await?;
            }
            Ok(())
        })
        .await
    }

    fn insertions(&self, entries: &[AuditEntry]) -> Vec<Statement> {
        let rows: Rows<7> = entries.iter().map(values_of).collect();
        let columns = COLUMNS.join(", ");
        let body =
            format!("INSERT INTO audit ({columns}) SELECT {columns} FROM v WHERE v.at IS NOT NULL");
        rows.into_statements(self.backend(), COLUMNS, &body)
    }
}

fn values_of(entry: &AuditEntry) -> [Value; 7] {
    [
        entry.at.as_micros().into(),
        entry.origin.actor.as_str().into(),
        entry.origin.request_id.clone().into(),
        entry.action.as_str().into(),
        entry.resource.as_str().into(),
        entry.outcome.as_str().into(),
        entry.detail.clone().into(),
    ]
}
