//! What only reads.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait},
};

use super::convert::{agent, agent_id, count, name};
use super::entity::{agent_instances, agent_profiles, agents, tasks};
use super::rows::in_list;
use super::{Connections, Ledger, LedgerError};
use crate::domain::{
    AgentId, AgentRecord, AgentStatus, DesiredState, InstanceRecord, TaskId, TaskRecord, TaskStatus,
};

/// Queue positions are counted up to here.
const MAX_POSITION: u32 = 1_000;

/// Which agents to list.
#[derive(Clone, Debug, Default)]
pub struct AgentQuery {
    /// Only agents of this domain.
    pub domain: Option<String>,
    /// Only agents observed to be this.
    pub status: Option<AgentStatus>,
    /// Only agents after this one, in the order of their identifiers.
    pub after: Option<AgentId>,
    /// At most this many.
    pub limit: u32,
}

/// How much there is to do, over all agents.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Agents that take tasks.
    pub active_agents: u64,
    /// Tasks that wait for a slot.
    pub runnable: u64,
    /// Tasks that run.
    pub running: u64,
    /// Attempts that ended.
    pub sessions: u64,
    /// Tasks that completed.
    pub completed: u64,
    /// Tasks that failed or timed out.
    pub failed: u64,
}

impl Ledger {
    /// One agent with its instances; `None` when it is not registered (or being removed).
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn agent(&self, agent_id: &AgentId) -> Result<Option<AgentRecord>, LedgerError> {
        self.within(|db| registered_agent(db, agent_id)).await
    }

    /// The agents that `query` asks for, by identifier.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn agents(&self, query: &AgentQuery) -> Result<Vec<AgentRecord>, LedgerError> {
        let mut condition = agents::Column::Desired.ne(DesiredState::Removed.as_str());
        if let Some(domain) = &query.domain {
            condition = condition.and(agent_profiles::Column::Domain.eq(domain.as_str()));
        }
        if let Some(status) = query.status {
            condition = condition.and(agents::Column::Status.eq(status.as_str()));
        }
        if let Some(after) = &query.after {
            condition = condition.and(agents::Column::AgentId.gt(after.as_str()));
        }
        self.within(|db| agents_where(db, condition, query.limit))
            .await
    }

    /// One task.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn task(&self, task_id: TaskId) -> Result<Option<TaskRecord>, LedgerError> {
        self.within(|db| async move {
            let query = tasks::Entity::find_by_id(task_id.uuid());
            let row = query.one(&db.read).await?;
            row.map(TaskRecord::try_from).transpose()
        })
        .await
    }

    /// Those of `task_ids` that exist, in no particular order.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn tasks(&self, task_ids: &[TaskId]) -> Result<Vec<TaskRecord>, LedgerError> {
        self.within(|db| async move {
            let mut found = Vec::with_capacity(task_ids.len());
            for ids in task_ids.chunks(256) {
                let ids = ids.iter().map(|id| id.uuid());
                let query = tasks::Entity::find().filter(tasks::Column::TaskId.is_in(ids));
                for row in query.all(&db.read).await? {
                    found.push(TaskRecord::try_from(row)?);
                }
            }
            Ok(found)
        })
        .await
    }

    /// The status and the attempts so far of those of `task_ids` that exist, in no particular order.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn standings(
        &self,
        task_ids: &[TaskId],
    ) -> Result<Vec<(TaskId, (TaskStatus, u32))>, LedgerError> {
        self.within(|db| async move {
            let mut found = Vec::with_capacity(task_ids.len());
            for ids in task_ids.chunks(256) {
                let (list, values) = in_list(ids.iter().map(|id| id.uuid().into()).collect());
                let sql =
                    format!("SELECT task_id, status, attempt FROM tasks WHERE task_id IN {list}");
                for row in db.query(&sql, values).await? {
                    let status = name("status", &row.try_get_by_index::<String>(1)?)?;
                    let attempt = count("attempt", row.try_get_by_index::<i32>(2)?.into())?;
                    let task_id = row.try_get_by_index::<uuid::Uuid>(0)?;
                    found.push((task_id.into(), (status, attempt)));
                }
            }
            Ok(found)
        })
        .await
    }

    /// How many tasks of its agent run before a queued `task`; `None` when it is not queued. Counts at most 1,000.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn queue_position(&self, task: &TaskRecord) -> Result<Option<u64>, LedgerError> {
        if task.status != TaskStatus::Queued {
            return Ok(None);
        }
        let sql = format!(
            "SELECT COUNT(*) FROM (SELECT 1 FROM tasks WHERE agent_id = $1 AND status = 'queued' \
             AND (priority > $2 OR (priority = $2 AND (submitted_at, task_id) < ($3, $4))) LIMIT {MAX_POSITION}) ahead"
        );
        let values = [
            task.task.agent_id.as_str().into(),
            i32::from(task.task.priority.get()).into(),
            task.task.submitted_at.as_micros().into(),
            task.task.task_id.uuid().into(),
        ];
        let rows = self.within(|db| db.query(&sql, values)).await?;
        rows.first()
            .map(|row| count("count", row.try_get_by_index::<i64>(0)?))
            .transpose()
    }

    /// How much there is to do, over all agents.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn load(&self) -> Result<Load, LedgerError> {
        let sql = "SELECT CAST(COALESCE(SUM(CASE WHEN status = 'active' THEN 1 ELSE 0 END), 0) AS BIGINT), \
                   CAST(COALESCE(SUM(queued), 0) AS BIGINT), CAST(COALESCE(SUM(running), 0) AS BIGINT), \
                   CAST(COALESCE(SUM(sessions), 0) AS BIGINT), CAST(COALESCE(SUM(completed), 0) AS BIGINT), \
                   CAST(COALESCE(SUM(failed), 0) AS BIGINT) FROM agents";
        let rows = self.within(|db| db.query(sql, [])).await?;
        let Some(row) = rows.first() else {
            return Ok(Load::default());
        };
        let number = |column: usize| -> Result<u64, LedgerError> {
            count("sum", row.try_get_by_index::<i64>(column)?)
        };
        Ok(Load {
            active_agents: number(0)?,
            runnable: number(1)?,
            running: number(2)?,
            sessions: number(3)?,
            completed: number(4)?,
            failed: number(5)?,
        })
    }

    /// Agents with waiting tasks and free slots: what lost doorbells would have announced.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn runnable_agents(&self, limit: u32) -> Result<Vec<AgentId>, LedgerError> {
        let sql = "SELECT agent_id FROM agents WHERE queued > 0 AND desired = 'running' AND status = 'active' \
                   AND running < COALESCE(max_concurrent_sessions, $1) ORDER BY running LIMIT $2";
        let default_limit = i64::from(self.options.max_concurrent_sessions);
        let values = [default_limit.into(), i64::from(limit).into()];
        let rows = self.within(|db| db.query(sql, values)).await?;
        rows.iter()
            .map(|row| agent_id(&row.try_get_by_index::<String>(0)?))
            .collect()
    }
}

