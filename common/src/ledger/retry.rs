//! Trying a task again by hand that has failed, timed out, or was cancelled.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, EntityTrait, Statement};

use super::convert::{agent_id, name, small};
use super::entity::tasks;
use super::slots::Slots;
use super::{Connections, Ledger, LedgerError};
use crate::domain::workflow::RunId;
use crate::domain::{AgentId, TaskId, TaskStatus, Timestamp};

/// Attempts go on counting, so that no attempt of a task looks like an earlier one to its agent; an expiry, which may
/// have passed, would end the task at once.
const RETRY: &str = "UPDATE tasks SET status = 'queued', max_attempts = attempt + $1, crashes = 0, \
     completed_at = NULL, result = NULL, error_code = NULL, error_message = NULL, cancel_requested = FALSE, \
     run_at = NULL, expires_at = NULL WHERE task_id = $2";

/// What became of the wish to try a task again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retried {
    /// It waits for its agent, which is this.
    Now(AgentId),
    /// It has not failed; nothing was changed.
    NotFailed(TaskStatus),
    /// It is part of this workflow, which has taken its outcome in; nothing was changed.
    OfWorkflow(RunId),
    /// Its agent is no longer registered; nothing was changed.
    UnknownAgent(AgentId),
    /// There is no such task.
    Unknown,
}

impl Ledger {
    /// Queues a task again that failed, timed out or was cancelled, for up to `attempts` further attempts.
    ///
    /// It takes its old place among those that wait. A crash before the commit leaves it as it was; after it, the sweep
    /// finds it.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn retry(
        &self,
        task_id: TaskId,
        attempts: u32,
        now: Timestamp,
    ) -> Result<Retried, LedgerError> {
        self.within(|db| self.retry_at_once(db, task_id, attempts, now))
            .await
    }

    async fn retry_at_once(
        &self,
        db: &Connections,
        task_id: TaskId,
        attempts: u32,
        now: Timestamp,
    ) -> Result<Retried, LedgerError> {
        let tx = db.begin().await?;
        let Some(row) = tasks::Entity::find_by_id(task_id.uuid()).one(&tx).await? else {
            return Ok(Retried::Unknown);
        };
        let agent_id = agent_id(&row.agent_id)?;
        let mut slots = Slots::lock(&tx, BTreeSet::from([agent_id.clone()]), &self.options).await?;
        // Read again: the first time was only to learn which agent to lock.
        let Some(row) = tasks::Entity::find_by_id(task_id.uuid()).one(&tx).await? else {
            return Ok(Retried::Unknown);
        };
        let status: TaskStatus = name("status", &row.status)?;
        match status {
            TaskStatus::Failed | TaskStatus::TimedOut | TaskStatus::Cancelled => {}
            TaskStatus::Queued
            | TaskStatus::Scheduled
            | TaskStatus::Running
            | TaskStatus::Retrying
            | TaskStatus::Completed => return Ok(Retried::NotFailed(status)),
        }
        if let Some(run_id) = row.workflow_run_id {
            return Ok(Retried::OfWorkflow(run_id.into()));
        }
        let Some(agent) = slots.get_mut(&agent_id).filter(|agent| !agent.is_removed()) else {
            return Ok(Retried::UnknownAgent(agent_id));
        };
        agent.add_queued(1);
        if self.options.auto_start {
            agent.start_if_idle();
        }
        let values = [small(attempts).into(), task_id.uuid().into()];
        let retry = Statement::from_sql_and_values(self.backend(), RETRY, values);
        if tx.execute_raw(retry).await?.rows_affected() == 0 {
            // Deleted since it was read: it ended long ago.
            return Ok(Retried::Unknown);
        }
        if row.callback_url.is_some() {
            self.forget_callback(&tx, task_id).await?;
        }
        self.note(&tx, "task.retry", &task_id.to_string(), None, now)
            .await?;
        slots.store(&tx, now).await?;
        tx.commit().await?;
        Ok(Retried::Now(agent_id))
    }
}
