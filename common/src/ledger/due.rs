//! What time brings: delayed and retrying tasks become runnable, tasks that waited too long are given up.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult, Statement, Value};
use uuid::Uuid;

use super::cancel::end_waiting;
use super::convert::{agent_id, name};
use super::rows::in_list;
use super::slots::Slots;
use super::{Connections, Ledger, LedgerError};
use crate::domain::{AgentId, ErrorCode, TaskError, TaskId, TaskStatus, Timestamp};

/// The most tasks of one transaction.
const BATCH: u32 = 500;

/// What became runnable.
#[derive(Debug, Default)]
pub struct Promoted {
    /// Agents with more runnable tasks than before.
    pub agents: Vec<AgentId>,
    /// When the next task falls due, if one waits.
    pub next_due: Option<Timestamp>,
    /// Whether there is more to promote already.
    pub more: bool,
}

impl Ledger {
    /// Queues tasks whose `run_at` has come, at most a batch of them.
    ///
    /// A crash before the commit leaves them to the next call; after it, to the next sweep for runnable tasks.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn promote_due(&self, now: Timestamp) -> Result<Promoted, LedgerError> {
        self.within(|db| self.promote(db, now)).await
    }

    async fn promote(&self, db: &Connections, now: Timestamp) -> Result<Promoted, LedgerError> {
        let due = "run_at <= $1 AND status IN ('scheduled', 'retrying')";
        let found = find(db, &format!("{due} ORDER BY run_at"), now).await?;
        let more = found.len() >= BATCH as usize;
        let mut agents = Vec::new();
        if !found.is_empty() {
            let tx = db.begin().await?;
            let mut slots = self.lock_agents_of(&tx, &found).await?;
            for (agent_id, tasks) in self.find_again(&tx, &found, due, now).await? {
                let ids: Vec<TaskId> = tasks.iter().map(|(id, _)| *id).collect();
                let (list, values) = in_list(ids.iter().map(|id| Value::from(id.uuid())).collect());
                let sql = format!("UPDATE tasks SET status = 'queued' WHERE task_id IN {list}");
                tx.execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
                    .await?;
                if let Some(agent) = slots.get_mut(&agent_id) {
                    agent.add_queued(i64::try_from(ids.len()).unwrap_or(0));
                }
                agents.push(agent_id);
            }
            slots.store(&tx, now).await?;
            tx.commit().await?;
        }
        let next_due = next_due(db).await?;
        Ok(Promoted {
            agents,
            next_due,
            more,
        })
    }

    /// When the next delayed or retrying task falls due.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, LedgerError> {
        self.within(next_due).await
    }

    /// Gives up tasks that were not started by their `expires_at`, at most a batch of them; returns which.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn expire(&self, now: Timestamp) -> Result<Vec<TaskId>, LedgerError> {
        self.within(|db| self.expire_at_once(db, now)).await
    }

    async fn expire_at_once(
        &self,
        db: &Connections,
        now: Timestamp,
    ) -> Result<Vec<TaskId>, LedgerError> {
        let expired = "expires_at IS NOT NULL AND expires_at <= $1 AND status IN ('queued', 'scheduled', 'retrying')";
        let found = find(db, &format!("{expired} ORDER BY expires_at"), now).await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let error = TaskError::new(
            ErrorCode::Expired,
            "the task was not started before it expired",
        );
        let tx = db.begin().await?;
        let mut slots = self.lock_agents_of(&tx, &found).await?;
        let mut ended = Vec::new();
        for (agent_id, tasks) in self.find_again(&tx, &found, expired, now).await? {
            let ids: Vec<TaskId> = tasks.iter().map(|(id, _)| *id).collect();
            end_waiting(&tx, &ids, TaskStatus::Failed, &error, now).await?;
            let queued = tasks
                .iter()
                .filter(|(_, status)| *status == TaskStatus::Queued)
                .count();
            if let Some(agent) = slots.get_mut(&agent_id) {
                agent.add_queued(-i64::try_from(queued).unwrap_or(0));
            }
            ended.extend(ids);
        }
        slots.store(&tx, now).await?;
        tx.commit().await?;
        Ok(ended)
    }

    async fn lock_agents_of(
        &self,
        tx: &DatabaseTransaction,
        found: &[(TaskId, AgentId)],
    ) -> Result<Slots, LedgerError> {
        let agents: BTreeSet<AgentId> =
            found.iter().map(|(_, agent_id)| agent_id.clone()).collect();
        Slots::lock(tx, agents, &self.options).await
    }

    /// Which of the tasks still fulfil `condition`, now that their agents are locked.
    async fn find_again(
        &self,
        tx: &DatabaseTransaction,
        found: &[(TaskId, AgentId)],
        condition: &str,
        now: Timestamp,
    ) -> Result<BTreeMap<AgentId, Vec<(TaskId, TaskStatus)>>, LedgerError> {
        let mut values = vec![Value::from(now.as_micros())];
        values.extend(found.iter().map(|(id, _)| Value::from(id.uuid())));
        let list = (2..=values.len())
            .map(|n| format!("${n}"))
            .collect::<Vec<_>>()
            .join(", ");
        let sql = format!(
            "SELECT task_id, agent_id, status FROM tasks WHERE task_id IN ({list}) AND {condition}"
        );
        let mut still = BTreeMap::<AgentId, Vec<_>>::new();
        for row in tx
            .query_all_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await?
        {
            let id = agent_id(&row.try_get_by_index::<String>(1)?)?;
            let status = name("status", &row.try_get_by_index::<String>(2)?)?;
            still
                .entry(id)
                .or_default()
                .push((row.try_get_by_index::<Uuid>(0)?.into(), status));
        }
        Ok(still)
    }
}

async fn next_due(db: &Connections) -> Result<Option<Timestamp>, LedgerError> {
    let sql = "SELECT MIN(run_at) FROM tasks WHERE status IN ('scheduled', 'retrying')";
    let rows = db.query(sql, []).await?;
    let next = rows
        .first()
        .map(|row| row.try_get_by_index::<Option<i64>>(0))
        .transpose()?
        .flatten();
    Ok(next.map(Timestamp::from_micros))
}

/// Tasks that look as if `condition` held for them.
async fn find(
    db: &Connections,
    condition: &str,
    now: Timestamp,
) -> Result<Vec<(TaskId, AgentId)>, LedgerError> {
    let sql = format!("SELECT task_id, agent_id FROM tasks WHERE {condition} LIMIT {BATCH}");
    let row = |row: QueryResult| -> Result<_, LedgerError> {
        Ok((
            row.try_get_by_index::<Uuid>(0)?.into(),
            agent_id(&row.try_get_by_index::<String>(1)?)?,
        ))
    };
    let rows = db.query(&sql, [now.as_micros().into()]).await?;
    rows.into_iter().map(row).collect()
}
