//! Summing up what has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseTransaction, QueryResult, Statement, Value,
};

use super::{HOUR, MINUTE, floor, sums};
use crate::domain::{Performance, Timestamp};
use crate::ledger::rows::Rows;
use crate::ledger::{Connections, Ledger, LedgerError};

/// A session is in the ledger so long after its end at most: a dispatch is given up before, and clocks differ by less.
const LAG: Duration = Duration::from_secs(30);
/// The most that one step sums up.
const STEP: i64 = 10 * MINUTE;
/// How long minutes are kept once their hour is summed up.
const MINUTES_KEPT: i64 = 3 * HOUR;
/// Where it stands how far sessions are summed up.
pub(super) const TALLY: &str = "performance";

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolledUp {
    /// Everything is summed up that can be, or somebody else is at it.
    All,
    /// There is more to do now.
    Some,
}

impl Ledger {
    /// Sums up the next minutes in which nothing more can end, ten at most.
    ///
    /// A crash before the commit leaves them to be summed up; after it, they are.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn roll_up(&self, now: Timestamp) -> Result<RolledUp, LedgerError> {
        self.within(|db| roll_up(db, now)).await
    }
}

async fn roll_up(db: &Connections, now: Timestamp) -> Result<RolledUp, LedgerError> {
    let target = floor(now.minus(LAG).as_micros(), MINUTE);
    // Most looks find nothing to do, and take no lock for it.
    let row = "SELECT counted_until FROM tallies WHERE name = $1";
    if let Some(row) = db.query(row, [TALLY.into()]).await?.first()
        && row.try_get_by_index::<i64>(0)? >= target
    {
        return Ok(RolledUp::All);
    }
    let tx = db.begin().await?;
    let Some(from) = lock(&tx, target).await? else {
        return Ok(RolledUp::All);
    };
    // Never beyond an hour, so that one ends with a step.
    let until = target.min(from + STEP).min(floor(from, HOUR) + HOUR);
    if until <= from {
        return Ok(RolledUp::All);
    }
    sum_minutes(&tx, from, until).await?;
    learn(&tx, from, until).await?;
    if until % HOUR == 0 {
        sum_hour(&tx, until - HOUR).await?;
        let old = [(until - MINUTES_KEPT).into()];
        run(&tx, "DELETE FROM performance_minutes WHERE at < $1", old).await?;
    }
    let values = [until.into(), TALLY.into()];
    run(
        &tx,
        "UPDATE tallies SET counted_until = $1 WHERE name = $2",
        values,
    )
    .await?;
    tx.commit().await?;
    Ok(if until < target {
        RolledUp::Some
    } else {
        RolledUp::All
    })
}

/// How far sessions are summed up, with the right to go on; `None` when somebody else has it. At first it is since the
/// oldest agent was registered.
async fn lock(tx: &DatabaseTransaction, target: i64) -> Result<Option<i64>, LedgerError> {
    let oldest = "SELECT MIN(registered_at) FROM agents";
    let stands = "SELECT counted_until FROM tallies WHERE name = $1";
    if run(tx, stands, [TALLY.into()]).await?.is_empty() {
        let first = match run(tx, oldest, []).await?.first() {
            Some(row) => row.try_get_by_index::<Option<i64>>(0)?,
            None => None,
        };
        let first = floor(first.unwrap_or(target).min(target), MINUTE);
        let begin = "INSERT INTO tallies (name, counted_until) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        run(tx, begin, [TALLY.into(), first.into()]).await?;
    }
    let lock = match tx.get_database_backend() {
        DatabaseBackend::Postgres => " FOR UPDATE SKIP LOCKED",
        _ => "",
    };
    let rows = run(tx, &format!("{stands}{lock}"), [TALLY.into()]).await?;
    Ok(rows
        .first()
        .map(|row| row.try_get_by_index(0))
        .transpose()?)
}

