//! Carrying out what was decided for runs: their tasks are made and cancelled, under the locks of their agents.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement, Value};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use super::super::cancel::end_waiting;
use super::super::convert::{agent_id, name};
use super::super::rows::in_list;
use super::super::slots::Slots;
use super::super::{Ingested, Ledger, LedgerError};
use super::inbox::News;
use crate::domain::workflow::{Creation, Decisions, Definition, RunId};
use crate::domain::{
    AgentId, ErrorCode, Json, NewTask, TaskError, TaskId, TaskStatus, Timestamp, WorkerId,
};

/// What was decided for one run.
pub(super) struct Effects<'a> {
    pub(super) run_id: RunId,
    pub(super) definition: &'a Definition,
    pub(super) traceparent: Option<&'a str>,
    pub(super) decisions: &'a Decisions,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Made {
    pub(super) agents: Vec<AgentId>,
    pub(super) to_reconcile: Vec<AgentId>,
    pub(super) cancelled: Vec<TaskId>,
    pub(super) to_drop: Vec<(TaskId, WorkerId)>,
}

impl Ledger {
    pub(super) async fn carry_out(
        &self,
        tx: &DatabaseTransaction,
        effects: Vec<Effects<'_>>,
        now: Timestamp,
    ) -> Result<Made, LedgerError> {
        let mut tasks = Vec::new();
        let mut to_cancel: Vec<TaskId> = Vec::new();
        for effects in &effects {
            let made = effects.decisions.create.iter();
            tasks.extend(made.map(|creation| new_task(effects, creation, now)));
            to_cancel.extend(&effects.decisions.cancel);
        }
        if tasks.is_empty() && to_cancel.is_empty() {
            return Ok(Made::default());
        }
        let mut agents: BTreeSet<AgentId> =
            tasks.iter().map(|task| task.agent_id.clone()).collect();
        let to_ring: Vec<AgentId> = agents.iter().cloned().collect();
        agents.extend(agents_of(tx, &to_cancel).await?);
        let mut slots = Slots::lock(tx, agents, &self.options).await?;
        let mut made = self.cancel_for_run(tx, &mut slots, &to_cancel, now).await?;
        let run_ids: HashMap<TaskId, RunId> = tasks
            .iter()
            .filter_map(|task| Some((task.task_id, task.workflow_run_id?)))
            .collect();
        let nobody = WorkerId::from(Uuid::nil());
        let (ingestions, _) = self
            .insert(tx, &mut slots, BTreeMap::new(), tasks, nobody, now)
            .await?;
        let mut news = News::default();
        let error = TaskError::new(ErrorCode::UnknownAgent, "its agent is not registered");
        for ingestion in ingestions {
            match ingestion.outcome {
                // One that is there already was made by an advance whose commit nobody heard of.
                Ingested::New { .. } | Ingested::Repeated { .. } => {}
                Ingested::Conflict | Ingested::UnknownAgent => {
                    if let Some(run_id) = run_ids.get(&ingestion.task_id) {
                        let task_id = ingestion.task_id.uuid();
                        news.add(run_id.uuid(), task_id, TaskStatus::Failed, Some(&error));
                    }
                }
            }
        }
        news.store(tx).await?;
        slots.store(tx, now).await?;
        made.agents = to_ring;
        made.to_reconcile = slots.to_reconcile();
        Ok(made)
    }

    /// Cancels tasks that nobody needs any more; what has ended meanwhile stays as it is.
    async fn cancel_for_run(
        &self,
        tx: &DatabaseTransaction,
        slots: &mut Slots,
        task_ids: &[TaskId],
        now: Timestamp,
    ) -> Result<Made, LedgerError> {
        let mut made = Made::default();
        let error = TaskError::new(
            ErrorCode::Cancelled,
            "its workflow does not need it any more",
        );
        for ids in task_ids.chunks(256) {
            let (list, values) = in_list(ids.iter().map(|id| id.uuid().into()).collect());
            let sql = format!(
                "SELECT task_id, agent_id, status, worker_id FROM tasks WHERE task_id IN {list}"
            );
            let statement = Statement::from_sql_and_values(self.backend(), sql, values);
            let mut waiting: Vec<TaskId> = Vec::new();
            let mut running: Vec<Value> = Vec::new();
            for row in tx.query_all_raw(statement).await? {
                let task_id: Uuid = row.try_get_by_index(0)?;
                match name("status", &row.try_get_by_index::<String>(2)?)? {
                    status
                    @ (TaskStatus::Queued | TaskStatus::Scheduled | TaskStatus::Retrying) => {
                        waiting.push(task_id.into());
                        let agent = agent_id(&row.try_get_by_index::<String>(1)?)?;
                        if let Some(agent) = slots.get_mut(&agent) {
                            agent.add_queued(-i64::from(status == TaskStatus::Queued));
                        }
                    }
                    TaskStatus::Running => {
                        running.push(task_id.into());
                        if let Some(worker) = row.try_get_by_index::<Option<Uuid>>(3)? {
                            made.to_drop.push((task_id.into(), worker.into()));
                        }
                    }
                    TaskStatus::Completed
                    | TaskStatus::Failed
                    | TaskStatus::TimedOut
                    | TaskStatus::Cancelled => {}
                }
            }
            end_waiting(tx, &waiting, TaskStatus::Cancelled, &error, now).await?;
            made.cancelled.extend(waiting);
            if !running.is_empty() {
                let (list, values) = in_list(running);
                let sql =
                    format!("UPDATE tasks SET cancel_requested = TRUE WHERE task_id IN {list}");
                tx.execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
                    .await?;
            }
        }
        Ok(made)
    }
}

/// The agents that do these tasks.
async fn agents_of(
    tx: &DatabaseTransaction,
    task_ids: &[TaskId],
) -> Result<BTreeSet<AgentId>, LedgerError> {
    let mut agents = BTreeSet::new();
    for ids in task_ids.chunks(256) {
        let (list, values) = in_list(ids.iter().map(|id| id.uuid().into()).collect());
        let sql = format!("SELECT DISTINCT agent_id FROM tasks WHERE task_id IN {list}");
        let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
        for row in tx.query_all_raw(statement).await? {
            agents.insert(agent_id(&row.try_get_by_index::<String>(0)?)?);
        }
    }
    Ok(agents)
}

fn new_task(effects: &Effects<'_>, creation: &Creation, now: Timestamp) -> NewTask {
    let step = effects.definition.steps.get(creation.step);
    let metadata = json!({
        "workflow_run_id": effects.run_id,
        "step_id": step.map(|step| step.id.as_str()),
        "index": step.is_some_and(|step| step.fans_out()).then_some(creation.child),
    });
    NewTask {
        task_id: creation.task_id,
        agent_id: creation.agent_id.clone(),
        task_type: creation.task_type.clone(),
        task_data: raw(&creation.task_data),
        priority: creation.priority,
        timeout_seconds: creation.timeout_seconds,
        callback_url: None,
        max_attempts: creation.max_attempts,
        run_at: None,
        expires_at: None,
        parent_task_id: None,
        session_id: None,
        metadata: Some(raw(&metadata)),
        submitted_at: now,
        correlation_id: None,
        reply_to: None,
        traceparent: effects.traceparent.map(str::to_owned),
        fingerprint: None,
        origin: None,
        workflow_run_id: Some(effects.run_id),
    }
}

fn raw(value: &serde_json::Value) -> Json {
    // A `Value` holds only string keys and finite numbers, so it always serialises.
    to_raw_value(value).map_or_else(|_| Arc::from(RawValue::NULL.to_owned()), Arc::from)
}
