//! Writing what is known of an agent and what is wanted of it.

use std::collections::BTreeSet;

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ConnectionTrait, DatabaseTransaction, EntityTrait,
    IntoActiveModel, Statement, sea_query::OnConflict,
};
use serde_json::{Map, Value};

use super::convert::small;
use super::entity::{agent_profiles, agents};
use super::query::{agent_in_any_state, registered_agent};
use super::slots::Slots;
use super::{Connections, Ledger, LedgerError};
use crate::domain::{
    AgentId, AgentRecord, AgentStatus, DesiredState, Registration, Timestamp, Wish, prevails_over,
};

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
    /// Gives an agent another limit of concurrent sessions; `None` when it is not registered. What runs beyond a lower
    /// limit is finished.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn limit_sessions(
        &self,
        agent_id: &AgentId,
        max_concurrent_sessions: u32,
        now: Timestamp,
    ) -> Result<Option<AgentRecord>, LedgerError> {
        let sql = "UPDATE agents SET max_concurrent_sessions = $1 WHERE agent_id = $2 AND desired <> 'removed'";
        let limit = small(max_concurrent_sessions);
        let values = [limit.into(), agent_id.as_str().into()];
        let changed = self.execute_noted("agent.scale", agent_id.as_str(), now, sql, &values);
        if !changed.await? {
            return Ok(None);
        }
        self.agent(agent_id).await
    }

    /// Writes an agent: a new one, or the named fields of an existing one.
    ///
    /// A richer `brain_config` stays when a poorer one comes. An agent that is being removed comes back, unstarted.
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
        let tx = db.begin().await?;
        insert_if_new(&tx, id, now).await?;
        let _lock = Slots::lock(&tx, BTreeSet::from([id.clone()]), &self.options).await?;
        let sql = "UPDATE agents SET max_concurrent_sessions = COALESCE($1, max_concurrent_sessions), \
                   reconcile_at = CASE WHEN desired = 'removed' THEN $2 ELSE reconcile_at END, \
                   desired = CASE WHEN desired = 'removed' THEN 'idle' ELSE desired END WHERE agent_id = $3";
        let limit = registration.max_concurrent_sessions.map(small);
        let values = [limit.into(), now.as_micros().into(), id.as_str().into()];
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
    if let Some(endpoint) = &registration.endpoint {
        merged.endpoint = Set(Some(endpoint.to_string()));
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
