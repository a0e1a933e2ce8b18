//! Which instance ran the latest task of a session, for agents whose sessions stick to their instances.
//!
//! Nothing is written for it: the tasks themselves say where they ran. Only dispatches with such tasks ask.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DatabaseTransaction};
use uuid::Uuid;

use super::LedgerError;
use super::convert::{agent_id, session_id};
use super::rows::Rows;
use super::slots::Slots;
use crate::domain::{AgentId, InstanceId, LoadBalancing, SessionId};

/// The newest task that was started, by the index of conversations. Those that still wait have no instance.
const LATEST: &str = "SELECT v.agent, v.session, (SELECT instance_id FROM tasks \
     WHERE tasks.session_id = v.session AND tasks.agent_id = v.agent AND tasks.instance_id IS NOT NULL \
     ORDER BY tasks.submitted_at DESC, tasks.task_id DESC LIMIT 1) FROM v WHERE v.agent IS NOT NULL";

/// Instances by session; empty unless an agent's policy asks for them.
#[derive(Debug, Default)]
pub(super) struct Affinity {
    instances: HashMap<(AgentId, SessionId), InstanceId>,
}

impl Affinity {
    /// Asks for the sessions of `tasks` whose agents want it.
    pub(super) async fn of<'a>(
        tx: &DatabaseTransaction,
        slots: &Slots,
        tasks: impl Iterator<Item = (&'a AgentId, Option<&'a SessionId>)>,
    ) -> Result<Self, LedgerError> {
        let mut asked = HashMap::new();
        for (agent_id, session_id) in tasks {
            let is_sticky = |id: &AgentId| {
                let agent = slots.get(id);
                agent.is_some_and(|agent| agent.policy == LoadBalancing::Sticky)
            };
            if let Some(session_id) = session_id
                && is_sticky(agent_id)
            {
                asked.insert((agent_id, session_id), ());
            }
        }
        let rows: Rows<2> = asked
            .into_keys()
            .map(|(agent_id, session_id)| [agent_id.as_str().into(), session_id.as_str().into()])
            .collect();
        let mut instances = HashMap::new();
        for statement in
            rows.into_statements(tx.get_database_backend(), ["agent", "session"], LATEST)
        {
            for row in tx.query_all_raw(statement).await? {
                let key = (
                    agent_id(&row.try_get_by_index::<String>(0)?)?,
                    session_id(&row.try_get_by_index::<String>(1)?)?,
                );
                if let Some(instance) = row.try_get_by_index::<Option<Uuid>>(2)? {
                    instances.insert(key, instance.into());
                }
            }
        }
        Ok(Self { instances })
    }

    /// Where a task of the session is to run, if that is possible.
    pub(super) fn get(
        &self,
        agent_id: &AgentId,
        session_id: Option<&SessionId>,
    ) -> Option<InstanceId> {
        if self.instances.is_empty() {
            return None;
        }
        let key = (agent_id.clone(), session_id?.clone());
        self.instances.get(&key).copied()
    }

    /// Notes where a task of the session was started: the next one of the same dispatch goes there too.
    pub(super) fn note(
        &mut self,
        policy: LoadBalancing,
        agent_id: &AgentId,
        session_id: Option<&SessionId>,
        instance_id: InstanceId,
    ) {
        if let (LoadBalancing::Sticky, Some(session_id)) = (policy, session_id) {
            let key = (agent_id.clone(), session_id.clone());
            self.instances.insert(key, instance_id);
        }
    }
}
