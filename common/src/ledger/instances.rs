//! The instances of an agent: made, lost, and forgotten, always together with what is observed of the agent.

use std::collections::BTreeSet;

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    QuerySelect, Statement, sea_query::Expr,
};

use super::entity::{agent_instances, agent_profiles, agents, tasks};
use super::lifecycle::{WAITING, noted};
use super::slots::{Slots, lock_where};
use super::{Connections, LeasedAgent, Ledger, LedgerError};
use crate::domain::{AgentId, AgentStatus, DesiredState, InstanceId, InstanceState, Timestamp};

impl Ledger {
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
        self.within(|db| self.activate_at_once(db, lease, endpoint, now))
            .await
    }

    async fn activate_at_once(
        &self,
        db: &Connections,
        lease: &LeasedAgent,
        endpoint: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let id = &lease.agent.agent_id;
        let tx = db.begin().await?;
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
        let detail = Some(format!("at {endpoint}"));
        self.note(&tx, "agent.active", id.as_str(), detail, now)
            .await?;
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
        self.within(|db| self.lose_instance_at_once(db, agent_id, lost, now))
            .await
    }

    async fn lose_instance_at_once(
        &self,
        db: &Connections,
        agent_id: &AgentId,
        lost: InstanceId,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let tx = db.begin().await?;
        let _lock = Slots::lock(&tx, BTreeSet::from([agent_id.clone()]), &self.options).await?;
        let sql = "UPDATE agent_instances SET state = 'lost' WHERE instance_id = $1 AND state = 'healthy'";
        let statement = Statement::from_sql_and_values(self.backend(), sql, [lost.uuid().into()]);
        if tx.execute_raw(statement).await?.rows_affected() > 0 {
            let sql = "UPDATE agents SET reconcile_at = $1 WHERE agent_id = $2";
            let values = [now.as_micros().into(), agent_id.as_str().into()];
            tx.execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
                .await?;
            let detail = Some(lost_instance(lost.uuid()));
            self.note(&tx, "instance.lost", agent_id.as_str(), detail, now)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Notes that a Brain Factory that was restarted has forgotten every instance it made: all are made again.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn lose_made_instances(&self, now: Timestamp) -> Result<(), LedgerError> {
        self.within(|db| self.lose_made_instances_at_once(db, now))
            .await
    }

    async fn lose_made_instances_at_once(
        &self,
        db: &Connections,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let made = "agent_id IN (SELECT agent_id FROM agent_profiles WHERE endpoint IS NULL)";
        let tx = db.begin().await?;
        lock_where(&tx, made, Vec::new()).await?;
        let sql = format!(
            "UPDATE agent_instances SET state = 'lost' WHERE state <> 'lost' AND {made} \
             RETURNING agent_id, instance_id"
        );
        let statement = Statement::from_string(self.backend(), sql);
        let mut lost = Vec::new();
        for row in tx.query_all_raw(statement).await? {
            let instance: uuid::Uuid = row.try_get_by_index(1)?;
            lost.push((row.try_get_by_index(0)?, Some(lost_instance(instance))));
        }
        self.note_each(&tx, "instance.lost", lost, now).await?;
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
        self.within(|db| self.deactivate_at_once(db, lease, now))
            .await
    }

    async fn deactivate_at_once(
        &self,
        db: &Connections,
        lease: &LeasedAgent,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let id = &lease.agent.agent_id;
        let tx = db.begin().await?;
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
            self.note(&tx, "agent.removed", id.as_str(), None, now)
                .await?;
        } else {
            let sql = "UPDATE agents SET status = CASE WHEN desired = 'idle' THEN 'registered' ELSE 'stopped' END, \
                       status_reason = NULL, started_at = NULL, \
                       reconcile_at = CASE WHEN desired = 'running' THEN $1 ELSE reconcile_at END WHERE agent_id = $2";
            let values = [now.as_micros().into(), id.as_str().into()];
            tx.execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
                .await?;
            let stopped = row.desired != DesiredState::Idle.as_str()
                && row.status != AgentStatus::Stopped.as_str();
            if let Some(action) = noted(AgentStatus::Stopped).filter(|_| stopped) {
                self.note(&tx, action, id.as_str(), None, now).await?;
            }
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

/// What the audit log says beside the name of the agent.
fn lost_instance(id: uuid::Uuid) -> String {
    format!("instance {id}")
}
