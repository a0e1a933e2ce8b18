//! Callbacks that are owed: written with the outcome that they tell, claimed by workers under a lease, kept when done.
//!
//! Nobody holds an agent's row here. A row is claimed by moving its `due_at` to the end of the lease, so that a worker
//! that crashes delays its attempts and loses none, until the lease ends or the worker is recovered; the number of the
//! attempt is the fence.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, QueryResult, Statement};
use url::Url;
use uuid::Uuid;

use super::convert::{at, count, name, small};
use super::rows::Rows;
use super::{Connections, Ledger, LedgerError};
use crate::domain::{
    CallbackClaim, CallbackOutcome, CallbackRecord, CallbackStatus, TaskId, Timestamp, WorkerId,
    callback_target,
};

/// Goes from target to target in the index, without looking at the callbacks between: a receiver with very many of them
/// costs no more than one with a single one.
const WAITING: &str = "WITH RECURSIVE found (target) AS (\
     SELECT MIN(target) FROM callbacks WHERE due_at IS NOT NULL AND target > $1 \
     UNION ALL SELECT (SELECT MIN(c.target) FROM callbacks c WHERE c.due_at IS NOT NULL AND c.target > found.target) \
     FROM found WHERE found.target IS NOT NULL) \
     SELECT target, (SELECT MIN(c.due_at) FROM callbacks c WHERE c.due_at IS NOT NULL AND c.target = found.target) \
     FROM found WHERE target IS NOT NULL LIMIT $2";

/// Callbacks of outcomes that a transaction has just written.
#[derive(Debug, Default)]
pub(super) struct Owed(Vec<(Uuid, String)>);

impl Owed {
    /// Notes a row of a task and its callback address, if it has one.
    pub(super) fn note(&mut self, row: &QueryResult) -> Result<(), LedgerError> {
        if let Some(url) = row.try_get_by_index::<Option<String>>(1)? {
            self.0.push((row.try_get_by_index(0)?, url));
        }
        Ok(())
    }
}

/// Writes down what is owed since `now`, which is when the outcomes were recorded. Asks nothing of the database when
/// that is nothing.
pub(super) async fn owe(
    tx: &DatabaseTransaction,
    owed: Owed,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let rows: Rows<4> = owed
        .0
        .into_iter()
        .filter_map(|(task_id, url)| {
            let Ok(url) = Url::parse(&url) else {
                tracing::error!(%task_id, "a callback address in the ledger is none");
                return None;
            };
            Some([
                task_id.into(),
                now.as_micros().into(),
                callback_target(&url).into(),
                CallbackStatus::Pending.as_str().into(),
            ])
        })
        .collect();
    let columns = ["id", "now_at", "host", "new_status"];
    let body = "INSERT INTO callbacks (task_id, outcome_at, target, status, attempts, due_at) \
         SELECT id, now_at, host, new_status, 0, now_at FROM v WHERE v.id IS NOT NULL \
         ON CONFLICT (task_id) DO UPDATE SET outcome_at = excluded.outcome_at, target = excluded.target, \
         status = excluded.status, attempts = 0, due_at = excluded.due_at, last_error = NULL, ended_at = NULL, \
         lease_worker = NULL";
    for statement in rows.into_statements(tx.get_database_backend(), columns, body) {
        tx.execute_raw(statement).await?;
    }
    Ok(())
}

/// A receiver for which callbacks wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingTarget {
    /// Its host and port.
    pub target: String,
    /// When the first of its callbacks is due.
    pub due_at: Timestamp,
}

