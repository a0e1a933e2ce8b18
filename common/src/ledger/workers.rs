//! Workers: who is there, who was not heard of for too long, and what becomes of the tasks of the lost.

use std::collections::BTreeMap;

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseBackend, DatabaseTransaction,
    EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement, sea_query::OnConflict,
};

use super::convert::{agent_id, count};
use super::entity::{tasks, workers};
use super::slots::Slots;
use super::{Connections, Ledger, LedgerError, Recorded};
use crate::domain::{Claim, Completion, Outcome, Timestamp, Usage, WorkerId};

/// The most tasks that one recovery transaction puts back.
const BATCH: u64 = 500;

/// A worker process.
#[derive(Clone, Debug)]
pub struct WorkerRecord {
    /// Its identifier; a restarted process has another.
    pub worker_id: WorkerId,
    /// Where it runs.
    pub host: String,
    /// How many tasks it runs at once.
    pub capacity: u32,
}

/// A worker process as the ledger last saw it.
#[derive(Clone, Debug)]
pub struct WorkerSeen {
    /// The worker.
    pub worker: WorkerRecord,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last said that it is alive.
    pub heartbeat_at: Timestamp,
}

/// Who is there.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// The workers that have neither stopped nor been given up, oldest first.
    pub workers: Vec<WorkerSeen>,
    /// How many agents are in which state, by its name.
    pub agents: BTreeMap<String, u64>,
}

impl Ledger {
    /// The workers and the numbers of agents.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn cluster(&self) -> Result<Cluster, LedgerError> {
        let counting =
            "SELECT status, COUNT(*) FROM agents WHERE desired <> 'removed' GROUP BY status";
        let (workers, agents) = self
            .within(|db| async move {
                let workers = workers::Entity::find()
                    .order_by_asc(workers::Column::StartedAt)
                    .order_by_asc(workers::Column::WorkerId)
                    .all(&db.read)
                    .await?;
                Ok((workers, db.query(counting, []).await?))
            })
            .await?;
        let seen = workers.into_iter().map(|row| {
            Ok(WorkerSeen {
                worker: WorkerRecord {
                    worker_id: row.worker_id.into(),
                    host: row.host,
                    capacity: count("capacity", row.capacity.into())?,
                },
                started_at: Timestamp::from_micros(row.started_at),
                heartbeat_at: Timestamp::from_micros(row.heartbeat_at),
            })
        });
        let counted = agents.iter().map(|row| {
            let number = count("count", row.try_get_by_index::<i64>(1)?)?;
            Ok((row.try_get_by_index(0)?, number))
        });
        Ok(Cluster {
            workers: seen.collect::<Result<_, LedgerError>>()?,
            agents: counted.collect::<Result<_, LedgerError>>()?,
        })
    }

    /// Notes that a worker is alive.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn heartbeat(
        &self,
        worker: &WorkerRecord,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let row = workers::ActiveModel {
            worker_id: Set(worker.worker_id.uuid()),
            host: Set(worker.host.clone()),
            capacity: Set(super::convert::small(worker.capacity)),
            started_at: Set(now.as_micros()),
            heartbeat_at: Set(now.as_micros()),
        };
        let conflict = OnConflict::column(workers::Column::WorkerId)
            .update_columns([workers::Column::HeartbeatAt, workers::Column::Capacity])
            .to_owned();
        let insert = workers::Entity::insert(row).on_conflict(conflict);
        self.within(|db| async {
            insert.exec_without_returning(&db.write).await?;
            Ok(())
        })
        .await
    }

    /// Removes a worker that stopped in order, with nothing left running, and frees the agents it was reconciling.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn sign_off(&self, worker_id: WorkerId) -> Result<(), LedgerError> {
        self.within(|db| forget(db, worker_id)).await
    }

    /// Puts back what a lost worker was running and forgets the worker; returns what became of its tasks.
    ///
    /// A crash in the middle leaves the rest to whoever calls this next: the worker is forgotten last. Where another
    /// is recovering the same worker right now, this does nothing.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn recover(
        &self,
        lost: WorkerId,
        now: Timestamp,
    ) -> Result<Vec<Recorded>, LedgerError> {
        let mut recovered = Vec::new();
        loop {
            match self.within(|db| self.recover_batch(db, lost, now)).await? {
                Batch::Recovered(batch) if batch.len() as u64 >= BATCH => recovered.extend(batch),
                Batch::Recovered(batch) => {
                    recovered.extend(batch);
                    break;
                }
                Batch::Elsewhere => return Ok(recovered),
            }
        }
        self.within(|db| async move {
            self.free_leases(db, lost, now).await?;
            self.free_callbacks(db, lost, now).await?;
            forget(db, lost).await
        })
        .await?;
        Ok(recovered)
    }

    async fn recover_batch(
        &self,
        db: &Connections,
        lost: WorkerId,
        now: Timestamp,
    ) -> Result<Batch, LedgerError> {
        let tx = db.begin().await?;
        if !is_first_to_recover(&tx, lost).await? {
            return Ok(Batch::Elsewhere);
        }
        let rows = tasks::Entity::find()
            .filter(tasks::Column::WorkerId.eq(lost.uuid()))
            .filter(sea_orm::sea_query::Expr::cust("status = 'running'"))
            .limit(BATCH)
            .all(&tx)
            .await?;
        let completions = rows.iter().map(lost_claim).collect::<Result<Vec<_>, _>>()?;
        let agents = completions
            .iter()
            .map(|lost| lost.claim.agent_id.clone())
            .collect();
        let mut slots = Slots::lock(&tx, agents, &self.options).await?;
        let recovered = self.complete(&tx, &mut slots, completions, now).await?;
        slots.store(&tx, now).await?;
        if !recovered.is_empty() {
            let detail = Some(format!("{} tasks put back", recovered.len()));
            self.note(&tx, "worker.lost", &lost.to_string(), detail, now)
                .await?;
        }
        tx.commit().await?;
        Ok(Batch::Recovered(recovered))
    }
}

