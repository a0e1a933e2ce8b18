//! Probes: which instances are due to be asked how they are, and what they answered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, Statement, Value};
use uuid::Uuid;

use super::convert::agent_id;
use super::rows::Rows;
use super::slots::Slots;
use super::{CircuitChange, Connections, Ledger, LedgerError};
use crate::domain::{AgentId, InstanceId, InstanceState, Timestamp};

/// So many probes in a row have to fail before an instance is taken for unhealthy: one may be lost on the way.
const FAILURES: i32 = 2;

/// An instance that is to be asked how it is.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Its agent.
    pub agent_id: AgentId,
    /// The instance.
    pub instance_id: InstanceId,
    /// Where it is asked.
    pub endpoint: String,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found {
    /// It takes tasks, and reports to use so many megabytes.
    Well(Option<f64>),
    /// It did not answer, or not as an agent does.
    Failed,
    /// It is not known there any more, or will not recover: it has to be made again.
    Lost,
}

/// What became of an instance by a probe.
#[derive(Clone, Debug)]
pub enum ProbeChange {
    /// It is now observed to be this.
    State(AgentId, InstanceId, InstanceState),
    /// Its circuit came to stand elsewhere.
    Circuit(CircuitChange),
}

impl Ledger {
    /// Takes up to `limit` instances that are due to be probed; nobody else gets them within `every`.
    ///
    /// Who crashes then has left out one probe of each.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn claim_probes(
        &self,
        every: Duration,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Probe>, LedgerError> {
        // An instance that a dispatch is writing to right now is looked at next time.
        let lock = match self.backend() {
            DatabaseBackend::Postgres => "FOR UPDATE SKIP LOCKED",
            _ => "",
        };
        let sql = format!(
            "WITH due AS MATERIALIZED (SELECT instance_id AS id FROM agent_instances \
             WHERE probe_at <= $1 ORDER BY probe_at LIMIT $2 {lock}) \
             UPDATE agent_instances SET probe_at = $3 FROM due WHERE agent_instances.instance_id = due.id \
             RETURNING agent_instances.agent_id, agent_instances.instance_id, agent_instances.endpoint"
        );
        let values: [Value; 3] = [
            now.as_micros().into(),
            i64::from(limit).into(),
            now.plus(every).as_micros().into(),
        ];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        let rows = self
            .within(|db| async move { Ok(db.write.query_all_raw(statement).await?) })
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Probe {
                    agent_id: agent_id(&row.try_get_by_index::<String>(0)?)?,
                    instance_id: row.try_get_by_index::<Uuid>(1)?.into(),
                    endpoint: row.try_get_by_index(2)?,
                })
            })
            .collect()
    }

    /// Notes what probes found; returns what changed by it. Instances that are gone are left out.
    ///
    /// A crash before the commit leaves it to the next probes.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn record_probes(
        &self,
        found: &[(Probe, Found)],
        now: Timestamp,
    ) -> Result<Vec<ProbeChange>, LedgerError> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        self.within(|db| self.record_probes_at_once(db, found, now))
            .await
    }

    async fn record_probes_at_once(
        &self,
        db: &Connections,
        found: &[(Probe, Found)],
        now: Timestamp,
    ) -> Result<Vec<ProbeChange>, LedgerError> {
        let agents: BTreeSet<AgentId> = found
            .iter()
            .map(|(probe, _)| probe.agent_id.clone())
            .collect();
        let tx = db.begin().await?;
        let mut slots = Slots::lock(&tx, agents, &self.options).await?;
        let failures = write(&tx, found, now).await?;
        let mut changes = Vec::new();
        for (
            Probe {
                agent_id,
                instance_id,
                ..
            },
            found,
        ) in found
        {
            let many = failures.get(instance_id).is_some_and(|n| *n >= FAILURES);
            let (state, is_well) = match found {
                Found::Well(_) => (Some(InstanceState::Healthy), true),
                Found::Failed => (many.then_some(InstanceState::Unhealthy), false),
                Found::Lost => (Some(InstanceState::Lost), false),
            };
            let Some(agent) = slots.get_mut(agent_id) else {
                continue;
            };
            if let Some(state) = agent.probed(*instance_id, state, is_well, now) {
                if state == InstanceState::Lost {
                    let detail = Some(format!("instance {instance_id}"));
                    self.note(&tx, "instance.lost", agent_id.as_str(), detail, now)
                        .await?;
                }
                changes.push(ProbeChange::State(agent_id.clone(), *instance_id, state));
            }
        }
        changes.extend(
            slots
                .circuit_changes()
                .into_iter()
                .map(ProbeChange::Circuit),
        );
        slots.store(&tx, now).await?;
        tx.commit().await?;
        Ok(changes)
    }

    /// How many instances there are, by what they are observed to be, and how many of them have a circuit that is not closed.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn instance_counts(
        &self,
    ) -> Result<(BTreeMap<InstanceState, u64>, u64), LedgerError> {
        let sql = "SELECT state, circuit <> 'closed' AS is_open, COUNT(*) FROM agent_instances GROUP BY 1, 2";
        let rows = self.within(|db| db.query(sql, [])).await?;
        let (mut states, mut open) = (BTreeMap::new(), 0);
        for row in rows {
            let state = super::convert::name("state", &row.try_get_by_index::<String>(0)?)?;
            let number: u64 = super::convert::count("count", row.try_get_by_index::<i64>(2)?)?;
            *states.entry(state).or_default() += number;
            if row.try_get_by_index::<bool>(1)? {
                open += number;
            }
        }
        Ok((states, open))
    }
}

/// Writes when each was asked, and returns how often in a row it has failed now.
async fn write(
    tx: &DatabaseTransaction,
    found: &[(Probe, Found)],
    now: Timestamp,
) -> Result<BTreeMap<InstanceId, i32>, LedgerError> {
    let rows: Rows<4> = found
        .iter()
        .map(|(probe, found)| {
            let (answered, memory) = match found {
                Found::Well(memory) => (true, *memory),
                Found::Failed | Found::Lost => (false, None),
            };
            [
                probe.instance_id.uuid().into(),
                answered.into(),
                memory.into(),
                now.as_micros().into(),
            ]
        })
        .collect();
    let body = "UPDATE agent_instances SET probe_failures = CASE WHEN v.answered THEN 0 ELSE agent_instances.probe_failures + 1 END, \
                last_health_check = CASE WHEN v.answered THEN v.at ELSE agent_instances.last_health_check END, \
                memory_usage_mb = CASE WHEN v.answered THEN v.memory ELSE agent_instances.memory_usage_mb END \
                FROM v WHERE agent_instances.instance_id = v.id RETURNING instance_id, probe_failures";
    let columns = ["id", "answered", "memory", "at"];
    let mut failures = BTreeMap::new();
    for statement in rows.into_statements(tx.get_database_backend(), columns, body) {
        for row in tx.query_all_raw(statement).await? {
            failures.insert(
                row.try_get_by_index::<Uuid>(0)?.into(),
                row.try_get_by_index::<i32>(1)?,
            );
        }
    }
    Ok(failures)
}
