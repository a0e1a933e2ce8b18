//! Starting runs: idempotent by their identifiers.

use sea_orm::{ConnectionTrait, Statement};

use super::super::convert::{name, small};
use super::super::{Connections, Ledger, LedgerError};
use super::rows::text;
use crate::domain::Timestamp;
use crate::domain::workflow::{NewRun, RunState, RunStatus};

const INSERT: &str = "INSERT INTO workflow_runs (run_id, name, version, status, definition, input, state, created_at, \
     wake_at, fingerprint, traceparent) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10) \
     ON CONFLICT (run_id) DO NOTHING";

/// What became of a run that was to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStarted {
    /// The ledger has it now.
    New,
    /// The ledger had it already, and it stands here.
    Repeated(RunStatus),
    /// The ledger has another run with this identifier.
    Conflict,
}

impl Ledger {
    /// Writes a run down, due at once: whoever advances runs makes its first tasks.
    ///
    /// A crash before the commit leaves nothing; after it, the next look for due runs finds it.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn start_run(&self, run: &NewRun, now: Timestamp) -> Result<RunStarted, LedgerError> {
        self.within(|db| self.start_run_at_once(db, run, now)).await
    }

    async fn start_run_at_once(
        &self,
        db: &Connections,
        run: &NewRun,
        now: Timestamp,
    ) -> Result<RunStarted, LedgerError> {
        let (named, version) = match &run.named {
            Some((named, version)) => (Some(named.as_str().to_owned()), Some(small(*version))),
            None => (None, None),
        };
        let values = [
            run.run_id.uuid().into(),
            named.into(),
            version.into(),
            RunStatus::Running.as_str().into(),
            text("definition", &run.body)?,
            text("input", &run.input)?,
            text("state", &RunState::new(&run.definition))?,
            run.created_at.as_micros().into(),
            run.fingerprint.map(|hash| hash.to_vec()).into(),
            run.traceparent.clone().into(),
        ];
        let tx = db.begin().await?;
        let statement = Statement::from_sql_and_values(self.backend(), INSERT, values);
        if tx.execute_raw(statement).await?.rows_affected() > 0 {
            let resource = run.run_id.to_string();
            let detail = run
                .named
                .as_ref()
                .map(|(name, version)| format!("{name} version {version}"));
            self.note(&tx, "workflow.start", &resource, detail, now)
                .await?;
            tx.commit().await?;
            return Ok(RunStarted::New);
        }
        let sql = "SELECT status, fingerprint FROM workflow_runs WHERE run_id = $1";
        let values = [run.run_id.uuid().into()];
        let statement = Statement::from_sql_and_values(self.backend(), sql, values);
        let Some(row) = tx.query_one_raw(statement).await? else {
            return Err(LedgerError::Corrupt(
                "a run is neither new nor there".into(),
            ));
        };
        let before: Option<Vec<u8>> = row.try_get_by_index(1)?;
        let same = match (&run.fingerprint, &before) {
            (Some(new), Some(old)) => new.as_slice() == old.as_slice(),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        Ok(if same {
            RunStarted::Repeated(name("status", &row.try_get_by_index::<String>(0)?)?)
        } else {
            RunStarted::Conflict
        })
    }
}
