//! Slots: how many tasks of each agent and each instance run, counted in the ledger under the lock of the agent's row.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseTransaction, QueryResult, Statement, Value,
};
use uuid::Uuid;

use super::convert::{agent_id, count, name, small};
use super::rows::{Rows, in_list};
use super::{LedgerError, LedgerOptions};
use crate::domain::{
    AgentId, AgentStatus, DesiredState, InstanceId, InstanceState, TaskStatus, Timestamp, Usage,
};

/// One locked agent.
#[derive(Debug)]
pub(super) struct AgentSlots {
    pub(super) desired: DesiredState,
    pub(super) status: AgentStatus,
    limit: u32,
    pub(super) running: u32,
    pub(super) queued: i64,
    instances: Vec<InstanceSlots>,
    reconcile: bool,
    changed: bool,
    added: AddedTotals,
}

/// What this transaction adds to an agent's totals.
#[derive(Debug, Default)]
struct AddedTotals {
    sessions: i64,
    completed: i64,
    failed: i64,
    busy_micros: i64,
    tokens: i64,
    cost: f64,
}

#[derive(Debug)]
struct InstanceSlots {
    instance_id: InstanceId,
    endpoint: String,
    healthy: bool,
    capacity: Option<u32>,
    running: u32,
    changed: bool,
}

impl InstanceSlots {
    fn free(&self, limit: u32) -> u32 {
        if self.healthy {
            self.capacity.unwrap_or(limit).saturating_sub(self.running)
        } else {
            0
        }
    }

    /// Running tasks per slot, in thousandths; decides which instance is least loaded.
    fn load(&self, limit: u32) -> u32 {
        self.running.saturating_mul(1_000) / self.capacity.unwrap_or(limit).max(1)
    }
}

impl AgentSlots {
    /// How many more tasks may start now.
    pub(super) fn free(&self) -> u32 {
        if self.desired != DesiredState::Running || self.status != AgentStatus::Active {
            return 0;
        }
        let instances: u32 = self
            .instances
            .iter()
            .map(|i| i.free(self.limit))
            .fold(0, u32::saturating_add);
        self.limit.saturating_sub(self.running).min(instances)
    }

    /// Takes a slot of the least loaded instance; `None` when there is none.
    pub(super) fn take(&mut self) -> Option<(InstanceId, String)> {
        if self.free() == 0 {
            return None;
        }
        let limit = self.limit;
        let instance = self
            .instances
            .iter_mut()
            .filter(|i| i.free(limit) > 0)
            .min_by_key(|i| i.load(limit))?;
        instance.running += 1;
        instance.changed = true;
        self.running += 1;
        self.changed = true;
        Some((instance.instance_id, instance.endpoint.clone()))
    }

    /// Gives a slot back; the instance may be gone meanwhile.
    pub(super) fn release(&mut self, instance_id: Option<InstanceId>) {
        self.running = self.running.saturating_sub(1);
        self.changed = true;
        if let Some(instance) = self
            .instances
            .iter_mut()
            .find(|i| Some(i.instance_id) == instance_id)
        {
            instance.running = instance.running.saturating_sub(1);
            instance.changed = true;
        }
        if self.running == 0
            && matches!(self.desired, DesiredState::Stopped | DesiredState::Removed)
        {
            self.reconcile = true;
        }
    }

    /// Counts tasks that came to wait (or, when negative, no longer do).
    pub(super) fn add_queued(&mut self, number: i64) {
        self.queued += number;
        self.changed |= number != 0;
    }

    /// Adds an ended attempt to the totals.
    pub(super) fn add_session(&mut self, status: TaskStatus, busy_micros: i64, usage: &Usage) {
        self.changed = true;
        self.added.sessions += 1;
        self.added.busy_micros += busy_micros;
        self.added.tokens += usage
            .tokens_used
            .and_then(|tokens| i64::try_from(tokens).ok())
            .unwrap_or(0);
        self.added.cost += usage.cost_estimate.unwrap_or(0.0);
        match status {
            TaskStatus::Completed => self.added.completed += 1,
            TaskStatus::Failed | TaskStatus::TimedOut => self.added.failed += 1,
            TaskStatus::Queued
            | TaskStatus::Scheduled
            | TaskStatus::Running
            | TaskStatus::Retrying
            | TaskStatus::Cancelled => {}
        }
    }

    /// Whether the agent is on its way out.
    pub(super) fn is_removed(&self) -> bool {
        self.desired == DesiredState::Removed
    }

