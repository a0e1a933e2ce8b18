//! Writing what is known of an agent and what is wanted of it.

use std::collections::BTreeSet;

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ConnectionTrait, DatabaseTransaction, EntityTrait,
    IntoActiveModel, Statement, sea_query::OnConflict,
};
use serde_json::{Map, Value};

use super::convert::{agent_id, small};
use super::entity::{agent_profiles, agents};
use super::query::{agent_in_any_state, registered_agent};
use super::slots::Slots;
use super::{Connections, Ledger, LedgerError};
use crate::domain::{
    AgentId, AgentRecord, AgentStatus, DesiredState, LoadBalancing, Registration, Scaling,
    Timestamp, Wish, prevails_over,
};

/// What became of a wish to scale an agent.
#[derive(Clone, Debug)]
pub enum Scaled {
    /// It is noted.
    Now(Box<AgentRecord>),
    /// Its instances were registered with their addresses; nothing was changed.
    Registered,
    /// No such agent is registered.
    Unknown,
}

/// What became of a wish about an agent.
#[derive(Clone, Debug)]
pub enum Wished {
    /// It is noted.
    Now(Box<AgentRecord>),
    /// It cannot be wanted while this is.
    Not(DesiredState),
    /// No such agent is registered.
    Unknown,
}

impl Ledger {
    /// Gives an agent another limit of concurrent sessions, another number of instances, or both. What runs beyond a lower
    /// limit, or on an instance too many, is finished.
    ///
    /// A crash after the commit delays what follows until the next look at agents to reconcile.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn scale(
        &self,
        agent_id: &AgentId,
        scaling: Scaling,
        now: Timestamp,
    ) -> Result<Scaled, LedgerError> {
        // The number of instances of an agent that was registered with their addresses is not ours to change.
        let sql = "UPDATE agents SET max_concurrent_sessions = COALESCE($1, max_concurrent_sessions), \
                   instances_wanted = COALESCE($2, instances_wanted), \
                   reconcile_at = CASE WHEN CAST($2 AS INTEGER) IS NOT NULL AND desired = 'running' THEN $3 ELSE reconcile_at END \
                   WHERE agent_id = $4 AND desired <> 'removed' AND (CAST($2 AS INTEGER) IS NULL OR EXISTS \
                   (SELECT 1 FROM agent_profiles p WHERE p.agent_id = agents.agent_id AND p.endpoint IS NULL))";
        let values = [
            scaling.max_concurrent_sessions.map(small).into(),
            scaling.instances.map(small).into(),
            now.as_micros().into(),
            agent_id.as_str().into(),
        ];
        let changed = self.execute_noted("agent.scale", agent_id.as_str(), now, sql, &values);
        let changed = changed.await?;
        Ok(match self.agent(agent_id).await? {
            Some(agent) if changed => Scaled::Now(Box::new(agent)),
            Some(_) => Scaled::Registered,
            None => Scaled::Unknown,
        })
    }

    /// Writes an agent: a new one, or the named fields of an existing one.
    ///
    /// A richer `brain_config` stays when a poorer one comes. An agent that is being removed comes back, unstarted. The
    /// Brain Factory registers what it makes: when that is an instance of another agent, nothing is changed, and that
    /// agent is returned.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn register(
        &self,
        registration: &Registration,
        now: Timestamp,
    ) -> Result<AgentRecord, LedgerError> {
        self.within(|db| self.register_at_once(db, registration, now))
            .await
    }

    async fn register_at_once(
        &self,
        db: &Connections,
        registration: &Registration,
        now: Timestamp,
    ) -> Result<AgentRecord, LedgerError> {
        let id = &registration.agent_id;
        if let Some(agent_id) = agent_of_instance(db, id).await?
            && let Some(agent) = registered_agent(db, &agent_id).await?
        {
            return Ok(agent);
        }
        let tx = db.begin().await?;
        insert_if_new(&tx, id, now).await?;
        let _lock = Slots::lock(&tx, BTreeSet::from([id.clone()]), &self.options).await?;
        let sql = "UPDATE agents SET max_concurrent_sessions = COALESCE($1, max_concurrent_sessions), \
                   load_balancing = COALESCE($2, load_balancing), \
                   reconcile_at = CASE WHEN desired = 'removed' OR (desired = 'running' AND $3) THEN $4 ELSE reconcile_at END, \
                   desired = CASE WHEN desired = 'removed' THEN 'idle' ELSE desired END WHERE agent_id = $5";
        let names_instances = registration.registered_instances().is_some();
        let values = [
            registration.max_concurrent_sessions.map(small).into(),
            registration
                .load_balancing
                .map(LoadBalancing::as_str)
                .into(),
            names_instances.into(),
            now.as_micros().into(),
            id.as_str().into(),
        ];
        tx.execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await?;
        if let Some(profile) = agent_profiles::Entity::find_by_id(id.as_str())
            .one(&tx)
            .await?
        {
            merge(profile, registration, now)?.update(&tx).await?;
        }
        self.note(&tx, "agent.register", id.as_str(), None, now)
            .await?;
        tx.commit().await?;
        registered_agent(db, id).await?.ok_or_else(|| {
            LedgerError::Corrupt(format!("agent {id} vanished while it was registered"))
        })
    }

    /// Notes what is wanted of an agent, if it may be wanted now.
    ///
    /// A crash after the commit delays what follows until the next look at agents to reconcile.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn wish(
        &self,
        agent_id: &AgentId,
        wish: Wish,
        now: Timestamp,
    ) -> Result<Wished, LedgerError> {
        let before = wish.allowed_from().iter();
        let before: Vec<_> = before.map(|state| format!("'{state}'")).collect();
        // The lease of a reconciliation that is under way stays; it looks at what is wanted when it ends.
        let sql = format!(
            "UPDATE agents SET desired = $1, reconcile_at = $2, start_failures = 0 \
             WHERE agent_id = $3 AND desired IN ({})",
            before.join(", ")
        );
        let values = [
            wish.desired().as_str().into(),
            now.as_micros().into(),
            agent_id.as_str().into(),
        ];
        let changed = self.execute_noted(wish.action(), agent_id.as_str(), now, &sql, &values);
        let changed = changed.await?;
        let agent = self.within(|db| agent_in_any_state(db, agent_id)).await?;
        Ok(match agent {
            Some(agent) if changed => Wished::Now(Box::new(agent)),
            Some(agent) if agent.desired != DesiredState::Removed => Wished::Not(agent.desired),
            Some(_) | None => Wished::Unknown,
        })
    }
}

