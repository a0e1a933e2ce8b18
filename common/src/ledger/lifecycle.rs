//! Bringing what agents are observed to be closer to what is wanted, one reconciler at a time under a lease.
//!
//! No lock is held while a reconciler works: making an agent takes long, and the Brain Factory registers the same
//! agent meanwhile. Only the holder of the lease may write what came of it.

use std::collections::BTreeSet;
use std::time::Duration;

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect, Statement, Value,
    sea_query::Expr,
};

use super::cancel::end_waiting;
use super::convert::{agent_id, count, small};
use super::entity::tasks;
use super::query::agent_in_any_state;
use super::slots::{Slots, lock_where};
use super::{Connections, Ledger, LedgerError};
use crate::domain::{
    AgentId, AgentRecord, AgentStatus, ErrorCode, TaskError, TaskId, TaskStatus, Timestamp,
    WorkerId,
};

/// The most waiting tasks that one transaction cancels.
const BATCH: u64 = 500;
/// Tasks that were accepted, have no outcome and do not run.
pub(super) const WAITING: &str = "status IN ('queued', 'scheduled', 'retrying')";

/// An agent under the lease of one reconciler.
#[derive(Clone, Debug)]
pub struct LeasedAgent {
    /// What is wanted and what is observed, as of the lease.
    pub agent: AgentRecord,
    /// How often in a row it could not be started.
    pub start_failures: u32,
    pub(super) holder: WorkerId,
}