async fn forget(db: &Connections, worker_id: WorkerId) -> Result<(), LedgerError> {
    let row = workers::Entity::delete_by_id(worker_id.uuid());
    row.exec(&db.write).await?;
    Ok(())
}

/// One step of a recovery.
enum Batch {
    Recovered(Vec<Recorded>),
    /// Another worker is at it.
    Elsewhere,
}

/// Of several workers that notice a loss together one does the work. The fence would refuse the others anyway; this
/// spares them from waiting for the locks of every agent only to learn that.
async fn is_first_to_recover(
    tx: &DatabaseTransaction,
    lost: WorkerId,
) -> Result<bool, LedgerError> {
    if tx.get_database_backend() != DatabaseBackend::Postgres {
        return Ok(true);
    }
    // Keys of two numbers are apart from those of one, which mark who is present.
    let low = lost.uuid().as_u64_pair().1;
    let sql = "SELECT pg_try_advisory_xact_lock($1, $2)";
    let halves = [
        ((low >> 32) as u32).cast_signed().into(),
        (low as u32).cast_signed().into(),
    ];
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, halves);
    let row = tx.query_one_raw(statement).await?;
    Ok(row.is_some_and(|row| row.try_get_by_index(0).unwrap_or(false)))
}

/// The current claim on a running task.
pub(super) fn claim_of(row: &tasks::Model) -> Result<Claim, LedgerError> {
    let number = count("claims", row.claims.into())?;
    let started_at = Timestamp::from_micros(row.started_at.unwrap_or(row.submitted_at));
    let since = Timestamp::from_micros(row.submitted_at.max(row.run_at.unwrap_or(i64::MIN)));
    let missing = || LedgerError::Corrupt("a running task has no worker or instance".into());
    Ok(Claim {
        task_id: row.task_id.into(),
        agent_id: agent_id(&row.agent_id)?,
        worker_id: row.worker_id.ok_or_else(missing)?.into(),
        instance_id: row.instance_id.ok_or_else(missing)?.into(),
        number,
        attempt: count("attempt", row.attempt.into())?,
        max_attempts: count("max_attempts", row.max_attempts.into())?,
        crashes: count("crashes", row.crashes.into())?,
        started_at,
        waited: (number == 1).then(|| started_at.since(since)),
    })
}

fn lost_claim(row: &tasks::Model) -> Result<Completion, LedgerError> {
    Ok(Completion {
        claim: claim_of(row)?,
        outcome: Outcome::WorkerLost,
        usage: Usage::default(),
    })
}
