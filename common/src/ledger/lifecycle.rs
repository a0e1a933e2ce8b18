//! Bringing what agents are observed to be closer to what is wanted, one reconciler at a time under a lease.
//!
//! No lock is held while a reconciler works: making an agent takes long, and the Brain Factory registers the same
//! agent meanwhile. Only the holder of the lease may write what came of it.

use std::collections::BTreeSet;
use std::time::Duration;

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    QuerySelect, Statement, sea_query::Expr,
};

use super::cancel::end_waiting;
use super::convert::agent_id;
use super::entity::{agent_instances, agent_profiles, agents, tasks};
use super::slots::{Slots, lock_where};
use super::{Ledger, LedgerError};
use crate::domain::{
    AgentId, AgentRecord, AgentStatus, DesiredState, ErrorCode, InstanceId, InstanceState,
    TaskError, TaskId, TaskStatus, Timestamp, WorkerId,
};

/// The most waiting tasks that one transaction cancels.
const BATCH: u64 = 500;
/// Tasks that were accepted, have no outcome and do not run.
const WAITING: &str = "status IN ('queued', 'scheduled', 'retrying')";

/// An agent under the lease of one reconciler.
#[derive(Clone, Debug)]
pub struct LeasedAgent {
    /// What is wanted and what is observed, as of the lease.
    pub agent: AgentRecord,
    /// How often in a row it could not be started.
    pub start_failures: u32,
    holder: WorkerId,
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
        let rows = self
            .read
            .query_all_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await?;
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
        let row = self
            .write
            .query_one_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await?;
        let Some(row) = row else { return Ok(None) };
        let start_failures =
            super::convert::count("start_failures", row.try_get_by_index::<i32>(0)?.into())?;
        let agent = self.agent_in_any_state(agent_id).await?;
        Ok(agent.map(|agent| LeasedAgent {
            agent,
            start_failures,
            holder,
        }))
    }

    /// Notes what an agent is now observed to be, without giving up the lease.
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
        let values = [
            status.as_str().into(),
            reason.map(str::to_owned).into(),
            lease.agent.agent_id.as_str().into(),
            lease.holder.uuid().into(),
        ];
        self.write
            .execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await?;
        Ok(())
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
            super::convert::small(start_failures).into(),
            again_at.map(Timestamp::as_micros).into(),
            lease.agent.agent_id.as_str().into(),
            lease.holder.uuid().into(),
        ];
        self.write
            .execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await?;
        Ok(())
    }

    /// Notes that an agent has its brain at `endpoint` and takes tasks: on a new instance, or on its lost one.
    ///
    /// Writes nothing when the lease has been lost to another reconciler.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn activate(
        &self,
        lease: &LeasedAgent,
        endpoint: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let id = &lease.agent.agent_id;
        let tx = self.begin().await?;
        let _lock = Slots::lock(&tx, BTreeSet::from([id.clone()]), &self.options).await?;
        let sql = "UPDATE agents SET status = 'active', status_reason = NULL, \
                   started_at = CASE WHEN status = 'active' THEN started_at ELSE $1 END \
                   WHERE agent_id = $2 AND lease_worker = $3";
        let values = [
            now.as_micros().into(),
            id.as_str().into(),
            lease.holder.uuid().into(),
        ];
        if tx
            .execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await?
            .rows_affected()
            == 0
        {
            return Ok(());
        }
        let sql = "UPDATE agent_instances SET state = 'healthy', endpoint = $1, last_health_check = $2 WHERE agent_id = $3";
        let values = [endpoint.into(), now.as_micros().into(), id.as_str().into()];
        if tx
            .execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await?
            .rows_affected()
            == 0
        {
            let instance = agent_instances::ActiveModel {
                instance_id: Set(InstanceId::generate().uuid()),
                agent_id: Set(id.as_str().to_owned()),
                endpoint: Set(endpoint.to_owned()),
                state: Set(InstanceState::Healthy.as_str().to_owned()),
                capacity: Set(None),
                running: Set(0),
                created_at: Set(now.as_micros()),
                last_health_check: Set(Some(now.as_micros())),
                memory_usage_mb: Set(None),
            };
            agent_instances::Entity::insert(instance)
                .exec_without_returning(&tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Notes that an instance was forgotten by its brain, and asks for its agent to be reconciled.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn lose_instance(
        &self,
        agent_id: &AgentId,
        lost: InstanceId,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let tx = self.begin().await?;
        let _lock = Slots::lock(&tx, BTreeSet::from([agent_id.clone()]), &self.options).await?;
        let sql = "UPDATE agent_instances SET state = 'lost' WHERE instance_id = $1 AND state = 'healthy'";
        let statement = Statement::from_sql_and_values(self.backend(), sql, [lost.uuid().into()]);
        if tx.execute_raw(statement).await?.rows_affected() > 0 {
            let sql = "UPDATE agents SET reconcile_at = $1 WHERE agent_id = $2";
            let values = [now.as_micros().into(), agent_id.as_str().into()];
            tx.execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Lets others reconcile the agents that a worker was at when it went away.
    pub(super) async fn free_leases(
        &self,
        holder: WorkerId,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let sql = "UPDATE agents SET lease_worker = NULL, lease_until = NULL, \
                   reconcile_at = $1 WHERE lease_worker = $2";
        let values = [now.as_micros().into(), holder.uuid().into()];
        let tx = self.begin().await?;
        lock_where(&tx, "lease_worker = $1", vec![holder.uuid().into()]).await?;
        tx.execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Notes that a Brain Factory that was restarted has forgotten every instance it made: all are made again.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn lose_made_instances(&self, now: Timestamp) -> Result<(), LedgerError> {
        let made = "agent_id IN (SELECT agent_id FROM agent_profiles WHERE endpoint IS NULL)";
        let tx = self.begin().await?;
        lock_where(&tx, made, Vec::new()).await?;
        let sql = format!("UPDATE agent_instances SET state = 'lost' WHERE {made}");
        tx.execute_raw(Statement::from_string(self.backend(), sql))
            .await?;
        let sql = format!("UPDATE agents SET reconcile_at = $1 WHERE desired <> 'idle' AND {made}");
        tx.execute_raw(Statement::from_sql_and_values(
            self.backend(),
            sql,
            [now.as_micros().into()],
        ))
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
        let tx = self.begin().await?;
        let mut slots = Slots::lock(&tx, BTreeSet::from([agent_id.clone()]), &self.options).await?;
        let rows = tasks::Entity::find()
            .filter(tasks::Column::AgentId.eq(agent_id.as_str()))
            .filter(sea_orm::sea_query::Expr::cust(
                "status IN ('queued', 'scheduled', 'retrying')",
            ))
            .limit(BATCH)
            .all(&tx)
            .await?;
        let error = TaskError::new(ErrorCode::AgentUnregistered, "the agent was unregistered");
        let ids: Vec<TaskId> = rows.iter().map(|row| row.task_id.into()).collect();
        end_waiting(&tx, &ids, TaskStatus::Cancelled, &error, now).await?;
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

    /// Forgets the instances of an agent that has no running task, and the agent itself when it is being removed.
    ///
    /// Returns `false`, having changed nothing, when something runs on it, when it is being removed and tasks wait for
    /// it, or when the lease has been lost.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn deactivate(
        &self,
        lease: &LeasedAgent,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let id = &lease.agent.agent_id;
        let tx = self.begin().await?;
        let _lock = Slots::lock(&tx, BTreeSet::from([id.clone()]), &self.options).await?;
        let Some(row) = agents::Entity::find_by_id(id.as_str()).one(&tx).await? else {
            return Ok(true);
        };
        if row.running > 0 || row.lease_worker != Some(lease.holder.uuid()) {
            return Ok(false);
        }
        let removed = row.desired == DesiredState::Removed.as_str();
        if removed && has_waiting(&tx, id).await? {
            return Ok(false);
        }
        agent_instances::Entity::delete_many()
            .filter(agent_instances::Column::AgentId.eq(id.as_str()))
            .exec(&tx)
            .await?;
        if removed {
            agents::Entity::delete_by_id(id.as_str()).exec(&tx).await?;
            agent_profiles::Entity::delete_by_id(id.as_str())
                .exec(&tx)
                .await?;
        } else {
            let sql = "UPDATE agents SET status = CASE WHEN desired = 'idle' THEN 'registered' ELSE 'stopped' END, \
                       status_reason = NULL, started_at = NULL, \
                       reconcile_at = CASE WHEN desired = 'running' THEN $1 ELSE reconcile_at END WHERE agent_id = $2";
            let values = [now.as_micros().into(), id.as_str().into()];
            tx.execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
                .await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

async fn has_waiting(tx: &DatabaseTransaction, id: &AgentId) -> Result<bool, LedgerError> {
    let query = tasks::Entity::find()
        .filter(tasks::Column::AgentId.eq(id.as_str()))
        .filter(Expr::cust(WAITING))
        .limit(1);
    Ok(query.one(tx).await?.is_some())
}
