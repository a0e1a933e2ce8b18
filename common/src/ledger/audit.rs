//! The audit log: who changed what, written in the transaction of the change, and never changed again.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult, Statement, Value};

use super::convert::name;
use super::rows::Rows;
use super::{Ledger, LedgerError};
use crate::domain::{AuditEntry, AuditOutcome, Origin, Timestamp};

/// How many entries one page looks at: with a filter that few pass, a page would else read them all.
const MAX_LOOKED_AT: u32 = 10_000;

const COLUMNS: [&str; 7] = [
    "at",
    "actor",
    "request_id",
    "action",
    "resource",
    "outcome",
    "detail",
];

/// Which entries to list.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Only what this one did.
    pub actor: Option<String>,
    /// Only this action.
    pub action: Option<String>,
    /// Only what concerns this agent, task, dead letter or path.
    pub resource: Option<String>,
    /// Only what came to this.
    pub outcome: Option<AuditOutcome>,
    /// Only what happened then or later.
    pub since: Option<Timestamp>,
    /// Only entries that were written before the one with this number.
    pub before: Option<i64>,
    /// At most this many.
    pub limit: u32,
}

/// A page of entries.
#[derive(Clone, Debug)]
pub struct AuditPage {
    /// Newest first, each with its number.
    pub entries: Vec<(i64, AuditEntry)>,
    /// Where the next page begins; `None` on the last one. A page may hold fewer entries than its limit, or none, and not
    /// be the last: it looks at 10,000 entries at most.
    pub next: Option<i64>,
}

impl Ledger {
    /// The same ledger for what `origin` asks for: changes are written down with it.
    #[must_use]
    pub fn by(&self, origin: Origin) -> Self {
        Self {
            origin: Some(Arc::new(origin)),
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
        for statement in self.insertions(std::slice::from_ref(&entry)) {
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

    /// The entries that `query` asks for.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn audit_page(&self, query: &AuditQuery) -> Result<AuditPage, LedgerError> {
        let mut values: Vec<Value> = Vec::new();
        let mut condition = |sql: &str, value: Option<Value>| {
            let value = value?;
            values.push(value);
            Some(format!("{sql} ${}", values.len()))
        };
        let before = condition("WHERE seq <", query.before.map(Value::from));
        let conditions: Vec<String> = [
            condition("actor =", query.actor.clone().map(Value::from)),
            condition("action =", query.action.clone().map(Value::from)),
            condition("resource =", query.resource.clone().map(Value::from)),
            condition(
                "outcome =",
                query.outcome.map(|outcome| outcome.as_str().into()),
            ),
            condition("at >=", query.since.map(|at| at.as_micros().into())),
        ]
        .into_iter()
        .flatten()
        .collect();
        let before = before.unwrap_or_default();
        let columns = COLUMNS.join(", ");
        let filter = if conditions.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", conditions.join(" AND "))
        };
        // One more than is shown tells whether there is a next page.
        let limit = query.limit.saturating_add(1);
        let sql = format!(
            "SELECT seq, {columns} FROM (SELECT seq, {columns} FROM audit {before} ORDER BY seq DESC LIMIT {MAX_LOOKED_AT}) \
             looked_at {filter} ORDER BY seq DESC LIMIT {limit}"
        );
        let rows = self.within(|db| db.query(&sql, values)).await?;
        let mut entries: Vec<_> = rows.iter().map(entry).collect::<Result<_, _>>()?;
        let shown = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let next = if entries.len() > shown {
            entries.truncate(shown);
            entries.last().map(|(seq, _)| *seq)
        } else {
            self.last_entry_looked_at(&before, query.before).await?
        };
        Ok(AuditPage { entries, next })
    }

    /// The last entry that a page looked at, when there are more behind it.
    async fn last_entry_looked_at(
        &self,
        condition: &str,
        before: Option<i64>,
    ) -> Result<Option<i64>, LedgerError> {
        let offset = MAX_LOOKED_AT - 1;
        let sql =
            format!("SELECT seq FROM audit {condition} ORDER BY seq DESC LIMIT 1 OFFSET {offset}");
        let rows = self
            .within(|db| db.query(&sql, before.map(Value::from)))
            .await?;
        let row = rows.first();
        Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
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

fn entry(row: &QueryResult) -> Result<(i64, AuditEntry), LedgerError> {
    let entry = AuditEntry {
        at: Timestamp::from_micros(row.try_get_by_index(1)?),
        origin: Origin {
            actor: row.try_get_by_index(2)?,
            request_id: row.try_get_by_index(3)?,
        },
        action: row.try_get_by_index(4)?,
        resource: row.try_get_by_index(5)?,
        outcome: name("outcome", &row.try_get_by_index::<String>(6)?)?,
        detail: row.try_get_by_index(7)?,
    };
    Ok((row.try_get_by_index(0)?, entry))
}
