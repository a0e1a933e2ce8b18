//! Cancelling a task, wherever it stands.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DatabaseTransaction, EntityTrait, Statement, Value};

use super::callbacks::{Owed, owe};
use super::convert::{agent_id, name};
use super::entity::tasks;
use super::slots::Slots;
use super::workflows::News;
use super::{Connections, Ledger, LedgerError};
use crate::domain::{AgentId, ErrorCode, TaskError, TaskId, TaskStatus, Timestamp, WorkerId};

/// Its conditions are those of a small index, written out so that the databases see that.
const TO_CANCEL: &str = "SELECT task_id FROM tasks WHERE worker_id = $1 AND cancel_requested \
     AND status = 'running' LIMIT 500";

/// What became of the wish to cancel a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It had not started and never will.
    Now,
    /// It runs; this worker is to drop it, and it is cancelled unless it ends otherwise before that.
    Requested(WorkerId),
    /// It had this outcome already, which stands.
    AlreadyEnded(TaskStatus),
    /// There is no such task.
    Unknown,
}

impl Ledger {
    /// Cancels a waiting task, or asks for a running one to be cancelled.
    ///
    /// A crash before the commit leaves the task as it was. After it, a running task that is never heard of again is
    /// cancelled by recovery.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn cancel(&self, task_id: TaskId, now: Timestamp) -> Result<Cancelled, LedgerError> {
        self.within(|db| self.cancel_at_once(db, task_id, now))
            .await
    }

    /// What `worker_id` runs and is to drop, at most a batch of it: for a worker that did not hear of the wish.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn to_cancel(&self, worker_id: WorkerId) -> Result<Vec<TaskId>, LedgerError> {
        let rows = self
            .within(|db| db.query(TO_CANCEL, [worker_id.uuid().into()]))
            .await?;
        rows.iter()
            .map(|row| Ok(row.try_get_by_index::<uuid::Uuid>(0)?.into()))
            .collect()
    }

    /// Asks for everything to be cancelled that an agent runs; returns each task with the worker that is to drop it.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn cancel_running(
        &self,
        agent_id: &AgentId,
        now: Timestamp,
    ) -> Result<Vec<(TaskId, WorkerId)>, LedgerError> {
        let sql = "UPDATE tasks SET cancel_requested = TRUE WHERE agent_id = $1 AND status = 'running' \
                   RETURNING task_id, worker_id";
        self.within(|db| async move {
            let tx = db.begin().await?;
            // Under the lock of the agent nothing of it starts or ends.
            let of = BTreeSet::from([agent_id.clone()]);
            let _slots = Slots::lock(&tx, of, &self.options).await?;
            let values = [agent_id.as_str().into()];
            let statement = Statement::from_sql_and_values(self.backend(), sql, values);
            let mut running = Vec::new();
            for row in tx.query_all_raw(statement).await? {
                let task_id: uuid::Uuid = row.try_get_by_index(0)?;
                if let Some(worker_id) = row.try_get_by_index::<Option<uuid::Uuid>>(1)? {
                    running.push((TaskId::from(task_id), WorkerId::from(worker_id)));
                }
            }
            if !running.is_empty() {
                let detail = Some(format!("{} running tasks", running.len()));
                self.note(&tx, "agent.cancel_running", agent_id.as_str(), detail, now)
                    .await?;
            }
            tx.commit().await?;
            Ok(running)
        })
        .await
    }

    async fn cancel_at_once(
        &self,
        db: &Connections,
        task_id: TaskId,
        now: Timestamp,
    ) -> Result<Cancelled, LedgerError> {
        let tx = db.begin().await?;
        let Some(row) = tasks::Entity::find_by_id(task_id.uuid()).one(&tx).await? else {
            return Ok(Cancelled::Unknown);
        };
        let agent_id = agent_id(&row.agent_id)?;
        let mut slots = Slots::lock(&tx, BTreeSet::from([agent_id.clone()]), &self.options).await?;
        // Read again: the first time was only to learn which agent to lock.
        let Some(row) = tasks::Entity::find_by_id(task_id.uuid()).one(&tx).await? else {
            return Ok(Cancelled::Unknown);
        };
        let status: TaskStatus = name("status", &row.status)?;
        let cancelled = match status {
            TaskStatus::Queued | TaskStatus::Scheduled | TaskStatus::Retrying => {
                let error = TaskError::new(ErrorCode::Cancelled, "the task was cancelled");
                end_waiting(&tx, &[task_id], TaskStatus::Cancelled, &error, now).await?;
                if let Some(agent) = slots.get_mut(&agent_id) {
                    agent.add_queued(-i64::from(status == TaskStatus::Queued));
                }
                self.note(&tx, "task.cancel", &task_id.to_string(), None, now)
                    .await?;
                Cancelled::Now
            }
            TaskStatus::Running => {
                let sql = "UPDATE tasks SET cancel_requested = TRUE WHERE task_id = $1";
                tx.execute_raw(Statement::from_sql_and_values(
                    self.backend(),
                    sql,
                    [task_id.uuid().into()],
                ))
                .await?;
                let worker = row
                    .worker_id
                    .ok_or_else(|| LedgerError::Corrupt("a running task has no worker".into()))?;
                let detail = Some("its worker is to drop it".to_owned());
                self.note(&tx, "task.cancel", &task_id.to_string(), detail, now)
                    .await?;
                Cancelled::Requested(worker.into())
            }
            TaskStatus::Completed
            | TaskStatus::Failed
            | TaskStatus::TimedOut
            | TaskStatus::Cancelled => Cancelled::AlreadyEnded(status),
        };
        slots.store(&tx, now).await?;
        tx.commit().await?;
        Ok(cancelled)
    }
}

/// Gives waiting tasks an outcome without running them. The caller holds their agents and keeps the counts.
pub(super) async fn end_waiting(
    tx: &DatabaseTransaction,
    task_ids: &[TaskId],
    status: TaskStatus,
    error: &TaskError,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let rows: super::rows::Rows<5> = task_ids
        .iter()
        .map(|id| {
            [
                Value::from(id.uuid()),
                status.as_str().into(),
                error.code.as_str().into(),
                error.message.as_str().into(),
                now.as_micros().into(),
            ]
        })
        .collect();
    let body = "UPDATE tasks SET status = v.new_status, error_code = v.code, error_message = v.message, \
                completed_at = v.at FROM v WHERE tasks.task_id = v.id \
                AND tasks.status IN ('queued', 'scheduled', 'retrying') RETURNING task_id, callback_url, workflow_run_id";
    let columns = ["id", "new_status", "code", "message", "at"];
    let (mut owed, mut news) = (Owed::default(), News::default());
    for statement in rows.into_statements(tx.get_database_backend(), columns, body) {
        for row in tx.query_all_raw(statement).await? {
            owed.note(&row)?;
            if let Some(run_id) = row.try_get_by_index(2)? {
                news.add(run_id, row.try_get_by_index(0)?, status, Some(error));
            }
        }
    }
    news.store(tx).await?;
    owe(tx, owed, now).await
}
