//! Compares the database itself, read with SQL of its own, with the model and with its own counters.

use std::collections::BTreeMap;

use orchestrator_common::domain::{
    AgentId, InstanceId, InstanceRecord, InstanceState, Place, TaskId, Timestamp, room_of,
};
use orchestrator_common::ledger::Ledger;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sea_orm::{ConnectionTrait, QueryResult, Statement};
use uuid::Uuid;

use super::model::{Known, Model};

/// What a row of `agents` says, counted anew.
#[derive(Debug)]
pub(crate) struct AgentRow {
    pub(crate) desired: String,
    pub(crate) status: String,
    limit: i64,
    pub(crate) running: i64,
    pub(crate) queued: i64,
    /// Its instances, of which a started task has to be on one that is usable.
    pub(crate) instances: Vec<InstanceRecord>,
    now: Timestamp,
}

impl AgentRow {
    /// How many more tasks it may start.
    pub(crate) fn free(&self) -> i64 {
        if self.desired == "running" && self.status == "active" {
            let places: Vec<Place> = self.instances.iter().map(|i| self.place(i)).collect();
            let room = room_of(places.iter(), self.now);
            (self.limit - self.running).min(room.into())
        } else {
            0
        }
    }

    fn place(&self, instance: &InstanceRecord) -> Place {
        Place {
            state: instance.state,
            draining: instance.draining,
            running: instance.running,
            configured: instance.capacity.unwrap_or(self.limit.try_into().unwrap()),
            weight: instance.weight,
            turn: 0,
            capacity: instance.learnt,
            circuit: instance.circuit,
        }
    }

    /// Whether a task may have been started there.
    pub(crate) fn may_start_on(&self, instance_id: InstanceId) -> bool {
        let mut instances = self.instances.iter();
        instances.any(|instance| {
            instance.instance_id == instance_id
                && !instance.draining
                && matches!(
                    instance.state,
                    InstanceState::Healthy | InstanceState::Unhealthy
                )
        })
    }
}

/// The checks of one case.
#[derive(Debug)]
pub(crate) struct Checks {
    agents: Vec<AgentId>,
    limits: BTreeMap<AgentId, u32>,
    list: String,
    /// What the row of each task with an outcome was when it was first seen.
    ended: BTreeMap<TaskId, String>,
}

impl Checks {
    pub(crate) fn new(limits: BTreeMap<AgentId, u32>) -> Self {
        let agents: Vec<AgentId> = limits.keys().cloned().collect();
        let quoted: Vec<String> = agents.iter().map(|id| format!("'{id}'")).collect();
        Self {
            agents,
            limits,
            list: quoted.join(", "),
            ended: BTreeMap::new(),
        }
    }

    /// Everything that must hold after every operation.
    pub(crate) async fn hold(
        &mut self,
        ledger: &Ledger,
        model: &Model,
        now: Timestamp,
    ) -> Result<BTreeMap<AgentId, AgentRow>, TestCaseError> {
        let sessions = self.tasks(ledger, model).await?;
        let mut agents = self.agents(ledger, &sessions).await?;
        self.instances(ledger, &agents).await?;
        for (id, agent) in &mut agents {
            agent.now = now;
            let record = ledger.agent(id).await?;
            agent.instances = record.map(|record| record.instances).unwrap_or_default();
        }
        for (id, agent) in &agents {
            let running = model.tasks.values().filter(|known| {
                &known.task.agent_id == id
                    && known
                        .claim
                        .as_ref()
                        .is_some_and(|claim| &claim.agent_id == id)
            });
            prop_assert_eq!(agent.running, running.count() as i64);
        }
        Ok(agents)
    }

    /// The rows of `tasks` are those of the model; returns how many sessions each agent had.
    async fn tasks(
        &mut self,
        ledger: &Ledger,
        model: &Model,
    ) -> Result<BTreeMap<String, i64>, TestCaseError> {
        let rows = rows(
            ledger,
            &format!(
                "SELECT task_id, agent_id, status, claims, attempt, crashes, worker_id, instance_id, cancel_requested, \
                 run_at, completed_at, result, error_code, error_message, \
                 (SELECT COUNT(*) FROM sessions WHERE sessions.task_id = tasks.task_id) AS sessions \
                 FROM tasks WHERE agent_id IN ({})",
                self.list
            ),
        )
        .await?;
        prop_assert_eq!(
            rows.len(),
            model.tasks.len(),
            "every accepted task exists, and no other"
        );
        let mut sessions = BTreeMap::new();
        for row in rows {
            let id = TaskId::from(row.try_get::<Uuid>("", "task_id")?);
            let Some(known) = model.tasks.get(&id) else {
                return Err(TestCaseError::fail(format!("nobody accepted task {id}")));
            };
            *sessions.entry(row.try_get("", "agent_id")?).or_default() += compare(&row, known)?;
            if known.status.is_terminal() {
                let now = written(&row)?;
                let first = self.ended.entry(id).or_insert_with(|| now.clone());
                prop_assert_eq!(first, &now, "an outcome changed");
            }
        }
        Ok(sessions)
    }

