//! Accepting tasks: idempotent by `task_id`; what may start at once is written already running.

use std::collections::{BTreeMap, HashMap, HashSet};

use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement, Value};
use uuid::Uuid;

use super::affinity::Affinity;
use super::convert::name;
use super::insert::Row;
use super::rows::in_list;
use super::slots::Slots;
use super::{Ledger, LedgerError, Started};
use crate::domain::{AgentId, Claim, NewTask, TaskId, TaskStatus, Timestamp, Usage, WorkerId};

/// What became of a task that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingestion {
    /// The task.
    pub task_id: TaskId,
    /// What became of it.
    pub outcome: Ingested,
}

/// What became of a task that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// The ledger has it now.
    New {
        /// Where it stands.
        status: TaskStatus,
        /// How many tasks of its agent waited when it came.
        waiting: u64,
    },
    /// The ledger had it already.
    Repeated {
        /// Where it stands.
        status: TaskStatus,
    },
    /// The ledger has another task with this identifier.
    Conflict,
    /// Its agent is not registered.
    UnknownAgent,
}

impl Ingested {
    /// For metrics and traces.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::New { .. } => "new",
            Self::Repeated { .. } => "repeated",
            Self::Conflict => "conflict",
            Self::UnknownAgent => "unknown_agent",
        }
    }
}

impl Ledger {
    /// Inserts what is new; `shares` says how many tasks of each agent may start.
    pub(super) async fn insert(
        &self,
        tx: &DatabaseTransaction,
        slots: &mut Slots,
        shares: BTreeMap<AgentId, u32>,
        arrivals: Vec<NewTask>,
        worker_id: WorkerId,
        now: Timestamp,
    ) -> Result<(Vec<Ingestion>, Vec<Started>), LedgerError> {
        if arrivals.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut rows = plan(slots, &arrivals, now);
        let sessions = rows
            .iter()
            .filter(|row| shares.contains_key(&row.task.agent_id))
            .map(|row| (&row.task.agent_id, row.task.session_id.as_ref()));
        let affinity = Affinity::of(tx, slots, sessions).await?;
        start_rows(&mut rows, slots, affinity, shares, worker_id, now);
        let new = self.insert_rows(tx, &rows, now).await?;
        let mut old: Vec<TaskId> = rows
            .iter()
            .map(|row| row.task.task_id)
            .filter(|id| !new.contains(&id.uuid()))
            .collect();
        old.extend(repeats(&arrivals));
        let known = known_tasks(tx, old).await?;

        let mut outcomes = HashMap::with_capacity(arrivals.len());
        let mut started = Vec::new();
        for row in rows {
            let Some(agent) = slots.get_mut(&row.task.agent_id) else {
                continue;
            };
            let inserted = new.contains(&row.task.task_id.uuid());
            match (row.start, inserted) {
                (Some((claim, endpoint)), true) => started.push(Started {
                    claim,
                    task: row.task.clone(),
                    endpoint,
                    used: Usage::default(),
                    may_run_until: None,
                }),
                (Some((claim, _)), false) => agent.give_back(claim.instance_id, now),
                (None, _) => {}
            }
            if inserted {
                let waiting = u64::try_from(agent.queued).unwrap_or(0);
                if row.status == TaskStatus::Queued {
                    agent.add_queued(1);
                }
                if self.options.auto_start {
                    agent.start_if_idle();
                }
                outcomes.insert(
                    row.task.task_id,
                    Ingested::New {
                        status: row.status,
                        waiting,
                    },
                );
            }
        }
        let ingestions = arrivals
            .iter()
            .map(|task| {
                // The first of several arrivals with one identifier is the new one.
                let outcome = outcomes
                    .remove(&task.task_id)
                    .unwrap_or_else(|| known_outcome(task, &known));
                Ingestion {
                    task_id: task.task_id,
                    outcome,
                }
            })
            .collect();
        Ok((ingestions, started))
    }
}

