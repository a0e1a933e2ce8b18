//! Advancing runs that are due: many in one transaction, each under the lock of its row.
//!
//! A crash before the commit leaves everything as it was: what ended waits in the inbox, and runs stay due. After it, the
//! tasks that were made wait for their agents like any others, and nothing is made twice.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, Statement, Value};
use uuid::Uuid;

use super::super::rows::{Rows, in_list};
use super::super::{Connections, Ledger, LedgerError};
use super::effects::{Effects, Made};
use super::inbox;
use super::rows::{SUMMARY, WHOLE, text, whole};
use crate::domain::workflow::{
    ChildOutcome, Decisions, DefinitionName, Facts, Results, RunId, RunRecord, RunState, RunStatus,
    advance,
};
use crate::domain::{AgentId, TaskId, Timestamp, WorkerId};

/// The most tasks that one transaction makes, as far as each run may make a few.
const MAX_TASKS: usize = 2_000;
/// Tasks that each run may make in any case.
const MIN_TASKS: usize = 32;

const STORED: [&str; 7] = [
    "id",
    "new_status",
    "new_state",
    "came_to",
    "why",
    "over_at",
    "wake",
];

const STORE: &str = "UPDATE workflow_runs SET status = v.new_status, state = v.new_state, \
     output = COALESCE(v.came_to, workflow_runs.output), error = v.why, ended_at = v.over_at, wake_at = v.wake \
     FROM v WHERE workflow_runs.run_id = v.id";

/// A run that stands somewhere else now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunChange {
    /// The run.
    pub run_id: RunId,
    /// The stored definition that it follows.
    pub name: Option<DefinitionName>,
    /// Where it stood.
    pub before: RunStatus,
    /// Where it stands.
    pub status: RunStatus,
    /// Why it failed.
    pub error: Option<String>,
    /// How many of its steps have ended since.
    pub steps_ended: usize,
    /// When.
    pub at: Timestamp,
}

/// What advancing due runs came to.
#[derive(Debug, Default)]
pub struct Advanced {
    /// The runs that were advanced.
    pub runs: Vec<RunChange>,
    /// Agents with more runnable tasks than before.
    pub agents: Vec<AgentId>,
    /// Agents whose lifecycle has something to do.
    pub to_reconcile: Vec<AgentId>,
    /// Waiting tasks that were cancelled.
    pub cancelled: Vec<TaskId>,
    /// Running tasks that are to be dropped, and who runs them.
    pub to_drop: Vec<(TaskId, WorkerId)>,
}

/// A locked run on its way.
struct Locked {
    record: RunRecord,
    traceparent: Option<String>,
    status: RunStatus,
    state: RunState,
    results: Results,
    ended: Vec<(TaskId, ChildOutcome)>,
    decisions: Option<Decisions>,
}

impl Ledger {
    /// Advances up to `limit` runs that are due, or whose tasks have ended; those that another process has at hand are
    /// left to it.
    ///
    /// # Errors
    /// When the ledger does not take it; repeating it is safe.
    pub async fn advance_runs(&self, limit: u32, now: Timestamp) -> Result<Advanced, LedgerError> {
        let due = self.due_runs(limit, now).await?;
        if due.is_empty() {
            return Ok(Advanced::default());
        }
        self.within(|db| self.advance_at_once(db, &due, now)).await
    }

    async fn due_runs(&self, limit: u32, now: Timestamp) -> Result<Vec<RunId>, LedgerError> {
        let sql = "SELECT run_id FROM (SELECT run_id FROM workflow_runs WHERE wake_at IS NOT NULL AND wake_at <= $1 \
                   ORDER BY wake_at LIMIT $2) due UNION SELECT run_id FROM workflow_inbox LIMIT $2";
        let values = [now.as_micros().into(), i64::from(limit).into()];
        let rows = self.within(|db| db.query(sql, values)).await?;
        rows.iter()
            .map(|row| Ok(row.try_get_by_index::<Uuid>(0)?.into()))
            .collect()
    }

