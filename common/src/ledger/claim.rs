//! Taking waiting tasks: the most urgent of each agent first, and every agent its fair share of a worker's room.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, Order, QueryFilter, QueryOrder,
    QuerySelect, Value,
};

use super::affinity::Affinity;
use super::convert::{at, count, small};
use super::entity::tasks;
use super::ingest::status_on_arrival;
use super::rows::Rows;
use super::slots::Slots;
use super::{Ledger, LedgerError, Started};
use crate::domain::{AgentId, Claim, NewTask, TaskRecord, TaskStatus, Timestamp, WorkerId};

const COLUMNS: [&str; 5] = ["id", "worker", "instance", "number", "at"];

const START: &str = "UPDATE tasks SET status = 'running', worker_id = v.worker, instance_id = v.instance, \
     started_at = v.at, claims = v.number, attempt = tasks.attempt + 1 FROM v WHERE tasks.task_id = v.id";

/// How many tasks of each agent may start: what it could use, and of a scarce room its fair share.
pub(super) fn shares(
    slots: &Slots,
    arrivals: &[NewTask],
    room: u32,
    now: Timestamp,
) -> BTreeMap<AgentId, u32> {
    let mut arriving: BTreeMap<&AgentId, u32> = BTreeMap::new();
    for task in arrivals
        .iter()
        .filter(|task| status_on_arrival(task, now) == TaskStatus::Queued)
    {
        *arriving.entry(&task.agent_id).or_default() += 1;
    }
    let mut wanting: Vec<Wanting<'_>> = slots
        .iter()
        .map(|(id, agent)| {
            let waiting = u32::try_from(agent.queued)
                .unwrap_or(0)
                .saturating_add(*arriving.get(id).unwrap_or(&0));
            Wanting {
                id,
                wants: agent.free(now).min(waiting),
                running: agent.running,
            }
        })
        .filter(|wanting| wanting.wants > 0)
        .collect();
    fair_shares(&mut wanting, room)
}

struct Wanting<'a> {
    id: &'a AgentId,
    wants: u32,
    running: u32,
}

