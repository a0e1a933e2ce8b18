//! What people do to runs: cancel them, go on with them, decide. The rest happens when the run is advanced, which is due
//! then; a crash after the commit delays it until the next look for due runs.

use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, Statement};

use super::super::{Connections, Ledger, LedgerError};
use super::rows::{SUMMARY, WHOLE, text, whole};
use crate::domain::Timestamp;
use crate::domain::workflow::{
    Decision, NotDecided, RunId, RunRecord, RunStatus, cancel, decide, resume,
};

/// Who decided, when it is not known who asks.
const NOBODY: &str = "unknown";

/// What became of the wish to cancel a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It is being cancelled.
    Now,
    /// It had been cancelled before, or ended otherwise.
    Already(RunStatus),
    /// There is no such run.
    Unknown,
}

/// What became of the wish to go on with a run that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// It goes on.
    Now,
    /// It has not failed.
    NotFailed(RunStatus),
    /// There is no such run.
    Unknown,
}

/// What became of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunDecided {
    /// It was taken.
    Now,
    /// It was not.
    Not(NotDecided),
    /// There is no such run.
    Unknown,
}

impl Ledger {
    /// Cancels a run: nothing more of it is started, and what runs is dropped.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn cancel_run(&self, run_id: RunId, now: Timestamp) -> Result<Stopped, LedgerError> {
        self.within(|db| async move {
            let tx = db.begin().await?;
            let Some(mut run) = lock(&tx, run_id).await? else {
                tx.rollback().await?;
                return Ok(Stopped::Unknown);
            };
            if !cancel(&mut run.summary.status) {
                // At once: who advances runs passes by those that are locked.
                tx.rollback().await?;
                return Ok(Stopped::Already(run.summary.status));
            }
            self.write(&tx, &run, "workflow.cancel", None, now).await?;
            tx.commit().await?;
            Ok(Stopped::Now)
        })
        .await
    }

    /// Goes on with a run that failed; what completed is kept.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn resume_run(&self, run_id: RunId, now: Timestamp) -> Result<Resumed, LedgerError> {
        self.within(|db| async move {
            let tx = db.begin().await?;
            let Some(mut run) = lock(&tx, run_id).await? else {
                tx.rollback().await?;
                return Ok(Resumed::Unknown);
            };
            if !resume(&mut run.summary.status, &mut run.state, &run.definition) {
                tx.rollback().await?;
                return Ok(Resumed::NotFailed(run.summary.status));
            }
            self.write(&tx, &run, "workflow.resume", None, now).await?;
            tx.commit().await?;
            Ok(Resumed::Now)
        })
        .await
    }

    /// Takes a decision in, once; who decided is whoever asks (see [`Self::by`]).
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn decide_step(
        &self,
        run_id: RunId,
        step_id: &str,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<RunDecided, LedgerError> {
        self.within(|db| self.decide_at_once(db, run_id, step_id, decision, now))
            .await
    }

    async fn decide_at_once(
        &self,
        db: &Connections,
        run_id: RunId,
        step_id: &str,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<RunDecided, LedgerError> {
        let tx = db.begin().await?;
        let Some(mut run) = lock(&tx, run_id).await? else {
            tx.rollback().await?;
            return Ok(RunDecided::Unknown);
        };
        let RunRecord {
            summary,
            definition,
            state,
            ..
        } = &mut run;
        let by = self
            .origin
            .as_ref()
            .map_or(NOBODY, |origin| origin.actor.as_str());
        let decided = decide(
            summary.status,
            state,
            definition,
            step_id,
            decision,
            by,
            now,
        );
        if let Err(why) = decided {
            tx.rollback().await?;
            return Ok(RunDecided::Not(why));
        }
        let action = match decision.verdict {
            crate::domain::workflow::Verdict::Approve => "workflow.approve",
            crate::domain::workflow::Verdict::Reject => "workflow.reject",
        };
        let detail = Some(format!("step {step_id}, hash {}", decision.hash));
        self.write(&tx, &run, action, detail, now).await?;
        tx.commit().await?;
        Ok(RunDecided::Now)
    }

    /// Writes a run that was changed by hand, to be advanced at once.
    async fn write(
        &self,
        tx: &DatabaseTransaction,
        run: &RunRecord,
        action: &str,
        detail: Option<String>,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let sql = "UPDATE workflow_runs SET status = $1, state = $2, wake_at = $3, ended_at = NULL, error = NULL \
                   WHERE run_id = $4";
        let values = [
            run.summary.status.as_str().into(),
            text("state", &run.state)?,
            now.as_micros().into(),
            run.summary.run_id.uuid().into(),
        ];
        tx.execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await?;
        self.note(tx, action, &run.summary.run_id.to_string(), detail, now)
            .await
    }
}

/// A run under the lock of its row.
async fn lock(tx: &DatabaseTransaction, run_id: RunId) -> Result<Option<RunRecord>, LedgerError> {
    let backend = tx.get_database_backend();
    let lock = match backend {
        DatabaseBackend::Postgres => "FOR UPDATE",
        _ => "",
    };
    let sql = format!("SELECT {SUMMARY}, {WHOLE} FROM workflow_runs WHERE run_id = $1 {lock}");
    let statement = Statement::from_sql_and_values(backend, sql, [run_id.uuid().into()]);
    tx.query_one_raw(statement)
        .await?
        .as_ref()
        .map(whole)
        .transpose()
}