/// The agent that has an instance which the Brain Factory knows by this id; `None` when it is an agent's own.
async fn agent_of_instance(db: &Connections, id: &AgentId) -> Result<Option<AgentId>, LedgerError> {
    let sql = "SELECT agent_id FROM agent_instances WHERE made_as = $1 AND agent_id <> $1";
    let rows = db.query(sql, [id.as_str().into()]).await?;
    rows.first()
        .map(|row| agent_id(&row.try_get_by_index::<String>(0)?))
        .transpose()
}

async fn insert_if_new(
    tx: &DatabaseTransaction,
    id: &AgentId,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let agent = agents::ActiveModel {
        agent_id: Set(id.as_str().to_owned()),
        desired: Set(DesiredState::Idle.as_str().to_owned()),
        status: Set(AgentStatus::Registered.as_str().to_owned()),
        registered_at: Set(now.as_micros()),
        ..Default::default()
    };
    let conflict = OnConflict::column(agents::Column::AgentId)
        .do_nothing()
        .to_owned();
    agents::Entity::insert(agent)
        .on_conflict(conflict)
        .exec_without_returning(tx)
        .await?;
    let profile = agent_profiles::ActiveModel {
        agent_id: Set(id.as_str().to_owned()),
        extra: Set("{}".to_owned()),
        updated_at: Set(now.as_micros()),
        ..Default::default()
    };
    let conflict = OnConflict::column(agent_profiles::Column::AgentId)
        .do_nothing()
        .to_owned();
    agent_profiles::Entity::insert(profile)
        .on_conflict(conflict)
        .exec_without_returning(tx)
        .await?;
    Ok(())
}

/// The profile with what the registration names.
fn merge(
    profile: agent_profiles::Model,
    registration: &Registration,
    now: Timestamp,
) -> Result<agent_profiles::ActiveModel, LedgerError> {
    let unreadable = |_| LedgerError::Corrupt("a profile is not JSON".to_owned());
    let old_config: Option<Value> = profile
        .brain_config
        .as_deref()
        .map(serde_json::from_str)
        .transpose()
        .map_err(unreadable)?;
    let mut extra: Map<String, Value> = serde_json::from_str(&profile.extra).map_err(unreadable)?;
    extra.extend(registration.extra.clone());

    let mut merged = profile.into_active_model();
    if let Some(name) = &registration.agent_name {
        merged.agent_name = Set(Some(name.clone()));
    }
    if let Some(domain) = &registration.domain {
        merged.domain = Set(Some(domain.clone()));
    }
    if let Some(deployment) = &registration.deployment_id {
        merged.deployment_id = Set(Some(deployment.clone()));
    }
    if let Some(instances) = registration.registered_instances() {
        let list = serde_json::to_string(&instances).map_err(unreadable)?;
        merged.instances = Set(Some(list));
        // That it is there says that the agent is not the Brain Factory's to make.
        merged.endpoint = Set(instances.into_iter().next().map(|spec| spec.endpoint));
    }
    if let Some(config) = &registration.brain_config
        && old_config.is_none_or(|old| prevails_over(config, &old))
    {
        merged.brain_config = Set(Some(config.to_string()));
    }
    merged.extra = Set(Value::Object(extra).to_string());
    merged.updated_at = Set(now.as_micros());
    Ok(merged)
}