/// Gives out `room` so that agents with few running tasks come first.
fn fair_shares(wanting: &mut [Wanting<'_>], mut room: u32) -> BTreeMap<AgentId, u32> {
    wanting.sort_by_key(|agent| agent.running);
    let mut shares = BTreeMap::new();
    let total: u32 = wanting
        .iter()
        .map(|agent| agent.wants)
        .fold(0, u32::saturating_add);
    if total <= room {
        shares.extend(wanting.iter().map(|agent| (agent.id.clone(), agent.wants)));
        return shares;
    }
    while room > 0 && wanting.iter().any(|agent| agent.wants > 0) {
        let takers = u32::try_from(wanting.iter().filter(|agent| agent.wants > 0).count())
            .unwrap_or(u32::MAX);
        let each = (room / takers).max(1);
        for agent in wanting.iter_mut().filter(|agent| agent.wants > 0) {
            let given = agent.wants.min(each).min(room);
            agent.wants -= given;
            room -= given;
            *shares.entry(agent.id.clone()).or_default() += given;
        }
    }
    shares
}

impl Ledger {
    /// Starts up to `shares` of the waiting tasks of each agent.
    pub(super) async fn claim(
        &self,
        tx: &DatabaseTransaction,
        slots: &mut Slots,
        shares: &BTreeMap<AgentId, u32>,
        worker_id: WorkerId,
        now: Timestamp,
    ) -> Result<Vec<Started>, LedgerError> {
        let mut started = Vec::new();
        for (agent_id, share) in shares.iter().filter(|(_, share)| **share > 0) {
            let Some(agent) = slots.get(agent_id).filter(|agent| agent.queued > 0) else {
                continue;
            };
            let rows = most_urgent(tx, agent_id, (*share).min(agent.free(now))).await?;
            let waiting = rows
                .into_iter()
                .map(|row| Ok((Waiting::of(&row)?, TaskRecord::try_from(row)?)))
                .collect::<Result<Vec<_>, LedgerError>>()?;
            let sessions = waiting
                .iter()
                .map(|(_, record)| (agent_id, record.task.session_id.as_ref()));
            let mut affinity = Affinity::of(tx, slots, sessions).await?;
            let Some(agent) = slots.get_mut(agent_id) else {
                continue;
            };
            for (waiting, record) in waiting {
                let session_id = record.task.session_id.as_ref();
                let preferred = affinity.get(agent_id, session_id);
                // Where it was tried before is the last place where it is tried again.
                let Some(slot) = agent.take(preferred, record.instance_id, now) else {
                    break;
                };
                affinity.note(agent.policy, agent_id, session_id, slot.instance_id);
                agent.add_queued(-1);
                let claim = Claim {
                    task_id: record.task.task_id,
                    agent_id: agent_id.clone(),
                    worker_id,
                    instance_id: slot.instance_id,
                    number: waiting.claims + 1,
                    attempt: record.attempt + 1,
                    max_attempts: record.task.max_attempts,
                    crashes: waiting.crashes,
                    started_at: now,
                    waited: (waiting.claims == 0).then(|| record.task.waited_until(now)),
                };
                started.push(Started {
                    claim,
                    used: record.usage,
                    task: record.task,
                    endpoint: slot.endpoint,
                    may_run_until: waiting.may_run_until.filter(|until| *until > now),
                });
            }
        }
        let rows: Rows<5> = started.iter().map(|task| values_of(&task.claim)).collect();
        for statement in rows.into_statements(tx.get_database_backend(), COLUMNS, START) {
            tx.execute_raw(statement).await?;
        }
        Ok(started)
    }
}

/// What of a waiting task only a claim needs.
struct Waiting {
    claims: u32,
    crashes: u32,
    may_run_until: Option<Timestamp>,
}

impl Waiting {
    fn of(row: &tasks::Model) -> Result<Self, LedgerError> {
        Ok(Self {
            claims: count("claims", row.claims.into())?,
            crashes: count("crashes", row.crashes.into())?,
            may_run_until: at(row.may_run_until),
        })
    }
}

async fn most_urgent(
    tx: &DatabaseTransaction,
    agent_id: &AgentId,
    limit: u32,
) -> Result<Vec<tasks::Model>, LedgerError> {
    let query = tasks::Entity::find()
        .filter(tasks::Column::AgentId.eq(agent_id.as_str()))
        // Written out, not bound: a partial index is used only where its condition can be seen.
        .filter(sea_orm::sea_query::Expr::cust("status = 'queued'"))
        .order_by(tasks::Column::Priority, Order::Desc)
        .order_by(tasks::Column::SubmittedAt, Order::Asc)
        .order_by(tasks::Column::TaskId, Order::Asc)
        .limit(u64::from(limit));
    Ok(query.all(tx).await?)
}

fn values_of(claim: &Claim) -> [Value; 5] {
    [
        claim.task_id.uuid().into(),
        claim.worker_id.uuid().into(),
        claim.instance_id.uuid().into(),
        small(claim.number).into(),
        claim.started_at.as_micros().into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scarce_room_is_shared_and_none_of_it_is_wasted() {
        let (a, b, c) = (
            AgentId::parse("a").unwrap(),
            AgentId::parse("b").unwrap(),
            AgentId::parse("c").unwrap(),
        );
        let shares = |wants: [u32; 3], running: [u32; 3], room| {
            let ids = [&a, &b, &c];
            let mut wanting: Vec<_> = (0..3)
                .map(|n| Wanting {
                    id: ids[n],
                    wants: wants[n],
                    running: running[n],
                })
                .collect();
            let shares = fair_shares(&mut wanting, room);
            ids.map(|id| shares.get(id).copied().unwrap_or(0))
        };
        assert_eq!(shares([1_000, 1, 0], [900, 0, 0], 100), [99, 1, 0]);
        assert_eq!(shares([1_000, 1, 0], [900, 0, 0], 1), [0, 1, 0]);
        assert_eq!(shares([10, 10, 10], [0, 0, 0], 100), [10, 10, 10]);
        assert_eq!(shares([50, 50, 50], [0, 0, 0], 30), [10, 10, 10]);
        assert_eq!(shares([5, 5, 5], [0, 0, 0], 0), [0, 0, 0]);
    }
}