/// The arrivals that can be inserted: the first with each identifier, of agents that exist, most urgent first.
fn plan<'a>(slots: &Slots, arrivals: &'a [NewTask], now: Timestamp) -> Vec<Row<'a>> {
    let mut seen = HashSet::with_capacity(arrivals.len());
    let mut rows: Vec<Row<'a>> = arrivals
        .iter()
        .filter(|task| seen.insert(task.task_id))
        .filter(|task| {
            slots
                .get(&task.agent_id)
                .is_some_and(|agent| !agent.is_removed())
        })
        .map(|task| Row {
            task,
            status: status_on_arrival(task, now),
            start: None,
        })
        .collect();
    rows.sort_by_key(|row| {
        (
            std::cmp::Reverse(row.task.priority),
            row.task.submitted_at,
            row.task.task_id,
        )
    });
    rows
}

/// Where a task stands that is not started at once.
pub(super) fn status_on_arrival(task: &NewTask, now: Timestamp) -> TaskStatus {
    if task.run_at.is_some_and(|run_at| run_at > now) {
        TaskStatus::Scheduled
    } else {
        TaskStatus::Queued
    }
}

/// Gives slots to the rows that may start now.
fn start_rows(
    rows: &mut [Row<'_>],
    slots: &mut Slots,
    mut affinity: Affinity,
    mut shares: BTreeMap<AgentId, u32>,
    worker_id: WorkerId,
    now: Timestamp,
) {
    for row in rows {
        let agent_id = &row.task.agent_id;
        let session_id = row.task.session_id.as_ref();
        // While others of the agent wait, a new one waits with them and is claimed in its turn.
        if let Some(share) = shares.get_mut(agent_id)
            && *share > 0
            && row.status == TaskStatus::Queued
            && let Some(agent) = slots.get_mut(agent_id)
            && agent.queued == 0
            && let Some(slot) = agent.take(affinity.get(agent_id, session_id), None, now)
        {
            *share -= 1;
            affinity.note(agent.policy, agent_id, session_id, slot.instance_id);
            row.status = TaskStatus::Running;
            let claim = first_claim(row.task, worker_id, slot.instance_id, now);
            row.start = Some((claim, slot.endpoint));
        }
    }
}

fn first_claim(
    task: &NewTask,
    worker_id: WorkerId,
    instance_id: crate::domain::InstanceId,
    now: Timestamp,
) -> Claim {
    Claim {
        task_id: task.task_id,
        agent_id: task.agent_id.clone(),
        worker_id,
        instance_id,
        number: 1,
        attempt: 1,
        max_attempts: task.max_attempts,
        crashes: 0,
        started_at: now,
        waited: Some(task.waited_until(now)),
    }
}

/// Identifiers that occur more than once among the arrivals.
fn repeats(arrivals: &[NewTask]) -> Vec<TaskId> {
    let mut seen = HashSet::with_capacity(arrivals.len());
    arrivals
        .iter()
        .map(|task| task.task_id)
        .filter(|id| !seen.insert(*id))
        .collect()
}

struct KnownTask {
    status: TaskStatus,
    agent_id: String,
    fingerprint: Option<Vec<u8>>,
}

async fn known_tasks(
    tx: &DatabaseTransaction,
    ids: Vec<TaskId>,
) -> Result<HashMap<Uuid, KnownTask>, LedgerError> {
    let mut known = HashMap::new();
    for ids in ids.chunks(256) {
        let (list, values) = in_list(ids.iter().map(|id| Value::from(id.uuid())).collect());
        let sql = format!(
            "SELECT task_id, status, agent_id, fingerprint FROM tasks WHERE task_id IN {list}"
        );
        for row in tx
            .query_all_raw(Statement::from_sql_and_values(
                tx.get_database_backend(),
                sql,
                values,
            ))
            .await?
        {
            let task = KnownTask {
                status: name("status", &row.try_get_by_index::<String>(1)?)?,
                agent_id: row.try_get_by_index(2)?,
                fingerprint: row.try_get_by_index(3)?,
            };
            known.insert(row.try_get_by_index::<Uuid>(0)?, task);
        }
    }
    Ok(known)
}

fn known_outcome(task: &NewTask, known: &HashMap<Uuid, KnownTask>) -> Ingested {
    let Some(existing) = known.get(&task.task_id.uuid()) else {
        return Ingested::UnknownAgent;
    };
    let same = match (&task.fingerprint, &existing.fingerprint) {
        (Some(new), Some(old)) => new.as_slice() == old.as_slice(),
        (None, _) | (_, None) => task.agent_id.as_str() == existing.agent_id,
    };
    if same {
        Ingested::Repeated {
            status: existing.status,
        }
    } else {
        Ingested::Conflict
    }
}