impl Ledger {
    /// The next `limit` receivers after `after` for which callbacks wait, by name.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn waiting_targets(
        &self,
        after: &str,
        limit: u32,
    ) -> Result<Vec<WaitingTarget>, LedgerError> {
        let values = [after.into(), i64::from(limit).into()];
        let rows = self.within(|db| db.query(WAITING, values)).await?;
        let mut waiting = Vec::with_capacity(rows.len());
        for row in rows {
            // Gone between the two looks of the statement, otherwise.
            if let Some(due_at) = at(row.try_get_by_index(1)?) {
                let target = row.try_get_by_index(0)?;
                waiting.push(WaitingTarget { target, due_at });
            }
        }
        Ok(waiting)
    }

    /// Claims up to `limit` callbacks of a receiver that are due, the longest due first, for `holder`; nobody else gets
    /// them for `lease`.
    ///
    /// A crash after the commit leaves them due again when the lease ends.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn claim_callbacks(
        &self,
        holder: WorkerId,
        target: &str,
        limit: u32,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<CallbackClaim>, LedgerError> {
        let skip = match self.backend() {
            DatabaseBackend::Postgres => "FOR UPDATE SKIP LOCKED",
            _ => "",
        };
        let sql = format!(
            "WITH due AS MATERIALIZED (SELECT task_id AS id FROM callbacks WHERE target = $1 AND due_at <= $2 \
             ORDER BY due_at LIMIT $3 {skip}) \
             UPDATE callbacks SET due_at = $4, lease_worker = $5, attempts = attempts + 1 FROM due WHERE task_id = due.id \
             RETURNING task_id, outcome_at, attempts"
        );
        let values = [
            target.into(),
            now.as_micros().into(),
            i64::from(limit).into(),
            now.plus(lease).as_micros().into(),
            holder.uuid().into(),
        ];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        let rows = self
            .within(|db| async { Ok(db.write.query_all_raw(statement).await?) })
            .await?;
        rows.iter()
            .map(|row| {
                Ok(CallbackClaim {
                    task_id: row.try_get_by_index::<Uuid>(0)?.into(),
                    outcome_at: Timestamp::from_micros(row.try_get_by_index(1)?),
                    attempt: count("attempts", row.try_get_by_index::<i32>(2)?.into())?,
                })
            })
            .collect()
    }

    /// Writes what attempts came to at `now`. One whose lease ran out, and that another has taken up since, is ignored.
    ///
    /// # Errors
    /// When the ledger does not take it; repeating it is harmless.
    pub async fn settle_callbacks(
        &self,
        settled: &[(CallbackClaim, CallbackOutcome)],
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let rows: Rows<7> = settled
            .iter()
            .map(|(claim, outcome)| {
                let (status, error, due_at) = written(outcome, now);
                [
                    claim.task_id.uuid().into(),
                    claim.outcome_at.as_micros().into(),
                    small(claim.attempt).into(),
                    status.as_str().into(),
                    error.into(),
                    due_at.map(Timestamp::as_micros).into(),
                    due_at.is_none().then(|| now.as_micros()).into(),
                ]
            })
            .collect();
        let columns = [
            "id",
            "outcome",
            "number",
            "new_status",
            "error",
            "due",
            "done_at",
        ];
        let body = "UPDATE callbacks SET status = v.new_status, last_error = COALESCE(v.error, callbacks.last_error), \
             due_at = v.due, ended_at = v.done_at, lease_worker = NULL FROM v WHERE callbacks.task_id = v.id \
             AND callbacks.outcome_at = v.outcome AND callbacks.attempts = v.number \
             AND callbacks.due_at IS NOT NULL";
        let statements = rows.into_statements(self.backend(), columns, body);
        self.within(|db| async {
            for statement in statements {
                db.write.execute_raw(statement).await?;
            }
            Ok(())
        })
        .await
    }

    /// The callback of a task; `None` before the task has an outcome, or when it named no address.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn callback(&self, task_id: TaskId) -> Result<Option<CallbackRecord>, LedgerError> {
        let sql = "SELECT status, attempts, due_at, last_error, ended_at FROM callbacks WHERE task_id = $1";
        let values = [task_id.uuid().into()];
        let rows = self.within(|db| db.query(sql, values)).await?;
        rows.first().map(record).transpose()
    }

    /// Lets others make the attempts that a worker was at when it went away.
    pub(super) async fn free_callbacks(
        &self,
        db: &Connections,
        holder: WorkerId,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let sql = "UPDATE callbacks SET due_at = $1, lease_worker = NULL WHERE lease_worker = $2";
        let values = [now.as_micros().into(), holder.uuid().into()];
        db.execute(sql, values).await?;
        Ok(())
    }

    /// Drops the callback of an outcome that stands no longer.
    pub(super) async fn forget_callback(
        &self,
        tx: &DatabaseTransaction,
        task_id: TaskId,
    ) -> Result<(), LedgerError> {
        let sql = "DELETE FROM callbacks WHERE task_id = $1";
        let values = [task_id.uuid().into()];
        tx.execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await?;
        Ok(())
    }
}

/// What is written of an outcome: the status, what went wrong, and when the next attempt is due.
fn written(
    outcome: &CallbackOutcome,
    now: Timestamp,
) -> (CallbackStatus, Option<String>, Option<Timestamp>) {
    match outcome {
        CallbackOutcome::Delivered => (CallbackStatus::Delivered, None, None),
        CallbackOutcome::Gone(error) => (CallbackStatus::Gone, Some(error.clone()), None),
        CallbackOutcome::Abandoned(error) => (CallbackStatus::Abandoned, Some(error.clone()), None),
        CallbackOutcome::Again(error, due_at) => {
            (CallbackStatus::Pending, Some(error.clone()), Some(*due_at))
        }
        CallbackOutcome::HandedBack => (CallbackStatus::Pending, None, Some(now)),
    }
}

fn record(row: &QueryResult) -> Result<CallbackRecord, LedgerError> {
    Ok(CallbackRecord {
        status: name("status", &row.try_get_by_index::<String>(0)?)?,
        attempts: count("attempts", row.try_get_by_index::<i32>(1)?.into())?,
        next_attempt_at: at(row.try_get_by_index(2)?),
        last_error: row.try_get_by_index(3)?,
        ended_at: at(row.try_get_by_index(4)?),
    })
}