/// One agent, unless it is being removed.
pub(super) async fn registered_agent(
    db: &Connections,
    agent_id: &AgentId,
) -> Result<Option<AgentRecord>, LedgerError> {
    let agent = agent_in_any_state(db, agent_id).await?;
    Ok(agent.filter(|agent| agent.desired != DesiredState::Removed))
}

/// One agent, also one that is being removed.
pub(super) async fn agent_in_any_state(
    db: &Connections,
    agent_id: &AgentId,
) -> Result<Option<AgentRecord>, LedgerError> {
    let condition = agents::Column::AgentId.eq(agent_id.as_str());
    Ok(agents_where(db, condition, 1).await?.into_iter().next())
}

/// The instances of an agent, as a transaction sees them, oldest first.
pub(super) async fn instances_of(
    tx: &DatabaseTransaction,
    agent_id: &AgentId,
) -> Result<Vec<InstanceRecord>, LedgerError> {
    let rows = agent_instances::Entity::find()
        .filter(agent_instances::Column::AgentId.eq(agent_id.as_str()))
        .order_by_asc(agent_instances::Column::CreatedAt)
        .order_by_asc(agent_instances::Column::InstanceId)
        .all(tx)
        .await?;
    rows.into_iter().map(InstanceRecord::try_from).collect()
}

async fn agents_where(
    db: &Connections,
    condition: Expr,
    limit: u32,
) -> Result<Vec<AgentRecord>, LedgerError> {
    let profiles: sea_orm::RelationDef = agents::Entity::belongs_to(agent_profiles::Entity)
        .from(agents::Column::AgentId)
        .to(agent_profiles::Column::AgentId)
        .into();
    let rows = agents::Entity::find()
        .join(JoinType::InnerJoin, profiles)
        .select_also(agent_profiles::Entity)
        .filter(condition)
        .order_by_asc(agents::Column::AgentId)
        .limit(u64::from(limit))
        .all(&db.read)
        .await?;
    let ids: Vec<String> = rows.iter().map(|(row, _)| row.agent_id.clone()).collect();
    let mut instances: HashMap<String, Vec<agent_instances::Model>> = HashMap::new();
    if !ids.is_empty() {
        let query = agent_instances::Entity::find()
            .filter(agent_instances::Column::AgentId.is_in(ids))
            .order_by_asc(agent_instances::Column::CreatedAt)
            .order_by_asc(agent_instances::Column::InstanceId);
        for instance in query.all(&db.read).await? {
            instances
                .entry(instance.agent_id.clone())
                .or_default()
                .push(instance);
        }
    }
    let record = |(row, profile): (agents::Model, Option<agent_profiles::Model>)| {
        let profile = profile.ok_or_else(|| {
            LedgerError::Corrupt(format!("agent {} has no profile", row.agent_id))
        })?;
        let instances = instances.remove(&row.agent_id).unwrap_or_default();
        agent(row, profile, instances)
    };
    rows.into_iter().map(record).collect()
}
