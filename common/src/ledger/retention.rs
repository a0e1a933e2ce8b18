//! Deleting what has ended long ago, a small batch at a time.
//!
//! A batch is found by walking an index from where the one before ended, so that what was deleted a moment ago is not
//! walked over again, and what cannot be deleted yet is passed by once. A crash before the commit of a batch leaves it
//! to the next round; nothing is half deleted, and nothing that waits, runs or is owed is ever meant.

use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};
use uuid::Uuid;

use super::audit_forwarding::forwarded;
use super::rows::in_list;
use super::{Connections, Ledger, LedgerError};
use crate::domain::{Expiring, Timestamp};

/// Where a walk has come to: a time and an identifier, or the number of an entry of the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    at: i64,
    id: Uuid,
}

impl Walked {
    const NOWHERE: Self = Self {
        at: i64::MIN,
        id: Uuid::nil(),
    };
}

/// What is to be deleted.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Which of all.
    pub what: Expiring,
    /// What ended before this time.
    pub before: Timestamp,
    /// Whether entries of the audit log stay until they are forwarded.
    pub keep_unforwarded: bool,
}

/// What a batch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// How many are gone.
    pub number: u64,
    /// Where to go on; `None` when the walk is over.
    pub next: Option<Walked>,
}

/// How rows with a time and an identifier are walked and deleted.
struct Walk {
    table: &'static str,
    /// The column of the index by which they are walked: when they ended, or a time before that.
    time: &'static str,
    id: &'static str,
    /// What must hold of a row for it to be deleted, beside that it was walked over; `$1` is the time before which it must
    /// have ended.
    ended: &'static str,
}

const TASKS: Walk = Walk {
    table: "tasks",
    time: "submitted_at",
    id: "task_id",
    ended: "completed_at < $1 AND status IN ('completed', 'failed', 'timed_out', 'cancelled') \
            AND NOT EXISTS (SELECT 1 FROM callbacks c WHERE c.task_id = tasks.task_id AND c.due_at IS NOT NULL) \
            AND NOT EXISTS (SELECT 1 FROM workflow_runs r WHERE r.run_id = tasks.workflow_run_id AND r.ended_at IS NULL)",
};
const SESSIONS: Walk = Walk {
    table: "sessions",
    time: "ended_at",
    id: "task_id",
    ended: "ended_at < $1",
};
const CALLBACKS: Walk = Walk {
    table: "callbacks",
    time: "ended_at",
    id: "task_id",
    ended: "ended_at < $1 AND due_at IS NULL",
};
const DEAD_LETTERS: Walk = Walk {
    table: "dead_letters",
    time: "received_at",
    id: "letter_id",
    ended: "received_at < $1",
};

impl Ledger {
    /// Deletes at most `limit` of what is meant, beginning where `walked` says.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn delete_ended(
        &self,
        ended: Ended,
        walked: Option<Walked>,
        limit: u32,
    ) -> Result<Deleted, LedgerError> {
        let walked = walked.unwrap_or(Walked::NOWHERE);
        let before = ended.before;
        let walk = match ended.what {
            Expiring::Tasks => TASKS,
            Expiring::Sessions => SESSIONS,
            Expiring::Callbacks => CALLBACKS,
            Expiring::DeadLetters => DEAD_LETTERS,
            Expiring::Audit => {
                return self
                    .within(|db| self.delete_entries(db, ended, walked, limit))
                    .await;
            }
        };
        self.within(|db| self.delete_walked(db, &walk, before, walked, limit))
            .await
    }

    async fn delete_walked(
        &self,
        db: &Connections,
        walk: &Walk,
        before: Timestamp,
        walked: Walked,
        limit: u32,
    ) -> Result<Deleted, LedgerError> {
        let Walk {
            table,
            time,
            id,
            ended,
        } = walk;
        let sql = format!(
            "SELECT {time}, {id} FROM {table} WHERE ({time}, {id}) > ($1, $2) AND {time} < $3 \
             ORDER BY {time}, {id} LIMIT $4"
        );
        let values = [
            walked.at.into(),
            walked.id.into(),
            before.as_micros().into(),
            i64::from(limit).into(),
        ];
        let found = db.query(&sql, values).await?;
        let ids = found
            .iter()
            .map(|row| Ok(row.try_get_by_index::<Uuid>(1)?.into()))
            .collect::<Result<Vec<Value>, LedgerError>>()?;
        let Some(last) = found.last() else {
            return Ok(Deleted {
                number: 0,
                next: None,
            });
        };
        let (list, values) = list_after_first(ids, before.as_micros().into());
        let sql = format!("DELETE FROM {table} WHERE {id} IN {list} AND {ended}");
        let number = db.execute(&sql, values).await?;
        let place = Walked {
            at: last.try_get_by_index(0)?,
            id: last.try_get_by_index(1)?,
        };
        Ok(Deleted {
            number,
            next: (found.len() >= limit as usize).then_some(place),
        })
    }

    /// The audit log is walked by its own numbers, up to the first entries that stay and to what is still to be forwarded.
    async fn delete_entries(
        &self,
        db: &Connections,
        ended: Ended,
        walked: Walked,
        limit: u32,
    ) -> Result<Deleted, LedgerError> {
        let last = if ended.keep_unforwarded {
            forwarded(db).await?
        } else {
            i64::MAX
        };
        let sql = "SELECT MIN(seq), MAX(seq), COUNT(*), MIN(at) FROM (SELECT seq, at FROM audit WHERE seq > $1 \
                   AND seq <= $2 ORDER BY seq LIMIT $3) walked";
        let values = [walked.at.into(), last.into(), i64::from(limit).into()];
        let rows = db.query(sql, values).await?;
        let Some(range) = rows.first().map(range_of).transpose()?.flatten() else {
            return Ok(Deleted {
                number: 0,
                next: None,
            });
        };
        let sql = "DELETE FROM audit WHERE seq >= $1 AND seq <= $2 AND at < $3";
        let values = [
            range.first.into(),
            range.last.into(),
            ended.before.as_micros().into(),
        ];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        let number = db.write.execute_raw(statement).await?.rows_affected();
        // All of them stay: what comes after them is younger still, but for what clocks differ.
        let is_over = range.number < i64::from(limit) || range.oldest >= ended.before.as_micros();
        Ok(Deleted {
            number,
            next: (!is_over).then_some(Walked {
                at: range.last,
                id: Uuid::nil(),
            }),
        })
    }
}

struct Range {
    first: i64,
    last: i64,
    number: i64,
    oldest: i64,
}

fn range_of(row: &QueryResult) -> Result<Option<Range>, LedgerError> {
    let Some(first) = row.try_get_by_index::<Option<i64>>(0)? else {
        return Ok(None);
    };
    Ok(Some(Range {
        first,
        last: row.try_get_by_index(1)?,
        number: row.try_get_by_index(2)?,
        oldest: row.try_get_by_index(3)?,
    }))
}

/// A list for `IN` whose values come after `first`, which is `$1`.
fn list_after_first(ids: Vec<Value>, first: Value) -> (String, Vec<Value>) {
    let (_, ids) = in_list(ids);
    let list: Vec<String> = (2..=ids.len() + 1).map(|n| format!("${n}")).collect();
    let values = std::iter::once(first).chain(ids).collect();
    (format!("({})", list.join(", ")), values)
}
