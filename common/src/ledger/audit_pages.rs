//! Reading the audit log, page by page.

use std::time::Duration;

use sea_orm::{QueryResult, Value};

use super::audit::{ACCEPT, COLUMNS};
use super::convert::name;
use super::{Ledger, LedgerError};
use crate::domain::{AuditEntry, AuditOutcome, Origin, Timestamp};

/// How many entries one page looks at: with a filter that few pass, a page would else read them all.
const MAX_LOOKED_AT: u32 = 10_000;
/// How far the times of entries may be out of their order: by what the clocks of processes differ and transactions take.
const MAX_DISORDER: Duration = Duration::from_secs(3_600);

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
    /// The entries that `query` asks for.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn audit_page(&self, query: &AuditQuery) -> Result<AuditPage, LedgerError> {
        let mut looking = Looking::of(query);
        let columns = COLUMNS.join(", ");
        let looked_at = format!(
            "SELECT seq, {columns} FROM audit {} ORDER BY seq DESC LIMIT {MAX_LOOKED_AT}",
            looking.first
        );
        // One more than is shown tells whether there is a next page.
        let limit = query.limit.saturating_add(1);
        let sql = format!(
            "SELECT seq, {columns} FROM ({looked_at}) looked_at {} ORDER BY seq DESC LIMIT {limit}",
            looking.then
        );
        let rows = self
            .within(|db| db.query(&sql, looking.values.clone()))
            .await?;
        let mut entries: Vec<_> = rows.iter().map(entry).collect::<Result<_, _>>()?;
        let shown = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let next = if entries.len() > shown {
            entries.truncate(shown);
            entries.last().map(|(seq, _)| *seq)
        } else {
            looking.values.truncate(looking.first_values);
            self.last_entry_looked_at(looking, query.since).await?
        };
        Ok(AuditPage { entries, next })
    }

    /// The last entry that a page looked at, when there are more behind it that could be meant.
    async fn last_entry_looked_at(
        &self,
        looking: Looking,
        since: Option<Timestamp>,
    ) -> Result<Option<i64>, LedgerError> {
        let offset = MAX_LOOKED_AT - 1;
        let sql = format!(
            "SELECT seq, at FROM audit {} ORDER BY seq DESC LIMIT 1 OFFSET {offset}",
            looking.first
        );
        let rows = self.within(|db| db.query(&sql, looking.values)).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let at = Timestamp::from_micros(row.try_get_by_index(1)?);
        let is_later = since.is_none_or(|since| at.plus(MAX_DISORDER) >= since);
        Ok(if is_later {
            Some(row.try_get_by_index(0)?)
        } else {
            None
        })
    }
}

/// How a page is looked for: with the one condition that leaves the fewest entries in an index, and then with the others.
struct Looking {
    first: String,
    /// How many of the values belong to the first condition.
    first_values: usize,
    then: String,
    values: Vec<Value>,
}

impl Looking {
    fn of(query: &AuditQuery) -> Self {
        let mut values: Vec<Value> = Vec::new();
        let mut condition = |sql: &str, value: Value| {
            values.push(value);
            format!("{sql} ${}", values.len())
        };
        let mut first: Vec<String> = Vec::new();
        first.extend(query.before.map(|seq| condition("seq <", seq.into())));
        let named = [
            ("resource", &query.resource),
            ("actor", &query.actor),
            ("action", &query.action),
        ];
        let mut named = named
            .into_iter()
            .filter_map(|(column, value)| value.as_deref().map(|value| (column, value)));
        let mut indexed = named.next();
        // Of accepted tasks there is no index by action: they are nearly everything.
        let is_partial = indexed.is_some_and(|(column, _)| column == "action");
        if let Some((column, value)) = indexed.take_if(|(_, value)| !is_partial || *value != ACCEPT)
        {
            first.push(condition(&format!("{column} ="), value.into()));
            if is_partial {
                first.push(format!("action <> '{ACCEPT}'"));
            }
        } else if query.outcome == Some(AuditOutcome::Refused) {
            first.push(format!("outcome = '{}'", AuditOutcome::Refused));
        }
        let first_values = values_len(&first);
        let mut then: Vec<String> = Vec::new();
        let rest = indexed.into_iter().chain(named);
        then.extend(rest.map(|(column, value)| condition(&format!("{column} ="), value.into())));
        let outcome = query.outcome.map(AuditOutcome::as_str);
        then.extend(outcome.map(|outcome| condition("outcome =", outcome.into())));
        let since = query.since.map(Timestamp::as_micros);
        then.extend(since.map(|since| condition("at >=", since.into())));
        Self {
            first: filter(&first),
            first_values,
            then: filter(&then),
            values,
        }
    }
}

/// How many of the conditions have a value of their own.
fn values_len(conditions: &[String]) -> usize {
    conditions.iter().filter(|sql| sql.contains('$')).count()
}

fn filter(conditions: &[String]) -> String {
    if conditions.is_empty() {
        String::new()
    } else {
        format!("WHERE {}", conditions.join(" AND "))
    }
}

pub(super) fn entry(row: &QueryResult) -> Result<(i64, AuditEntry), LedgerError> {
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