    /// An agent that was never started is wanted as soon as it has a task.
    pub(super) fn start_if_idle(&mut self) {
        if self.desired == DesiredState::Idle {
            self.desired = DesiredState::Running;
            self.reconcile = true;
            self.changed = true;
        }
    }
}

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
            "WITH a AS MATERIALIZED (SELECT agent_id, desired, status, max_concurrent_sessions, running, queued \
                 FROM agents WHERE agent_id IN {list} ORDER BY agent_id {lock}), \
             i AS MATERIALIZED (SELECT agent_id, instance_id, endpoint, state, capacity, running, created_at \
                 FROM agent_instances WHERE agent_id IN (SELECT agent_id FROM a) {lock}) \
             SELECT a.agent_id, a.desired, a.status, a.max_concurrent_sessions, a.running, a.queued, \
                 i.instance_id, i.endpoint, i.state, i.capacity, i.running \
             FROM a LEFT JOIN i ON i.agent_id = a.agent_id ORDER BY i.created_at, i.instance_id"
        );
        for row in tx
            .query_all_raw(Statement::from_sql_and_values(backend, sql, values))
            .await?
        {
            let id = agent_id(&row.try_get_by_index::<String>(0)?)?;
            let agent = match agents.entry(id) {
                Entry::Occupied(agent) => agent.into_mut(),
                Entry::Vacant(none) => none.insert(agent_slots(&row, options)?),
            };
            agent.instances.extend(instance_slots(&row)?);
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

    /// Writes what changed: one row for each instance that did, the first of an agent with what is to be added to it.
    pub(super) async fn store(
        &self,
        tx: &DatabaseTransaction,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let mut rows: Rows<14> = Rows::new();
        for (id, slots) in self.agents.iter().filter(|(_, slots)| slots.changed) {
            let mut instances = slots.instances.iter().filter(|i| i.changed);
            rows.push(slots.row(id, instances.next(), true, now));
            for instance in instances {
                rows.push(slots.row(id, Some(instance), false, now));
            }
        }
        let backend = tx.get_database_backend();
        if backend == DatabaseBackend::Postgres {
            let body = format!(", agent AS ({STORE_AGENTS}) {STORE_INSTANCES}");
            for statement in rows.into_statements(backend, STORED, &body) {
                tx.execute_raw(statement).await?;
            }
        } else {
            // No statement of SQLite changes two tables.
            for body in [STORE_AGENTS, STORE_INSTANCES] {
                for statement in rows.clone().into_statements(backend, STORED, body) {
                    tx.execute_raw(statement).await?;
                }
            }
        }
        Ok(())
    }
}

impl AgentSlots {
    fn row(
        &self,
        id: &AgentId,
        instance: Option<&InstanceSlots>,
        is_first: bool,
        now: Timestamp,
    ) -> [Value; 14] {
        [
            id.as_str().into(),
            is_first.into(),
            self.desired.as_str().into(),
            small(self.running).into(),
            self.queued.into(),
            self.added.sessions.into(),
            self.added.completed.into(),
            self.added.failed.into(),
            self.added.busy_micros.into(),
            self.added.tokens.into(),
            self.added.cost.into(),
            self.reconcile.then(|| now.as_micros()).into(),
            instance.map(|instance| instance.instance_id.uuid()).into(),
            instance.map(|instance| small(instance.running)).into(),
        ]
    }
}

const STORED: [&str; 14] = [
    "id",
    "is_first",
    "wanted",
    "now_running",
    "now_queued",
    "add_sessions",
    "add_completed",
    "add_failed",
    "add_micros",
    "add_tokens",
    "add_cost",
    "wake_at",
    "instance",
    "runs_there",
];

const STORE_AGENTS: &str = "UPDATE agents SET desired = v.wanted, running = v.now_running, queued = v.now_queued, \
    sessions = agents.sessions + v.add_sessions, completed = agents.completed + v.add_completed, \
    failed = agents.failed + v.add_failed, busy_micros = agents.busy_micros + v.add_micros, \
    tokens = agents.tokens + v.add_tokens, cost = agents.cost + v.add_cost, \
    reconcile_at = COALESCE(v.wake_at, agents.reconcile_at) \
    FROM v WHERE agents.agent_id = v.id AND v.is_first";

const STORE_INSTANCES: &str = "UPDATE agent_instances SET running = v.runs_there FROM v WHERE agent_instances.instance_id = v.instance";

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

fn agent_slots(row: &QueryResult, options: &LedgerOptions) -> Result<AgentSlots, LedgerError> {
    let limit = row
        .try_get_by_index::<Option<i32>>(3)?
        .map(|limit| count("max_concurrent_sessions", limit.into()));
    Ok(AgentSlots {
        desired: name("desired", &row.try_get_by_index::<String>(1)?)?,
        status: name("status", &row.try_get_by_index::<String>(2)?)?,
        limit: limit
            .transpose()?
            .unwrap_or(options.max_concurrent_sessions),
        running: count("running", row.try_get_by_index::<i32>(4)?.into())?,
        queued: row.try_get_by_index(5)?,
        instances: Vec::new(),
        reconcile: false,
        changed: false,
        added: AddedTotals::default(),
    })
}

/// The instance of a row; an agent without one has a row without one.
fn instance_slots(row: &QueryResult) -> Result<Option<InstanceSlots>, LedgerError> {
    let Some(instance_id) = row.try_get_by_index::<Option<Uuid>>(6)? else {
        return Ok(None);
    };
    let capacity = row
        .try_get_by_index::<Option<i32>>(9)?
        .map(|capacity| count("capacity", capacity.into()));
    let state: InstanceState = name("state", &row.try_get_by_index::<String>(8)?)?;
    Ok(Some(InstanceSlots {
        instance_id: instance_id.into(),
        endpoint: row.try_get_by_index(7)?,
        healthy: state == InstanceState::Healthy,
        capacity: capacity.transpose()?,
        running: count("running", row.try_get_by_index::<i32>(10)?.into())?,
        changed: false,
    }))
}
