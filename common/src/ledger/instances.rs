//! The instances of an agent: planned, made, lost, and forgotten, always together with what is observed of the agent.

use std::collections::BTreeSet;

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    QuerySelect, Statement, Value, sea_query::Expr,
};

use super::convert::small;
use super::entity::{agent_instances, agent_profiles, agents, tasks};
use super::lifecycle::{WAITING, noted};
use super::query::{agent_in_any_state, instances_of};
use super::rows::in_list;
use super::slots::{Slots, lock_where};
use super::{Connections, LeasedAgent, Ledger, LedgerError};
use crate::domain::{
    AgentId, AgentRecord, AgentStatus, DesiredState, InstanceId, InstancePlan, InstanceState,
    MAX_INSTANCES, Timestamp, instance_name, plan_instances,
};

impl Ledger {
    /// Notes which instances an agent is to have from now on: new ones, which are `making`, others that change or are to go.
    /// Returns the agent with its instances as they are then; `None` when the lease has been lost to another reconciler.
    ///
    /// A crash after the commit leaves instances that the next reconciler makes.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn plan_instances(
        &self,
        lease: &LeasedAgent,
        now: Timestamp,
    ) -> Result<Option<AgentRecord>, LedgerError> {
        self.within(|db| self.plan_instances_at_once(db, lease, now))
            .await
    }

    async fn plan_instances_at_once(
        &self,
        db: &Connections,
        lease: &LeasedAgent,
        now: Timestamp,
    ) -> Result<Option<AgentRecord>, LedgerError> {
        let id = &lease.agent.agent_id;
        let Some(mut agent) = agent_in_any_state(db, id).await? else {
            return Ok(None);
        };
        let taken = taken_names(db, &agent).await?;
        let tx = db.begin().await?;
        let _lock = Slots::lock(&tx, BTreeSet::from([id.clone()]), &self.options).await?;
        if !holds(&tx, lease).await? {
            return Ok(None);
        }
        agent.instances = instances_of(&tx, id).await?;
        let plan = plan_instances(&agent, |name| taken.contains(name.as_str()));
        if plan.is_empty() {
            return Ok(Some(agent));
        }
        for change in plan {
            carry_out(&tx, id, change, now).await?;
        }
        agent.instances = instances_of(&tx, id).await?;
        tx.commit().await?;
        Ok(Some(agent))
    }

    /// Notes that an instance is there at `endpoint` and that its agent takes tasks; it is probed from `probe_at` on.
    ///
    /// What was learnt of it is forgotten: it is another one. Writes nothing when the lease has been lost to another
    /// reconciler.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn instance_made(
        &self,
        lease: &LeasedAgent,
        instance_id: InstanceId,
        endpoint: &str,
        probe_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let id = &lease.agent.agent_id;
        self.within(|db| async move {
            let tx = db.begin().await?;
            let slots = Slots::lock(&tx, BTreeSet::from([id.clone()]), &self.options).await?;
            let sql = "UPDATE agents SET status = 'active', status_reason = NULL, \
                       started_at = CASE WHEN status = 'active' THEN started_at ELSE $1 END \
                       WHERE agent_id = $2 AND lease_worker = $3";
            let values = [
                now.as_micros().into(),
                id.as_str().into(),
                lease.holder.uuid().into(),
            ];
            if run(&tx, sql, values).await? == 0 {
                return Ok(());
            }
            let sql = "UPDATE agent_instances SET state = 'healthy', endpoint = $1, last_health_check = $2, \
                       probe_at = $3, probe_failures = 0, learnt_limit = NULL, latency_samples = 0, circuit = 'closed', \
                       circuit_since = $2, circuit_until = NULL, circuit_failures = 0, failure_rate = 0, \
                       circuit_openings = 0 WHERE instance_id = $4";
            let values = [
                endpoint.into(),
                now.as_micros().into(),
                probe_at.as_micros().into(),
                instance_id.uuid().into(),
            ];
            run(&tx, sql, values).await?;
            let was = slots.get(id).map(|agent| agent.status);
            let action = match noted(AgentStatus::Active) {
                Some(action) if was != Some(AgentStatus::Active) => action,
                Some(_) | None => "instance.made",
            };
            let detail = Some(format!("{} at {endpoint}", instance(instance_id)));
            self.note(&tx, action, id.as_str(), detail, now).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// Forgets an instance that is to go and that runs nothing any more; one that does stays.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn forget_instance(
        &self,
        agent_id: &AgentId,
        instance_id: InstanceId,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let sql = "DELETE FROM agent_instances WHERE instance_id = $1 AND draining AND running = 0";
        self.within(|db| async move {
            let tx = db.begin().await?;
            let of = BTreeSet::from([agent_id.clone()]);
            let _lock = Slots::lock(&tx, of, &self.options).await?;
            if run(&tx, sql, [instance_id.uuid().into()]).await? > 0 {
                let detail = Some(instance(instance_id));
                self.note(&tx, "instance.removed", agent_id.as_str(), detail, now)
                    .await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await
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
        self.within(|db| async move {
            let tx = db.begin().await?;
            let of = BTreeSet::from([agent_id.clone()]);
            let _lock = Slots::lock(&tx, of, &self.options).await?;
            let sql = "UPDATE agent_instances SET state = 'lost' WHERE instance_id = $1 \
                       AND state IN ('healthy', 'unhealthy')";
            if run(&tx, sql, [lost.uuid().into()]).await? > 0 {
                let sql = "UPDATE agents SET reconcile_at = $1 WHERE agent_id = $2";
                run(&tx, sql, [now.as_micros().into(), agent_id.as_str().into()]).await?;
                let detail = Some(instance(lost));
                self.note(&tx, "instance.lost", agent_id.as_str(), detail, now)
                    .await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// Notes that a Brain Factory that was restarted has forgotten every instance it made: all are made again.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn lose_made_instances(&self, now: Timestamp) -> Result<(), LedgerError> {
        let made = "agent_id IN (SELECT agent_id FROM agent_instances WHERE made_as IS NOT NULL)";
        self.within(|db| async move {
            let tx = db.begin().await?;
            lock_where(&tx, made, Vec::new()).await?;
            let sql = "UPDATE agent_instances SET state = 'lost' WHERE made_as IS NOT NULL \
                       AND state IN ('healthy', 'unhealthy') RETURNING agent_id, instance_id";
            let statement = Statement::from_string(self.backend(), sql);
            let mut lost = Vec::new();
            for row in tx.query_all_raw(statement).await? {
                let instance_id: uuid::Uuid = row.try_get_by_index(1)?;
                lost.push((row.try_get_by_index(0)?, Some(instance(instance_id.into()))));
            }
            self.note_each(&tx, "instance.lost", lost, now).await?;
            let sql =
                format!("UPDATE agents SET reconcile_at = $1 WHERE desired <> 'idle' AND {made}");
            run(&tx, &sql, [now.as_micros().into()]).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
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
            run(&tx, sql, [now.as_micros().into(), id.as_str().into()]).await?;
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

/// Which names of instances other agents have.
async fn taken_names(
    db: &Connections,
    agent: &AgentRecord,
) -> Result<BTreeSet<String>, LedgerError> {
    if agent.instances_wanted < 2 || !agent.registered_instances.is_empty() {
        return Ok(BTreeSet::new());
    }
    let names = (2..=MAX_INSTANCES * 2).map(|ordinal| instance_name(&agent.agent_id, ordinal));
    let (list, values) = in_list(names.map(|name| Value::from(name.as_str())).collect());
    let sql = format!("SELECT agent_id FROM agents WHERE agent_id IN {list}");
    let rows = db.query(&sql, values).await?;
    rows.iter()
        .map(|row| Ok(row.try_get_by_index(0)?))
        .collect()
}

async fn holds(tx: &DatabaseTransaction, lease: &LeasedAgent) -> Result<bool, LedgerError> {
    let row = agents::Entity::find_by_id(lease.agent.agent_id.as_str())
        .one(tx)
        .await?;
    Ok(row.is_some_and(|row| row.lease_worker == Some(lease.holder.uuid())))
}

async fn carry_out(
    tx: &DatabaseTransaction,
    agent_id: &AgentId,
    change: InstancePlan,
    now: Timestamp,
) -> Result<(), LedgerError> {
    match change {
        InstancePlan::Add { made, spec } => {
            let instance = agent_instances::ActiveModel {
                instance_id: Set(InstanceId::generate().uuid()),
                agent_id: Set(agent_id.as_str().to_owned()),
                endpoint: Set(spec.endpoint),
                state: Set(InstanceState::Making.as_str().to_owned()),
                capacity: Set(spec.max_concurrent_sessions.map(small)),
                weight: Set(small(spec.weight)),
                ordinal: Set(made.as_ref().map(|made| small(made.ordinal))),
                made_as: Set(made.map(|made| made.name.as_str().to_owned())),
                created_at: Set(now.as_micros()),
                ..Default::default()
            };
            agent_instances::Entity::insert(instance)
                .exec_without_returning(tx)
                .await?;
        }
        InstancePlan::Keep(instance_id, spec) => {
            let sql = "UPDATE agent_instances SET draining = FALSE, weight = $1, capacity = $2 WHERE instance_id = $3";
            let values = [
                small(spec.weight).into(),
                spec.max_concurrent_sessions.map(small).into(),
                instance_id.uuid().into(),
            ];
            run(tx, sql, values).await?;
        }
        InstancePlan::Drain(instance_id) => {
            let sql = "UPDATE agent_instances SET draining = TRUE WHERE instance_id = $1";
            run(tx, sql, [instance_id.uuid().into()]).await?;
        }
    }
    Ok(())
}

async fn has_waiting(tx: &DatabaseTransaction, id: &AgentId) -> Result<bool, LedgerError> {
    let query = tasks::Entity::find()
        .filter(tasks::Column::AgentId.eq(id.as_str()))
        .filter(Expr::cust(WAITING))
        .limit(1);
    Ok(query.one(tx).await?.is_some())
}

/// What the audit log says beside the name of the agent.
fn instance(id: InstanceId) -> String {
    format!("instance {id}")
}

/// Runs one statement; how many rows it changed.
async fn run<const N: usize>(
    tx: &DatabaseTransaction,
    sql: &str,
    values: [Value; N],
) -> Result<u64, LedgerError> {
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    Ok(tx.execute_raw(statement).await?.rows_affected())
}
