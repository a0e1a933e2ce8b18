//! Recording what claims came to: one outcome per task, written only by the holder of the current claim.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, Statement, Value};
use uuid::Uuid;

use super::callbacks::{Owed, owe};
use super::convert::{small, text_of};
use super::rows::{Rows, in_list};
use super::slots::Slots;
use super::workflows::News;
use super::{Ledger, LedgerError, Recorded};
use crate::domain::{
    Claim, Completion, Evidence, Outcome, Settlement, TaskStatus, Timestamp, Usage,
};

const COLUMNS: [&str; 14] = [
    "id",
    "worker",
    "number",
    "new_status",
    "done_at",
    "answer",
    "code",
    "message",
    "tokens",
    "cost",
    "due",
    "uncounted",
    "crash",
    "may_run",
];

/// An agent gives a task its time-out and a little more; when that is over, it no longer runs it.
///
/// The fence: task, claim number and worker must all be the current ones of a running task.
///
/// The status is compared as `status || ''` so that no database thinks of the index of all running tasks: a plan made
/// while few ran would read every one of them at each completion.
const RECORD: &str = "UPDATE tasks SET status = v.new_status, completed_at = v.done_at, result = v.answer, \
     error_code = v.code, error_message = v.message, run_at = COALESCE(v.due, tasks.run_at), \
     attempt = tasks.attempt - v.uncounted, crashes = tasks.crashes + v.crash, \
     may_run_until = CASE WHEN v.may_run \
         THEN tasks.started_at + (CAST(tasks.timeout_seconds AS BIGINT) + 15) * 1000000 ELSE tasks.may_run_until END, \
     tokens_used = CASE WHEN v.tokens IS NULL THEN tasks.tokens_used ELSE COALESCE(tasks.tokens_used, 0) + v.tokens END, \
     cost_estimate = CASE WHEN v.cost IS NULL THEN tasks.cost_estimate ELSE COALESCE(tasks.cost_estimate, 0) + v.cost END \
     FROM v WHERE tasks.task_id = v.id AND tasks.status || '' = 'running' AND tasks.claims = v.number \
     AND tasks.worker_id = v.worker";

/// The columns of a session, of which the first names the task.
const SESSION: [&str; 13] = [
    "task_id",
    "claim",
    "attempt",
    "agent_id",
    "instance_id",
    "worker_id",
    "started_at",
    "ended_at",
    "outcome",
    "tokens_used",
    "cost_estimate",
    "failed_with",
    "waited",
];

/// The conversation is the task's own, which the statement that writes the session knows.
const SESSIONS: &str = "INSERT INTO sessions (task_id, claim, attempt, agent_id, instance_id, worker_id, started_at, \
     ended_at, outcome, tokens_used, cost_estimate, error_code, waited_micros, session_id) SELECT task_id, claim, attempt, \
     agent_id, instance_id, worker_id, started_at, ended_at, outcome, tokens_used, cost_estimate, failed_with, waited";

/// What a recorded task owes that has its outcome now: its callback, and the news to its workflow.
const OWED: &str = "CASE WHEN completed_at IS NULL THEN NULL ELSE callback_url END AS owed, \
     CASE WHEN completed_at IS NULL THEN NULL ELSE workflow_run_id END AS run";

