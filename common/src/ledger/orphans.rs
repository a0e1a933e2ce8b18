//! Tasks that a worker started without knowing: the connection broke after the commit and before its answer.

use std::collections::HashSet;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::entity::tasks;
use super::slots::Slots;
use super::workers::claim_of;
use super::{Ledger, LedgerError, Recorded};
use crate::domain::{Completion, Outcome, TaskId, Timestamp, Usage, WorkerId};

impl Ledger {
    /// Hands back what runs under `worker_id` in the ledger and is not among `known`, the tasks that the worker runs
    /// or has results of; returns what was handed back.
    ///
    /// Only the worker itself may call this, and not while a dispatch of its own is under way. A crash before the
    /// commit leaves the tasks to the next call, or to the recovery of the worker.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn hand_back_unknown(
        &self,
        worker_id: WorkerId,
        known: &HashSet<TaskId>,
        now: Timestamp,
    ) -> Result<Vec<Recorded>, LedgerError> {
        self.within(|db| async move {
            let rows = tasks::Entity::find()
                .filter(tasks::Column::WorkerId.eq(worker_id.uuid()))
                .filter(sea_orm::sea_query::Expr::cust("status = 'running'"))
                .all(&db.write)
                .await?;
            let unknown = rows
                .iter()
                .filter(|row| !known.contains(&row.task_id.into()));
            let completions = unknown
                .map(|row| {
                    Ok(Completion {
                        claim: claim_of(row)?,
                        outcome: Outcome::HandedBack,
                        usage: Usage::default(),
                    })
                })
                .collect::<Result<Vec<_>, LedgerError>>()?;
            if completions.is_empty() {
                return Ok(Vec::new());
            }
            let agents = completions
                .iter()
                .map(|unknown| unknown.claim.agent_id.clone())
                .collect();
            let tx = db.begin().await?;
            let mut slots = Slots::lock(&tx, agents, &self.options).await?;
            let handed_back = self.complete(&tx, &mut slots, completions, now).await?;
            slots.store(&tx, now).await?;
            tx.commit().await?;
            Ok(handed_back)
        })
        .await
    }
}