    async fn advance_at_once(
        &self,
        db: &Connections,
        due: &[RunId],
        now: Timestamp,
    ) -> Result<Advanced, LedgerError> {
        let tx = db.begin().await?;
        let (mut runs, unreadable) = lock(&tx, due).await?;
        give_up(&tx, &unreadable, now).await?;
        let mut ids: Vec<RunId> = runs.iter().map(|run| run.record.summary.run_id).collect();
        ids.extend(unreadable.iter().map(|(run_id, _)| *run_id));
        let mut ended = inbox::take(&tx, &ids).await?;
        for run in &mut runs {
            run.ended = ended.remove(&run.record.summary.run_id).unwrap_or_default();
        }
        let pending = runs.iter().filter(|run| !run.status.has_ended());
        let domains = pending.flat_map(|run| run.record.definition.domains());
        let domains: BTreeSet<String> = domains.map(str::to_owned).collect();
        let agents = self
            .agents_of_domains(domains.iter().map(String::as_str))
            .await?;
        let room = (MAX_TASKS / runs.len().max(1)).max(MIN_TASKS);
        decide(&tx, &mut runs, &agents, room, now).await?;

        let effects: Vec<Effects<'_>> = runs.iter().filter_map(Locked::effects).collect();
        let Made {
            agents,
            to_reconcile,
            cancelled,
            to_drop,
        } = self.carry_out(&tx, effects, now).await?;
        store(&tx, &runs, now).await?;
        tx.commit().await?;
        Ok(Advanced {
            runs: runs.iter().map(|run| run.change(now)).collect(),
            agents,
            to_reconcile,
            cancelled,
            to_drop,
        })
    }
}

impl Locked {
    fn effects(&self) -> Option<Effects<'_>> {
        Some(Effects {
            run_id: self.record.summary.run_id,
            definition: &self.record.definition,
            traceparent: self.traceparent.as_deref(),
            decisions: self.decisions.as_ref()?,
        })
    }

    fn change(&self, at: Timestamp) -> RunChange {
        let over = |state: &RunState| {
            state
                .steps
                .iter()
                .filter(|step| step.status.has_ended())
                .count()
        };
        let error = self
            .decisions
            .as_ref()
            .and_then(|decisions| decisions.error.clone());
        RunChange {
            run_id: self.record.summary.run_id,
            name: self
                .record
                .summary
                .named
                .as_ref()
                .map(|(name, _)| name.clone()),
            before: self.record.summary.status,
            status: self.status,
            error,
            steps_ended: over(&self.state).saturating_sub(over(&self.record.state)),
            at,
        }
    }
}

/// A run that this version cannot read, and why.
type Unreadable = (RunId, String);

/// Locks those runs that nobody else has at hand, in the order in which everybody locks them.
async fn lock(
    tx: &DatabaseTransaction,
    due: &[RunId],
) -> Result<(Vec<Locked>, Vec<Unreadable>), LedgerError> {
    let backend = tx.get_database_backend();
    let lock = match backend {
        DatabaseBackend::Postgres => "FOR UPDATE SKIP LOCKED",
        _ => "",
    };
    let (list, values) = in_list(due.iter().map(|id| id.uuid().into()).collect());
    let sql = format!(
        "SELECT {SUMMARY}, {WHOLE}, traceparent FROM workflow_runs WHERE run_id IN {list} ORDER BY run_id {lock}"
    );
    let (mut runs, mut unreadable) = (Vec::with_capacity(due.len()), Vec::new());
    for row in tx
        .query_all_raw(Statement::from_sql_and_values(backend, sql, values))
        .await?
    {
        let record = match whole(&row) {
            Ok(record) => record,
            Err(error) => {
                unreadable.push((row.try_get_by_index::<Uuid>(0)?.into(), error.to_string()));
                continue;
            }
        };
        runs.push(Locked {
            status: record.summary.status,
            state: record.state.clone(),
            traceparent: row.try_get_by_index(11)?,
            results: Results::new(),
            ended: Vec::new(),
            decisions: None,
            record,
        });
    }
    Ok((runs, unreadable))
}

/// Fails runs that cannot be read: they would hold up all others for ever.
async fn give_up(
    tx: &DatabaseTransaction,
    unreadable: &[Unreadable],
    now: Timestamp,
) -> Result<(), LedgerError> {
    let sql = "UPDATE workflow_runs SET status = 'failed', error = $1, ended_at = $2, wake_at = NULL WHERE run_id = $3";
    for (run_id, why) in unreadable {
        tracing::error!(%run_id, why, "a workflow cannot be read and is given up");
        let values = [
            why.as_str().into(),
            now.as_micros().into(),
            run_id.uuid().into(),
        ];
        let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
        tx.execute_raw(statement).await?;
    }
    Ok(())
}