impl Ledger {
    /// Writes settlements and sessions, and frees the slots of what ended.
    pub(super) async fn complete(
        &self,
        tx: &DatabaseTransaction,
        slots: &mut Slots,
        completions: Vec<Completion>,
        now: Timestamp,
    ) -> Result<Vec<Recorded>, LedgerError> {
        if completions.is_empty() {
            return Ok(Vec::new());
        }
        let cancelled = cancel_requests(tx, &completions).await?;
        let mut decided = Vec::with_capacity(completions.len());
        for Completion {
            claim,
            outcome,
            usage,
        } in completions
        {
            let cancel = cancelled.contains(&claim.task_id.uuid());
            let told = Told {
                evidence: outcome.evidence(),
                may_still_run: outcome.may_still_run(),
                usage,
            };
            let settlement = Settlement::decide(
                &claim,
                outcome,
                cancel,
                &self.options.rules,
                now,
                fastrand::f64(),
            );
            decided.push((claim, settlement, told));
        }
        let (mut recorded, owed, news) = record(tx, &decided, now).await?;
        owe(tx, owed, now).await?;
        news.store(tx).await?;
        let mut sessions = Rows::new();
        let mut results = Vec::with_capacity(decided.len());
        for (claim, settlement, told) in decided {
            // Of two completions for one claim, the ledger took the first.
            let taken = recorded
                .get(&claim.task_id.uuid())
                .is_some_and(|number| *number == claim.number);
            if !taken {
                results.push(Recorded {
                    claim,
                    settlement: None,
                });
                continue;
            }
            recorded.remove(&claim.task_id.uuid());
            if let Some(agent) = slots.get_mut(&claim.agent_id) {
                agent.release(&claim, told.evidence, now);
                agent.add_queued(i64::from(settlement.status == TaskStatus::Queued));
                if settlement.counts {
                    let micros = micros_of(now.since(claim.started_at));
                    agent.add_session(settlement.status, micros, &told.usage);
                }
            }
            if settlement.counts && !writes_two_tables(tx) {
                sessions.push(session(&claim, &settlement, &told.usage, now));
            }
            results.push(Recorded {
                claim,
                settlement: Some(settlement),
            });
        }
        let body = format!(
            "{SESSIONS}, (SELECT session_id FROM tasks WHERE tasks.task_id = v.task_id) \
             FROM v WHERE v.task_id IS NOT NULL"
        );
        for statement in sessions.into_statements(tx.get_database_backend(), SESSION, &body) {
            tx.execute_raw(statement).await?;
        }
        Ok(results)
    }
}

/// Whether one statement can write tasks and sessions.
fn writes_two_tables(tx: &DatabaseTransaction) -> bool {
    tx.get_database_backend() == DatabaseBackend::Postgres
}

/// Which of the tasks that would run again are to be cancelled instead.
async fn cancel_requests(
    tx: &DatabaseTransaction,
    completions: &[Completion],
) -> Result<HashSet<Uuid>, LedgerError> {
    let may_run_again = |completion: &&Completion| match completion.outcome {
        Outcome::Retryable { .. }
        | Outcome::Snoozed { .. }
        | Outcome::HandedBack
        | Outcome::WorkerLost => true,
        Outcome::Completed { .. }
        | Outcome::Failed { .. }
        | Outcome::TimedOut { .. }
        | Outcome::Cancelled => false,
    };
    let ids: Vec<Value> = completions
        .iter()
        .filter(may_run_again)
        .map(|completion| completion.claim.task_id.uuid().into())
        .collect();
    let mut requested = HashSet::new();
    for ids in ids.chunks(256) {
        let (list, values) = in_list(ids.to_vec());
        let sql = format!("SELECT task_id FROM tasks WHERE task_id IN {list} AND cancel_requested");
        for row in tx
            .query_all_raw(Statement::from_sql_and_values(
                tx.get_database_backend(),
                sql,
                values,
            ))
            .await?
        {
            requested.insert(row.try_get_by_index(0)?);
        }
    }
    Ok(requested)
}

/// What is kept of an outcome once it is settled.
struct Told {
    evidence: Evidence,
    may_still_run: bool,
    usage: Usage,
}

type Decided = (Claim, Settlement, Told);