impl Ledger {
    /// Agents that are to be reconciled now and that nobody holds.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn agents_to_reconcile(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<AgentId>, LedgerError> {
        let sql = "SELECT agent_id FROM agents WHERE reconcile_at IS NOT NULL AND reconcile_at <= $1 \
                   AND (lease_until IS NULL OR lease_until <= $1) ORDER BY reconcile_at LIMIT $2";
        let values = [now.as_micros().into(), i64::from(limit).into()];
        let rows = self.within(|db| db.query(sql, values)).await?;
        rows.iter()
            .map(|row| agent_id(&row.try_get_by_index::<String>(0)?))
            .collect()
    }

    /// Takes the lease of an agent that is to be reconciled now; `None` when there is nothing to do or another holds it.
    ///
    /// A holder that crashes keeps others away for `lease` at most.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn lease_agent(
        &self,
        agent_id: &AgentId,
        holder: WorkerId,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Option<LeasedAgent>, LedgerError> {
        // Due again when the lease ends, unless `end_lease` says otherwise: the holder may never be heard of again.
        let sql = "UPDATE agents SET lease_worker = $1, lease_until = $2, reconcile_at = $2 \
                   WHERE agent_id = $3 AND reconcile_at IS NOT NULL AND reconcile_at <= $4 \
                   AND (lease_until IS NULL OR lease_until <= $4) RETURNING start_failures";
        let values = [
            holder.uuid().into(),
            now.plus(lease).as_micros().into(),
            agent_id.as_str().into(),
            now.as_micros().into(),
        ];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        self.within(|db| async move {
            let Some(row) = db.write.query_one_raw(statement).await? else {
                return Ok(None);
            };
            let start_failures = count("start_failures", row.try_get_by_index::<i32>(0)?.into())?;
            let agent = agent_in_any_state(db, agent_id).await?;
            Ok(agent.map(|agent| LeasedAgent {
                agent,
                start_failures,
                holder,
            }))
        })
        .await
    }

    /// Notes what an agent is now observed to be, without giving up the lease. What is new and not on the way to something
    /// else is written down in the audit log.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn observe(
        &self,
        lease: &LeasedAgent,
        status: AgentStatus,
        reason: Option<&str>,
    ) -> Result<(), LedgerError> {
        let sql = "UPDATE agents SET status = $1, status_reason = $2 WHERE agent_id = $3 AND lease_worker = $4";
        let values: [Value; 4] = [
            status.as_str().into(),
            reason.map(str::to_owned).into(),
            lease.agent.agent_id.as_str().into(),
            lease.holder.uuid().into(),
        ];
        let Some(action) = noted(status).filter(|_| lease.agent.status != status) else {
            self.within(|db| db.execute(sql, values)).await?;
            return Ok(());
        };
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        self.within(|db| async move {
            let tx = db.begin().await?;
            if tx.execute_raw(statement).await?.rows_affected() > 0 {
                let (id, reason) = (lease.agent.agent_id.as_str(), reason.map(str::to_owned));
                self.note(&tx, action, id, reason, Timestamp::now()).await?;
                tx.commit().await?;
            }
            Ok(())
        })
        .await
    }

    /// Gives up the lease; `again_at` asks for another reconciliation at that time.
    ///
    /// A change of what is wanted that came meanwhile has set `reconcile_at` itself and is looked at next.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn end_lease(
        &self,
        lease: &LeasedAgent,
        start_failures: u32,
        again_at: Option<Timestamp>,
    ) -> Result<(), LedgerError> {
        let sql = "UPDATE agents SET lease_worker = NULL, lease_until = NULL, start_failures = $1, \
                   reconcile_at = CASE WHEN reconcile_at = lease_until THEN $2 ELSE reconcile_at END \
                   WHERE agent_id = $3 AND lease_worker = $4";
        let values = [
            small(start_failures).into(),
            again_at.map(Timestamp::as_micros).into(),
            lease.agent.agent_id.as_str().into(),
            lease.holder.uuid().into(),
        ];
        self.within(|db| db.execute(sql, values)).await?;
        Ok(())
    }

    /// Lets others reconcile the agents that a worker was at when it went away.
    pub(super) async fn free_leases(
        &self,
        db: &Connections,
        holder: WorkerId,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let sql = "UPDATE agents SET lease_worker = NULL, lease_until = NULL, \
                   reconcile_at = $1 WHERE lease_worker = $2";
        let values = [now.as_micros().into(), holder.uuid().into()];
        let tx = db.begin().await?;
        lock_where(&tx, "lease_worker = $1", vec![holder.uuid().into()]).await?;
        tx.execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Cancels tasks of an agent that is being removed, at most a batch of them; returns which.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn cancel_waiting(
        &self,
        agent_id: &AgentId,
        now: Timestamp,
    ) -> Result<Vec<TaskId>, LedgerError> {
        self.within(|db| self.cancel_waiting_at_once(db, agent_id, now))
            .await
    }

    async fn cancel_waiting_at_once(
        &self,
        db: &Connections,
        agent_id: &AgentId,
        now: Timestamp,
    ) -> Result<Vec<TaskId>, LedgerError> {
        let tx = db.begin().await?;
        let mut slots = Slots::lock(&tx, BTreeSet::from([agent_id.clone()]), &self.options).await?;
        let rows = tasks::Entity::find()
            .filter(tasks::Column::AgentId.eq(agent_id.as_str()))
            .filter(Expr::cust(WAITING))
            .limit(BATCH)
            .all(&tx)
            .await?;
        let error = TaskError::new(ErrorCode::AgentUnregistered, "the agent was unregistered");
        let ids: Vec<TaskId> = rows.iter().map(|row| row.task_id.into()).collect();
        end_waiting(&tx, &ids, TaskStatus::Cancelled, &error, now).await?;
        let ended = ids
            .iter()
            .map(|id| (id.to_string(), Some(error.message.clone())));
        self.note_each(&tx, "task.cancel", ended, now).await?;
        let queued = rows
            .iter()
            .filter(|row| row.status == TaskStatus::Queued.as_str())
            .count();
        if let Some(agent) = slots.get_mut(agent_id) {
            agent.add_queued(-i64::try_from(queued).unwrap_or(0));
        }
        slots.store(&tx, now).await?;
        tx.commit().await?;
        Ok(ids)
    }
}

/// What the audit log calls it that an agent has come to this; starting and stopping are on the way to something else.
pub(super) const fn noted(status: AgentStatus) -> Option<&'static str> {
    match status {
        AgentStatus::Active => Some("agent.active"),
        AgentStatus::Paused => Some("agent.paused"),
        AgentStatus::Failed => Some("agent.failed"),
        AgentStatus::Stopped => Some("agent.stopped"),
        AgentStatus::Registered | AgentStatus::Starting | AgentStatus::Stopping => None,
    }
}