async fn sum_minutes(tx: &DatabaseTransaction, from: i64, until: i64) -> Result<(), LedgerError> {
    let columns = &*sums::COLUMNS;
    let sql = format!(
        "SELECT agent_id, ended_at / {MINUTE} AS minute, {columns} FROM sessions \
         WHERE ended_at >= $1 AND ended_at < $2 GROUP BY 1, 2, 3, 4, 5, 6"
    );
    let mut minutes: BTreeMap<(String, i64), Performance> = BTreeMap::new();
    for row in run(tx, &sql, [from.into(), until.into()]).await? {
        let minute: i64 = row.try_get_by_index(1)?;
        let sum = minutes
            .entry((row.try_get_by_index(0)?, minute * MINUTE))
            .or_default();
        sums::add(sum, &row, 2)?;
    }
    write(tx, "performance_minutes", minutes).await
}

/// Sums up the hour that begins at `hour` from its minutes.
async fn sum_hour(tx: &DatabaseTransaction, hour: i64) -> Result<(), LedgerError> {
    let sql = "SELECT agent_id, figures FROM performance_minutes WHERE at >= $1 AND at < $2";
    let mut hours: BTreeMap<(String, i64), Performance> = BTreeMap::new();
    for row in run(tx, sql, [hour.into(), (hour + HOUR).into()]).await? {
        let sum = hours.entry((row.try_get_by_index(0)?, hour)).or_default();
        sum.merge(&figures(&row.try_get_by_index::<String>(1)?)?);
    }
    write(tx, "performance_hours", hours).await
}

async fn write(
    tx: &DatabaseTransaction,
    table: &str,
    sums: BTreeMap<(String, i64), Performance>,
) -> Result<(), LedgerError> {
    let mut rows: Rows<3> = Rows::new();
    for ((agent_id, at), sum) in sums {
        let figures =
            serde_json::to_string(&sum).map_err(|error| LedgerError::Corrupt(error.to_string()))?;
        rows.push([agent_id.into(), at.into(), figures.into()]);
    }
    let body = format!(
        "INSERT INTO {table} (agent_id, at, figures) SELECT agent, begins, sums FROM v WHERE v.agent IS NOT NULL \
         ON CONFLICT (agent_id, at) DO NOTHING"
    );
    let names = ["agent", "begins", "sums"];
    for statement in rows.into_statements(tx.get_database_backend(), names, &body) {
        tx.execute_raw(statement).await?;
    }
    Ok(())
}

/// Adds to what agents have done with tasks of each type.
async fn learn(tx: &DatabaseTransaction, from: i64, until: i64) -> Result<(), LedgerError> {
    let sql = "INSERT INTO agent_experience (task_type, agent_id, completed, failed, busy_micros) \
        SELECT task_type, agent_id, SUM(CASE WHEN status = 'completed' THEN 1 ELSE 0 END), \
        SUM(CASE WHEN status = 'completed' THEN 0 ELSE 1 END), \
        CAST(SUM(completed_at - COALESCE(started_at, completed_at)) AS BIGINT) FROM tasks \
        WHERE completed_at >= $1 AND completed_at < $2 AND status IN ('completed', 'failed', 'timed_out') \
        GROUP BY task_type, agent_id ON CONFLICT (task_type, agent_id) DO UPDATE SET \
        completed = agent_experience.completed + excluded.completed, \
        failed = agent_experience.failed + excluded.failed, \
        busy_micros = agent_experience.busy_micros + excluded.busy_micros";
    run(tx, sql, [from.into(), until.into()]).await?;
    Ok(())
}

pub(super) fn figures(text: &str) -> Result<Performance, LedgerError> {
    serde_json::from_str(text)
        .map_err(|error| LedgerError::Corrupt(format!("figures are {text:?}: {error}")))
}

async fn run<const N: usize>(
    tx: &DatabaseTransaction,
    sql: &str,
    values: [Value; N],
) -> Result<Vec<QueryResult>, LedgerError> {
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    Ok(tx.query_all_raw(statement).await?)
}