/// Writes the settlements whose claims are current, and returns the number of each claim that was, and the callbacks that
/// are owed now, and what workflows are to learn; with PostgreSQL, in the same way to the server, writes their sessions
/// as well.
async fn record(
    tx: &DatabaseTransaction,
    decided: &[Decided],
    now: Timestamp,
) -> Result<(HashMap<Uuid, u32>, Owed, News), LedgerError> {
    let backend = tx.get_database_backend();
    let mut once = HashSet::with_capacity(decided.len());
    let decided_once = decided
        .iter()
        .filter(|(claim, _, _)| once.insert((claim.task_id, claim.number, claim.worker_id)));
    let statements = if writes_two_tables(tx) {
        let rows: Rows<{ COLUMNS.len() + SESSION.len() }> = decided_once
            .map(|(claim, settlement, told)| {
                let session = session(claim, settlement, &told.usage, now);
                let mut values = settled(claim, settlement, told, now)
                    .into_iter()
                    .chain(session);
                std::array::from_fn(|_| values.next().unwrap_or(Value::Bool(None)))
            })
            .collect();
        let mut names = COLUMNS.into_iter().chain(SESSION);
        let names = std::array::from_fn(|_| names.next().unwrap_or_default());
        let own = SESSION.map(|name| format!("v.{name}")).join(", ");
        let body = format!(
            ", done AS ({RECORD} RETURNING v.id, v.uncounted, {own}, session_id, {OWED}), \
             s AS ({SESSIONS}, session_id FROM done WHERE uncounted = 0) SELECT id, owed, run FROM done"
        );
        rows.into_statements(backend, names, &body)
    } else {
        let rows: Rows<{ COLUMNS.len() }> = decided_once
            .map(|(claim, settlement, told)| settled(claim, settlement, told, now))
            .collect();
        rows.into_statements(
            backend,
            COLUMNS,
            &format!("{RECORD} RETURNING task_id, {OWED}"),
        )
    };
    let mut taken = HashSet::new();
    let mut owed = Owed::default();
    let mut runs: HashMap<Uuid, Uuid> = HashMap::new();
    for statement in statements {
        for row in tx.query_all_raw(statement).await? {
            let task_id = row.try_get_by_index::<Uuid>(0)?;
            taken.insert(task_id);
            owed.note(&row)?;
            if let Some(run_id) = row.try_get_by_index(2)? {
                runs.insert(task_id, run_id);
            }
        }
    }
    // A batch can hold an old claim and the current one of the same task: the newest is the one that can have matched.
    let mut newest = HashMap::with_capacity(taken.len());
    for (claim, _, _) in decided
        .iter()
        .filter(|(claim, _, _)| taken.contains(&claim.task_id.uuid()))
    {
        let number = newest.entry(claim.task_id.uuid()).or_insert(claim.number);
        *number = claim.number.max(*number);
    }
    let mut news = News::default();
    for (claim, settlement, _) in decided.iter().filter(|_| !runs.is_empty()) {
        let task_id = claim.task_id.uuid();
        if let Some(run_id) = runs.get(&task_id)
            && newest.get(&task_id) == Some(&claim.number)
        {
            news.add(
                *run_id,
                task_id,
                settlement.status,
                settlement.error.as_ref(),
            );
        }
    }
    Ok((newest, owed, news))
}

fn settled(
    claim: &Claim,
    settlement: &Settlement,
    told: &Told,
    now: Timestamp,
) -> [Value; COLUMNS.len()] {
    let usage = &told.usage;
    let error = settlement.error.as_ref();
    let done_at = settlement.status.is_terminal().then(|| now.as_micros());
    [
        claim.task_id.uuid().into(),
        claim.worker_id.uuid().into(),
        small(claim.number).into(),
        settlement.status.as_str().into(),
        done_at.into(),
        text_of(settlement.result.as_ref()),
        error.map(|error| error.code.as_str().to_owned()).into(),
        error.map(|error| error.message.clone()).into(),
        tokens_of(usage),
        usage.cost_estimate.into(),
        settlement.run_at.map(Timestamp::as_micros).into(),
        i32::from(!settlement.counts).into(),
        i32::from(settlement.crashed).into(),
        told.may_still_run.into(),
    ]
}

fn micros_of(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn tokens_of(usage: &Usage) -> Value {
    usage
        .tokens_used
        .and_then(|tokens| i64::try_from(tokens).ok())
        .into()
}

fn session(
    claim: &Claim,
    settlement: &Settlement,
    usage: &Usage,
    now: Timestamp,
) -> [Value; SESSION.len()] {
    let outcome = match (&settlement.error, settlement.status.is_terminal()) {
        (Some(error), false) => error.code.as_str(),
        (_, true) | (None, false) => settlement.status.as_str(),
    };
    let failed_with = settlement.error.as_ref().map(|error| error.code.as_str());
    [
        claim.task_id.uuid().into(),
        small(claim.number).into(),
        small(claim.attempt).into(),
        claim.agent_id.as_str().into(),
        Some(claim.instance_id.uuid()).into(),
        claim.worker_id.uuid().into(),
        claim.started_at.as_micros().into(),
        now.as_micros().into(),
        outcome.into(),
        tokens_of(usage),
        usage.cost_estimate.into(),
        failed_with.into(),
        claim.waited.map(micros_of).into(),
    ]
}
