//! Changing how urgent a waiting task is.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, EntityTrait, Statement};

use super::convert::{agent_id, name};
use super::entity::tasks;
use super::slots::Slots;
use super::{Connections, Ledger, LedgerError};
use crate::domain::{Priority, TaskId, TaskStatus, Timestamp};

/// What became of the wish to change a task's priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reprioritised {
    /// It waits, and from now on with this priority; this is its status.
    Now(TaskStatus),
    /// It runs or has ended, so that its priority means nothing any more; nothing was changed.
    NotWaiting(TaskStatus),
    /// There is no such task.
    Unknown,
}

impl Ledger {
    /// Changes the priority of a waiting task.
    ///
    /// A crash before the commit leaves the task as it was; doing it again changes nothing.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn reprioritise(
        &self,
        task_id: TaskId,
        priority: Priority,
    ) -> Result<Reprioritised, LedgerError> {
        self.within(|db| self.reprioritise_at_once(db, task_id, priority))
            .await
    }

    async fn reprioritise_at_once(
        &self,
        db: &Connections,
        task_id: TaskId,
        priority: Priority,
    ) -> Result<Reprioritised, LedgerError> {
        let tx = db.begin().await?;
        let Some(row) = tasks::Entity::find_by_id(task_id.uuid()).one(&tx).await? else {
            return Ok(Reprioritised::Unknown);
        };
        let agents = BTreeSet::from([agent_id(&row.agent_id)?]);
        let _lock = Slots::lock(&tx, agents, &self.options).await?;
        // Read again: the first time was only to learn which agent to lock.
        let Some(row) = tasks::Entity::find_by_id(task_id.uuid()).one(&tx).await? else {
            return Ok(Reprioritised::Unknown);
        };
        let status: TaskStatus = name("status", &row.status)?;
        match status {
            TaskStatus::Queued | TaskStatus::Scheduled | TaskStatus::Retrying => {}
            TaskStatus::Running
            | TaskStatus::Completed
            | TaskStatus::Failed
            | TaskStatus::TimedOut
            | TaskStatus::Cancelled => return Ok(Reprioritised::NotWaiting(status)),
        }
        let sql = "UPDATE tasks SET priority = $1 WHERE task_id = $2";
        let values = [i32::from(priority.get()).into(), task_id.uuid().into()];
        tx.execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await?;
        let detail = Some(format!("priority {}", priority.get()));
        let (task, now) = (task_id.to_string(), Timestamp::now());
        self.note(&tx, "task.reprioritise", &task, detail, now)
            .await?;
        tx.commit().await?;
        Ok(Reprioritised::Now(status))
    }
}