    async fn agents(
        &self,
        ledger: &Ledger,
        sessions: &BTreeMap<String, i64>,
    ) -> Result<BTreeMap<AgentId, AgentRow>, TestCaseError> {
        let count = |status: &str| {
            format!(
                "(SELECT COUNT(*) FROM tasks WHERE tasks.agent_id = agents.agent_id AND tasks.status = '{status}')"
            )
        };
        let sql = format!(
            "SELECT agent_id, desired, status, running, queued, sessions, {} AS run, {} AS wait FROM agents WHERE agent_id IN ({})",
            count("running"),
            count("queued"),
            self.list
        );
        let mut agents = BTreeMap::new();
        for row in rows(ledger, &sql).await? {
            let name: String = row.try_get("", "agent_id")?;
            let agent = AgentRow {
                desired: row.try_get("", "desired")?,
                status: row.try_get("", "status")?,
                limit: 0,
                running: row.try_get::<i32>("", "running")?.into(),
                queued: row.try_get("", "queued")?,
                instances: Vec::new(),
                now: Timestamp::from_micros(0),
            };
            prop_assert_eq!(agent.running, row.try_get::<i64>("", "run")?, "{}", name);
            prop_assert_eq!(agent.queued, row.try_get::<i64>("", "wait")?, "{}", name);
            prop_assert_eq!(
                row.try_get::<i64>("", "sessions")?,
                sessions.get(&name).copied().unwrap_or(0)
            );
            let Some((id, limit)) = AgentId::parse(&name).and_then(|id| {
                let limit = self.limits.get(&id).copied()?;
                Some((id, i64::from(limit)))
            }) else {
                return Err(TestCaseError::fail("an agent that nobody registered"));
            };
            prop_assert!(agent.running <= limit, "a limit is a limit: {:?}", agent);
            agents.insert(id, AgentRow { limit, ..agent });
        }
        prop_assert_eq!(agents.len(), self.agents.len());
        Ok(agents)
    }

    async fn instances(
        &self,
        ledger: &Ledger,
        agents: &BTreeMap<AgentId, AgentRow>,
    ) -> Result<(), TestCaseError> {
        let sql = format!(
            "SELECT agent_id, running, (SELECT COUNT(*) FROM tasks WHERE tasks.agent_id = agent_instances.agent_id \
             AND tasks.instance_id = agent_instances.instance_id AND tasks.status = 'running') AS run \
             FROM agent_instances WHERE agent_id IN ({})",
            self.list
        );
        let mut on_instances = BTreeMap::<AgentId, i64>::new();
        for row in rows(ledger, &sql).await? {
            let running = i64::from(row.try_get::<i32>("", "running")?);
            prop_assert_eq!(running, row.try_get::<i64>("", "run")?);
            let Some(id) = AgentId::parse(&row.try_get::<String>("", "agent_id")?) else {
                return Err(TestCaseError::fail("an instance of no agent"));
            };
            *on_instances.entry(id).or_default() += running;
        }
        for (id, agent) in agents {
            let running = on_instances.get(id).copied().unwrap_or(0);
            prop_assert_eq!(
                agent.running,
                running,
                "what runs on {} runs on its instances",
                id
            );
        }
        Ok(())
    }
}

/// Compares a row with what the task must be; returns its number of sessions.
fn compare(row: &QueryResult, known: &Known) -> Result<i64, TestCaseError> {
    let context = || format!("{known:?}");
    let status: String = row.try_get("", "status")?;
    prop_assert_eq!(status.as_str(), known.status.as_str(), "{}", context());
    let number = |column: &str| row.try_get::<i32>("", column).map(i64::from);
    prop_assert_eq!(
        (number("claims")?, number("attempt")?, number("crashes")?),
        (
            known.claims.into(),
            known.attempt.into(),
            known.crashes.into()
        ),
        "{}",
        context()
    );
    prop_assert_eq!(
        row.try_get::<bool>("", "cancel_requested")?,
        known.cancel_requested
    );
    prop_assert_eq!(
        row.try_get::<Option<i64>>("", "run_at")?,
        known.run_at.map(|at| at.as_micros()),
        "{}",
        context()
    );
    prop_assert_eq!(
        row.try_get::<Option<i64>>("", "completed_at")?.is_some(),
        known.status.is_terminal()
    );
    if let Some(claim) = &known.claim {
        let place = (
            row.try_get::<Option<Uuid>>("", "worker_id")?,
            row.try_get::<Option<Uuid>>("", "instance_id")?,
        );
        prop_assert_eq!(
            place,
            (Some(claim.worker_id.uuid()), Some(claim.instance_id.uuid()))
        );
    }
    let sessions: i64 = row.try_get("", "sessions")?;
    prop_assert_eq!(sessions, i64::from(known.sessions), "{}", context());
    Ok(sessions)
}

/// All of a task's row that an outcome fixes.
fn written(row: &QueryResult) -> Result<String, TestCaseError> {
    let text = |column: &str| row.try_get::<Option<String>>("", column);
    let number = |column: &str| row.try_get::<Option<i64>>("", column);
    Ok(format!(
        "{:?}",
        (
            (text("status")?, number("completed_at")?, number("run_at")?),
            (text("result")?, text("error_code")?, text("error_message")?),
            row.try_get::<i32>("", "attempt")?,
            row.try_get::<i32>("", "claims")?,
        )
    ))
}

async fn rows(ledger: &Ledger, sql: &str) -> Result<Vec<QueryResult>, sea_orm::DbErr> {
    let connection = ledger.connection();
    connection
        .query_all_raw(Statement::from_string(
            connection.get_database_backend(),
            sql,
        ))
        .await
}
