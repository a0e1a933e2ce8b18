//! What runs have not taken in yet: which of their tasks have ended.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement, Value};
use uuid::Uuid;

use super::super::LedgerError;
use super::super::convert::name;
use super::super::rows::{Rows, in_list};
use crate::domain::workflow::{ChildOutcome, RunId, StepError};
use crate::domain::{TaskError, TaskId, TaskStatus};

const COLUMNS: [&str; 5] = ["run_id", "task_id", "status", "error_code", "error_message"];

/// Ends of tasks that a transaction has just written and that runs are to learn.
#[derive(Debug, Default)]
pub(in crate::ledger) struct News(Vec<[Value; 5]>);

impl News {
    /// Notes the end of a task of a run; a task that goes on is no news.
    pub(in crate::ledger) fn add(
        &mut self,
        run_id: Uuid,
        task_id: Uuid,
        status: TaskStatus,
        error: Option<&TaskError>,
    ) {
        if status.is_terminal() {
            self.0.push([
                run_id.into(),
                task_id.into(),
                status.as_str().into(),
                error.map(|error| error.code.as_str().to_owned()).into(),
                error.map(|error| error.message.clone()).into(),
            ]);
        }
    }

    /// Writes them down. Asks nothing of the database when there are none.
    pub(in crate::ledger) async fn store(
        self,
        tx: &DatabaseTransaction,
    ) -> Result<(), LedgerError> {
        let rows: Rows<5> = self.0.into_iter().collect();
        let columns = COLUMNS.join(", ");
        let body = format!(
            "INSERT INTO workflow_inbox ({columns}) SELECT {columns} FROM v WHERE v.run_id IS NOT NULL \
             ON CONFLICT (run_id, task_id) DO NOTHING"
        );
        for statement in rows.into_statements(tx.get_database_backend(), COLUMNS, &body) {
            tx.execute_raw(statement).await?;
        }
        Ok(())
    }
}

/// Takes everything that waits for some runs out of the inbox; the caller has locked them.
pub(super) async fn take(
    tx: &DatabaseTransaction,
    run_ids: &[RunId],
) -> Result<BTreeMap<RunId, Vec<(TaskId, ChildOutcome)>>, LedgerError> {
    let mut taken = BTreeMap::<RunId, Vec<_>>::new();
    if run_ids.is_empty() {
        return Ok(taken);
    }
    let (list, values) = in_list(run_ids.iter().map(|id| id.uuid().into()).collect());
    let columns = COLUMNS.join(", ");
    let sql = format!("DELETE FROM workflow_inbox WHERE run_id IN {list} RETURNING {columns}");
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    for row in tx.query_all_raw(statement).await? {
        let status: TaskStatus = name("status", &row.try_get_by_index::<String>(2)?)?;
        let outcome = if status == TaskStatus::Completed {
            ChildOutcome::Completed
        } else {
            let code: Option<String> = row.try_get_by_index(3)?;
            let message: Option<String> = row.try_get_by_index(4)?;
            ChildOutcome::Failed(StepError {
                code: code.unwrap_or_else(|| status.as_str().to_owned()),
                message: message.unwrap_or_default(),
            })
        };
        taken
            .entry(row.try_get_by_index::<Uuid>(0)?.into())
            .or_default()
            .push((row.try_get_by_index::<Uuid>(1)?.into(), outcome));
    }
    Ok(taken)
}
