//! From the rows of a lock to slots.

use sea_orm::QueryResult;
use uuid::Uuid;

use super::super::convert::{agent_id, at, count, name};
use super::super::{LedgerError, LedgerOptions};
use super::agent::{AgentSlots, InstanceSlots};
use crate::domain::{AgentId, Capacity, Circuit, Place, Timestamp};

/// What is read of an agent, in this order.
pub(super) const AGENT: &str =
    "agent_id, desired, status, max_concurrent_sessions, running, queued, load_balancing";
/// How many columns that is.
const AGENT_COLUMNS: usize = 7;

/// What is read of an instance, behind its agent and in this order.
pub(super) const INSTANCE: &str = "instance_id, endpoint, state, capacity, running AS runs, draining, weight, turn, \
    learnt_limit, limit_lowered_at, latency_short, latency_long, latency_samples, circuit, circuit_since, \
    circuit_until, circuit_failures, failure_rate, circuit_openings";

/// Which agent a row is of, and how many sessions it may have.
pub(super) fn agent_and_limit(
    row: &QueryResult,
    options: &LedgerOptions,
) -> Result<(AgentId, u32), LedgerError> {
    let limit = row
        .try_get_by_index::<Option<i32>>(3)?
        .map(|limit| count("max_concurrent_sessions", limit.into()));
    let limit = limit
        .transpose()?
        .unwrap_or(options.max_concurrent_sessions);
    Ok((agent_id(&row.try_get_by_index::<String>(0)?)?, limit))
}

pub(super) fn agent_slots(row: &QueryResult, limit: u32) -> Result<AgentSlots, LedgerError> {
    Ok(AgentSlots {
        desired: name("desired", &row.try_get_by_index::<String>(1)?)?,
        status: name("status", &row.try_get_by_index::<String>(2)?)?,
        limit,
        running: count("running", row.try_get_by_index::<i32>(4)?.into())?,
        queued: row.try_get_by_index(5)?,
        policy: name("load_balancing", &row.try_get_by_index::<String>(6)?)?,
        instances: Vec::new(),
        reconcile: false,
        changed: false,
        added: Default::default(),
    })
}

/// The instance of a row; an agent without one has a row without one. `limit` is that of its agent.
pub(super) fn instance_slots(
    row: &QueryResult,
    limit: u32,
) -> Result<Option<InstanceSlots>, LedgerError> {
    let mut next = AGENT_COLUMNS..;
    let mut index = || next.next().unwrap_or_default();
    let Some(instance_id) = row.try_get_by_index::<Option<Uuid>>(index())? else {
        return Ok(None);
    };
    let endpoint = row.try_get_by_index(index())?;
    let state = name("state", &row.try_get_by_index::<String>(index())?)?;
    let configured = match row.try_get_by_index::<Option<i32>>(index())? {
        Some(capacity) => count("capacity", capacity.into())?,
        None => limit,
    };
    let running = count("running", row.try_get_by_index::<i32>(index())?.into())?;
    let draining = row.try_get_by_index(index())?;
    let weight = count("weight", row.try_get_by_index::<i32>(index())?.into())?;
    let turn = row.try_get_by_index(index())?;
    let learnt = row.try_get_by_index::<Option<i32>>(index())?;
    let capacity = Capacity {
        learnt: learnt
            .map(|learnt| count("learnt_limit", learnt.into()))
            .transpose()?,
        lowered_at: Timestamp::from_micros(row.try_get_by_index(index())?),
        short: row.try_get_by_index(index())?,
        long: row.try_get_by_index(index())?,
        samples: count(
            "latency_samples",
            row.try_get_by_index::<i32>(index())?.into(),
        )?,
    };
    let circuit = Circuit {
        state: name("circuit", &row.try_get_by_index::<String>(index())?)?,
        since: Timestamp::from_micros(row.try_get_by_index(index())?),
        until: at(row.try_get_by_index(index())?),
        failures: count(
            "circuit_failures",
            row.try_get_by_index::<i32>(index())?.into(),
        )?,
        failure_rate: row.try_get_by_index(index())?,
        openings: count(
            "circuit_openings",
            row.try_get_by_index::<i32>(index())?.into(),
        )?,
    };
    let place = Place {
        state,
        draining,
        running,
        configured,
        weight,
        turn,
        capacity,
        circuit,
    };
    Ok(Some(InstanceSlots::new(
        instance_id.into(),
        endpoint,
        place,
    )))
}
