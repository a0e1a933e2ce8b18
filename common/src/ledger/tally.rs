//! What was counted since it was last asked for, by whoever asked: for pollers that add up.

use std::collections::BTreeMap;
use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseTransaction, QueryResult, Statement, Value,
};

use super::convert::{count, name};
use super::{Connections, Ledger, LedgerError};
use crate::domain::{TaskStatus, Timestamp};

/// What happened so recently is left for the next time: its transaction may still be under way, or its clock be ahead.
const LAG: Duration = Duration::from_secs(5);
/// How far back the first time looks.
const FIRST: Duration = Duration::from_secs(24 * 3_600);

/// Tasks that ended since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskTally {
    /// How many completed, by type of task.
    pub completions: BTreeMap<String, u64>,
    /// How many failed or timed out, by code of the error.
    pub errors: BTreeMap<String, u64>,
}

impl Ledger {
    /// Counts the tasks that ended since this was last called, by anybody, up to five seconds ago; the first time, within
    /// the last day.
    ///
    /// A crash after the commit loses one answer.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn tally_tasks(&self, now: Timestamp) -> Result<TaskTally, LedgerError> {
        let sql = "SELECT status, CASE WHEN status = 'completed' THEN task_type ELSE COALESCE(error_code, status) END AS kind, \
                   COUNT(*) FROM tasks WHERE completed_at > $1 AND completed_at <= $2 \
                   AND status IN ('completed', 'failed', 'timed_out') GROUP BY 1, 2";
        let mut tally = TaskTally::default();
        for row in self.within(|db| since_last(db, "tasks", sql, now)).await? {
            let status: TaskStatus = name("status", &row.try_get_by_index::<String>(0)?)?;
            let counts = if status == TaskStatus::Completed {
                &mut tally.completions
            } else {
                &mut tally.errors
            };
            let (kind, number) = kind_and_number(&row, 1)?;
            *counts.entry(kind).or_default() += number;
        }
        Ok(tally)
    }

    /// Counts the agents that were registered since this was last called, by the template that they name
    /// (`template_type`), else by their domain; see [`Self::tally_tasks`].
    ///
    /// # Errors
    /// As [`Self::tally_tasks`].
    pub async fn tally_creations(
        &self,
        now: Timestamp,
    ) -> Result<BTreeMap<String, u64>, LedgerError> {
        let template = match self.backend() {
            DatabaseBackend::Postgres => "p.extra::json ->> 'template_type'",
            _ => "p.extra ->> '$.template_type'",
        };
        let sql = format!(
            "SELECT COALESCE({template}, p.domain, 'unknown'), COUNT(*) FROM agents a \
             JOIN agent_profiles p ON p.agent_id = a.agent_id \
             WHERE a.registered_at > $1 AND a.registered_at <= $2 GROUP BY 1"
        );
        let rows = self
            .within(|db| since_last(db, "creations", &sql, now))
            .await?;
        rows.iter().map(|row| kind_and_number(row, 0)).collect()
    }
}

fn kind_and_number(row: &QueryResult, from: usize) -> Result<(String, u64), LedgerError> {
    let number = count("count", row.try_get_by_index::<i64>(from + 1)?)?;
    Ok((row.try_get_by_index(from)?, number))
}

/// The rows of `sql` between where the tally `name` stood and where it stands now. Who asks at the same time waits.
async fn since_last(
    db: &Connections,
    name: &str,
    sql: &str,
    now: Timestamp,
) -> Result<Vec<QueryResult>, LedgerError> {
    let until = now.minus(LAG).as_micros();
    let tx = db.begin().await?;
    let first = [name.into(), now.minus(FIRST).as_micros().into()];
    run(
        &tx,
        "INSERT INTO tallies (name, counted_until) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        first,
    )
    .await?;
    // Both in one statement, under the lock of the row: what it held and what it holds now.
    let stood = "SELECT counted_until FROM tallies WHERE name = $1";
    let lock = match tx.get_database_backend() {
        DatabaseBackend::Postgres => " FOR UPDATE",
        _ => "",
    };
    let stood = run(&tx, &format!("{stood}{lock}"), [name.into()]).await?;
    let from = match stood.first() {
        Some(row) => row.try_get_by_index::<i64>(0)?,
        None => until,
    };
    if until <= from {
        return Ok(Vec::new());
    }
    let rows = run(&tx, sql, [from.into(), until.into()]).await?;
    let move_on = "UPDATE tallies SET counted_until = $1 WHERE name = $2";
    run(&tx, move_on, [until.into(), name.into()]).await?;
    tx.commit().await?;
    Ok(rows)
}

async fn run<const N: usize>(
    tx: &DatabaseTransaction,
    sql: &str,
    values: [Value; N],
) -> Result<Vec<QueryResult>, LedgerError> {
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    Ok(tx.query_all_raw(statement).await?)
}
