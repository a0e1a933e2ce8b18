//! Slots: how many tasks of each agent and each instance run, counted in the ledger under the lock of the agent's row,
//! together with what is learnt of the instances.

mod agent;
mod row;
mod store;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, Statement, Value};

use super::rows::in_list;
use super::{LedgerError, LedgerOptions};
use crate::domain::{AgentId, Timestamp};

pub(super) use agent::AgentSlots;

/// The locked agents of one transaction.
#[derive(Debug)]
pub(super) struct Slots {
    agents: BTreeMap<AgentId, AgentSlots>,
}

impl Slots {
    /// Locks the rows of the agents that exist, in the order of their identifiers, and reads their instances.
    pub(super) async fn lock(
        tx: &DatabaseTransaction,
        agent_ids: BTreeSet<AgentId>,
        options: &LedgerOptions,
    ) -> Result<Self, LedgerError> {
        let mut agents = BTreeMap::new();
        if agent_ids.is_empty() {
            return Ok(Self { agents });
        }
        let backend = tx.get_database_backend();
        let ids: Vec<Value> = agent_ids
            .iter()
            .map(|id| Value::from(id.as_str()))
            .collect();
        let (list, values) = in_list(ids);
        // One statement, one way to the server. Rows of instances are locked behind those of their agents, and a row
        // that is locked is read as it is by then: were it only read, it would be as it was before the wait for its
        // agent's lock.
        let lock = row_lock(backend);
        let sql = format!(
            "WITH a AS MATERIALIZED (SELECT {} FROM agents WHERE agent_id IN {list} ORDER BY agent_id {lock}), \
             i AS MATERIALIZED (SELECT {}, agent_id AS of_agent, created_at FROM agent_instances \
                 WHERE agent_id IN (SELECT agent_id FROM a) {lock}) \
             SELECT a.*, i.* FROM a LEFT JOIN i ON i.of_agent = a.agent_id ORDER BY i.created_at, i.instance_id",
            row::AGENT,
            row::INSTANCE,
        );
        for row in tx
            .query_all_raw(Statement::from_sql_and_values(backend, sql, values))
            .await?
        {
            let (id, limit) = row::agent_and_limit(&row, options)?;
            let agent = match agents.entry(id) {
                Entry::Occupied(agent) => agent.into_mut(),
                Entry::Vacant(none) => none.insert(row::agent_slots(&row, limit)?),
            };
            agent.instances.extend(row::instance_slots(&row, limit)?);
        }
        Ok(Self { agents })
    }

    pub(super) fn get(&self, id: &AgentId) -> Option<&AgentSlots> {
        self.agents.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &AgentId) -> Option<&mut AgentSlots> {
        self.agents.get_mut(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&AgentId, &AgentSlots)> {
        self.agents.iter()
    }

    /// Agents whose lifecycle has something to do now.
    pub(super) fn to_reconcile(&self) -> Vec<AgentId> {
        self.agents
            .iter()
            .filter(|(_, slots)| slots.reconcile)
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Instances whose circuit changed in this transaction, with what it is now.
    pub(super) fn circuit_changes(&self) -> Vec<super::CircuitChange> {
        let mut changes = Vec::new();
        for (agent_id, slots) in &self.agents {
            let changed = slots.instances.iter().filter(|i| i.circuit_changed());
            changes.extend(changed.map(|instance| super::CircuitChange {
                agent_id: agent_id.clone(),
                instance_id: instance.instance_id,
                circuit: instance.place.circuit.state,
            }));
        }
        changes
    }

    /// Writes what changed: one row for each instance that did, the first of an agent with what is to be added to it.
    pub(super) async fn store(
        &self,
        tx: &DatabaseTransaction,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        store::store(&self.agents, tx, now).await
    }
}

/// Locks the rows of all agents for which `condition` holds, in the order in which everybody locks them.
pub(super) async fn lock_where(
    tx: &DatabaseTransaction,
    condition: &str,
    values: Vec<Value>,
) -> Result<(), LedgerError> {
    let backend = tx.get_database_backend();
    let sql = format!(
        "SELECT agent_id FROM agents WHERE {condition} ORDER BY agent_id {}",
        row_lock(backend)
    );
    tx.query_all_raw(Statement::from_sql_and_values(backend, sql, values))
        .await?;
    Ok(())
}

fn row_lock(backend: DatabaseBackend) -> &'static str {
    match backend {
        DatabaseBackend::Postgres => "FOR UPDATE",
        _ => "",
    }
}
