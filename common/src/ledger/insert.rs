//! Writing the rows of new tasks, each with its entry in the audit log.

use std::collections::HashSet;

use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, Value};
use uuid::Uuid;

use super::audit::ACCEPT;
use super::convert::{small, text_of};
use super::rows::Rows;
use super::{Ledger, LedgerError};
use crate::domain::workflow::RunId;
use crate::domain::{
    AuditEntry, AuditOutcome, Claim, NewTask, Origin, TaskId, TaskStatus, Timestamp,
};

/// A task on its way into the table.
pub(super) struct Row<'a> {
    pub(super) task: &'a NewTask,
    pub(super) status: TaskStatus,
    pub(super) start: Option<(Claim, String)>,
}

/// What is written of a task; the last is for its entry in the audit log only.
const COLUMNS: [&str; 30] = [
    "task_id",
    "agent_id",
    "task_type",
    "task_data",
    "status",
    "priority",
    "timeout_seconds",
    "callback_url",
    "max_attempts",
    "attempt",
    "claims",
    "submitted_at",
    "run_at",
    "expires_at",
    "started_at",
    "worker_id",
    "instance_id",
    "parent_task_id",
    "metadata",
    "correlation_id",
    "reply_to",
    "traceparent",
    "fingerprint",
    "crashes",
    "cancel_requested",
    "session_id",
    "submitted_by",
    "request_id",
    "workflow_run_id",
    "noted_at",
];

/// What the audit log says of an accepted task before the name of its agent.
const OF_AGENT: &str = "for agent ";

impl Ledger {
    /// Inserts rows, and writes down of each that is new who submitted it, in the same way to the server where one
    /// statement can write two tables.
    pub(super) async fn insert_rows(
        &self,
        tx: &DatabaseTransaction,
        rows: &[Row<'_>],
        now: Timestamp,
    ) -> Result<HashSet<Uuid>, LedgerError> {
        // Another transaction may insert the same identifiers for another agent: without one order for all, two such
        // transactions would wait for each other.
        let mut rows: Vec<&Row<'_>> = rows.iter().collect();
        rows.sort_unstable_by_key(|row| row.task.task_id);
        let stored = COLUMNS.len() - 1;
        let columns = COLUMNS[..stored].join(", ");
        let insert = format!(
            "INSERT INTO tasks ({columns}) SELECT {columns} FROM v WHERE v.task_id IS NOT NULL \
             ON CONFLICT (task_id) DO NOTHING RETURNING task_id"
        );
        let one_statement = tx.get_database_backend() == DatabaseBackend::Postgres;
        let body = if one_statement {
            format!(
                ", new AS ({insert}, agent_id, submitted_by, request_id), \
                 a AS (INSERT INTO audit (at, actor, request_id, action, resource, outcome, detail) \
                 SELECT (SELECT noted_at FROM v LIMIT 1), submitted_by, request_id, '{ACCEPT}', task_id::text, '{done}', \
                 '{OF_AGENT}' || agent_id FROM new WHERE submitted_by IS NOT NULL) SELECT task_id FROM new",
                done = AuditOutcome::Done,
            )
        } else {
            insert
        };
        let mut new = HashSet::with_capacity(rows.len());
        let values: Rows<{ COLUMNS.len() }> = rows.iter().map(|row| values_of(row, now)).collect();
        for statement in values.into_statements(tx.get_database_backend(), COLUMNS, &body) {
            for row in tx.query_all_raw(statement).await? {
                new.insert(row.try_get_by_index::<Uuid>(0)?);
            }
        }
        if !one_statement {
            let accepted = rows
                .iter()
                .filter(|row| new.contains(&row.task.task_id.uuid()))
                .filter_map(|row| accepted(row.task, now));
            self.write_entries(tx, &accepted.collect::<Vec<_>>())
                .await?;
        }
        Ok(new)
    }
}

/// What is written down of a task that is new, when it is known who submitted it.
fn accepted(task: &NewTask, now: Timestamp) -> Option<AuditEntry> {
    Some(AuditEntry {
        at: now,
        origin: Origin::clone(task.origin.as_deref()?),
        action: ACCEPT.to_owned(),
        resource: task.task_id.to_string(),
        outcome: AuditOutcome::Done,
        detail: Some(format!("{OF_AGENT}{}", task.agent_id)),
    })
}

fn values_of(row: &Row<'_>, now: Timestamp) -> [Value; COLUMNS.len()] {
    let task = row.task;
    let claim = row.start.as_ref().map(|(claim, _)| claim);
    let attempts = i32::from(claim.is_some());
    let origin = task.origin.as_deref();
    [
        task.task_id.uuid().into(),
        task.agent_id.as_str().into(),
        task.task_type.as_str().into(),
        text_of(Some(&task.task_data)),
        row.status.as_str().into(),
        i32::from(task.priority.get()).into(),
        small(task.timeout_seconds).into(),
        task.callback_url
            .as_ref()
            .map(|url| url.as_str().to_owned())
            .into(),
        small(task.max_attempts).into(),
        attempts.into(),
        attempts.into(),
        task.submitted_at.as_micros().into(),
        task.run_at.map(Timestamp::as_micros).into(),
        task.expires_at.map(Timestamp::as_micros).into(),
        claim.map(|claim| claim.started_at.as_micros()).into(),
        claim.map(|claim| claim.worker_id.uuid()).into(),
        claim.map(|claim| claim.instance_id.uuid()).into(),
        task.parent_task_id.map(TaskId::uuid).into(),
        text_of(task.metadata.as_ref()),
        task.correlation_id.clone().into(),
        task.reply_to.clone().into(),
        task.traceparent.clone().into(),
        task.fingerprint.map(|hash| hash.to_vec()).into(),
        0i32.into(),
        false.into(),
        task.session_id
            .as_ref()
            .map(|id| id.as_str().to_owned())
            .into(),
        origin.map(|origin| origin.actor.clone()).into(),
        origin.and_then(|origin| origin.request_id.clone()).into(),
        task.workflow_run_id.map(RunId::uuid).into(),
        now.as_micros().into(),
    ]
}