/// Decides for every run, reading results that it turns out to need.
async fn decide(
    tx: &DatabaseTransaction,
    runs: &mut [Locked],
    agents: &BTreeMap<String, Vec<AgentId>>,
    room: usize,
    now: Timestamp,
) -> Result<(), LedgerError> {
    loop {
        let mut needed: Vec<(usize, usize)> = Vec::new();
        for (place, run) in runs
            .iter_mut()
            .enumerate()
            .filter(|(_, run)| run.decisions.is_none())
        {
            let (mut status, mut state) = (run.record.summary.status, run.record.state.clone());
            let facts = Facts {
                run_id: run.record.summary.run_id,
                definition: &run.record.definition,
                input: &run.record.input,
                results: &run.results,
                agents,
                ended: &run.ended,
                room,
                now,
            };
            let decisions = advance(&mut status, &mut state, &facts);
            if decisions.needs.is_empty() {
                run.status = status;
                run.state = state;
                run.decisions = Some(decisions);
            } else {
                // The state that was advanced in vain tells which tasks' results are meant.
                run.state = state;
                needed.extend(decisions.needs.iter().map(|step| (place, *step)));
            }
        }
        if needed.is_empty() {
            return Ok(());
        }
        read_results(tx, runs, &needed).await?;
    }
}

/// Reads what came out of steps: of a fan-out the list of all its tasks' results.
async fn read_results(
    tx: &DatabaseTransaction,
    runs: &mut [Locked],
    needed: &[(usize, usize)],
) -> Result<(), LedgerError> {
    let mut tasks: BTreeMap<Uuid, (usize, usize, usize)> = BTreeMap::new();
    for (place, step) in needed {
        let Some(run) = runs.get_mut(*place) else {
            continue;
        };
        let Some(stands) = run.state.steps.get(*step) else {
            continue;
        };
        for child in 0..stands.children.len() {
            let task_id = stands.task_id(run.record.summary.run_id, *step, child);
            tasks.insert(task_id.uuid(), (*place, *step, child));
        }
        let fans_out = run
            .record
            .definition
            .steps
            .get(*step)
            .is_some_and(|step| step.fans_out());
        let empty = if fans_out {
            serde_json::Value::Array(vec![serde_json::Value::Null; stands.children.len()])
        } else {
            serde_json::Value::Null
        };
        run.results.insert(*step, empty);
    }
    let ids: Vec<Value> = tasks.keys().map(|id| (*id).into()).collect();
    for ids in ids.chunks(1_024) {
        let (list, values) = in_list(ids.to_vec());
        let sql = format!(
            "SELECT task_id, result FROM tasks WHERE task_id IN {list} AND status = 'completed' AND result IS NOT NULL"
        );
        let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
        for row in tx.query_all_raw(statement).await? {
            let Some((place, step, child)) = tasks.get(&row.try_get_by_index::<Uuid>(0)?) else {
                continue;
            };
            let result = super::rows::parsed("result", &row.try_get_by_index::<String>(1)?)?;
            match runs
                .get_mut(*place)
                .and_then(|run| run.results.get_mut(step))
            {
                Some(serde_json::Value::Array(results)) => {
                    if let Some(slot) = results.get_mut(*child) {
                        *slot = result;
                    }
                }
                Some(single) => *single = result,
                None => {}
            }
        }
    }
    Ok(())
}

async fn store(
    tx: &DatabaseTransaction,
    runs: &[Locked],
    now: Timestamp,
) -> Result<(), LedgerError> {
    let mut rows: Rows<7> = Rows::new();
    for run in runs {
        let Some(decisions) = &run.decisions else {
            continue;
        };
        let summary = &run.record.summary;
        let output = decisions
            .output
            .as_ref()
            .map(|output| text("output", output))
            .transpose()?;
        let ended_at = match (run.status.has_ended(), summary.ended_at) {
            (true, Some(before)) => Some(before),
            (true, None) => Some(now),
            (false, _) => None,
        };
        rows.push([
            summary.run_id.uuid().into(),
            run.status.as_str().into(),
            text("state", &run.state)?,
            output.unwrap_or(Value::String(None)),
            decisions
                .error
                .clone()
                .or_else(|| summary.error.clone())
                .into(),
            ended_at.map(Timestamp::as_micros).into(),
            decisions.wake_at.map(Timestamp::as_micros).into(),
        ]);
    }
    for statement in rows.into_statements(tx.get_database_backend(), STORED, STORE) {
        tx.execute_raw(statement).await?;
    }
    Ok(())
}
