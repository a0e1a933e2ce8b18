//! Writing slots back, with what was learnt: one statement for PostgreSQL, one for each table for SQLite.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, Value};

use super::super::LedgerError;
use super::super::convert::small;
use super::super::rows::Rows;
use super::agent::{AgentSlots, InstanceSlots};
use crate::domain::{AgentId, Place, Timestamp};

const STORED: [&str; 27] = [
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
    "found",
    "next_turn",
    "learnt",
    "lowered_at",
    "short",
    "long",
    "samples",
    "is_circuit",
    "since",
    "until",
    "failures",
    "rate",
    "openings",
];

const STORE_AGENTS: &str = "UPDATE agents SET desired = v.wanted, running = v.now_running, queued = v.now_queued, \
    sessions = agents.sessions + v.add_sessions, completed = agents.completed + v.add_completed, \
    failed = agents.failed + v.add_failed, busy_micros = agents.busy_micros + v.add_micros, \
    tokens = agents.tokens + v.add_tokens, cost = agents.cost + v.add_cost, \
    reconcile_at = COALESCE(v.wake_at, agents.reconcile_at) \
    FROM v WHERE agents.agent_id = v.id AND v.is_first";

const STORE_INSTANCES: &str = "UPDATE agent_instances SET running = v.runs_there, state = v.found, turn = v.next_turn, \
    learnt_limit = v.learnt, limit_lowered_at = v.lowered_at, latency_short = v.short, latency_long = v.long, \
    latency_samples = v.samples, circuit = v.is_circuit, circuit_since = v.since, circuit_until = v.until, \
    circuit_failures = v.failures, failure_rate = v.rate, circuit_openings = v.openings \
    FROM v WHERE agent_instances.instance_id = v.instance";

pub(super) async fn store(
    agents: &BTreeMap<AgentId, AgentSlots>,
    tx: &DatabaseTransaction,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let mut rows: Rows<{ STORED.len() }> = Rows::new();
    for (id, slots) in agents.iter().filter(|(_, slots)| slots.changed) {
        let mut instances = slots.instances.iter().filter(|i| i.changed);
        rows.push(row(slots, id, instances.next(), true, now));
        for instance in instances {
            rows.push(row(slots, id, Some(instance), false, now));
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

fn row(
    slots: &AgentSlots,
    id: &AgentId,
    instance: Option<&InstanceSlots>,
    is_first: bool,
    now: Timestamp,
) -> [Value; STORED.len()] {
    let place: Option<&Place> = instance.map(|instance| &instance.place);
    let capacity = place.map(|place| &place.capacity);
    let circuit = place.map(|place| &place.circuit);
    let until = circuit.and_then(|circuit| circuit.until);
    [
        id.as_str().into(),
        is_first.into(),
        slots.desired.as_str().into(),
        small(slots.running).into(),
        slots.queued.into(),
        slots.added.sessions.into(),
        slots.added.completed.into(),
        slots.added.failed.into(),
        slots.added.busy_micros.into(),
        slots.added.tokens.into(),
        slots.added.cost.into(),
        slots.reconcile.then(|| now.as_micros()).into(),
        instance.map(|instance| instance.instance_id.uuid()).into(),
        place.map(|place| small(place.running)).into(),
        place.map(|place| place.state.as_str()).into(),
        place.map(|place| place.turn).into(),
        capacity
            .and_then(|capacity| capacity.learnt)
            .map(small)
            .into(),
        capacity
            .map(|capacity| capacity.lowered_at.as_micros())
            .into(),
        capacity.map(|capacity| capacity.short).into(),
        capacity.map(|capacity| capacity.long).into(),
        capacity.map(|capacity| small(capacity.samples)).into(),
        circuit.map(|circuit| circuit.state.as_str()).into(),
        circuit.map(|circuit| circuit.since.as_micros()).into(),
        until.map(Timestamp::as_micros).into(),
        circuit.map(|circuit| small(circuit.failures)).into(),
        circuit.map(|circuit| circuit.failure_rate).into(),
        circuit.map(|circuit| small(circuit.openings)).into(),
    ]
}
