//! The orchestrator at full strength as its users run it: real processes of `orchestrator-api` and
//! `orchestrator-worker`, agents that count, and a ledger that is looked at past all of them.

mod audit;
mod load;
mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection};
use orchestrator_common::domain::{
    AgentId, Registration, TaskId, TaskRecord, TaskStatus, Timestamp, WorkerId,
};
use orchestrator_common::ledger::Ledger;
use serde_json::{Value, json};

use crate::counting_agents::{CountingAgents, Repetition};
use crate::ledger::{TestLedger, agent_id, default_options};
use crate::process::Process;
use crate::test_broker::TestBroker;
use crate::{eventually, eventually_within};

pub use load::{Load, LoadOptions, Submitted};
pub use places::Places;

/// How long recovering from any fault may take. A bound for a loaded machine; what it took is printed.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(90);

/// The programs under test.
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// `orchestrator-api`.
    pub api: &'static str,
    /// `orchestrator-worker`.
    pub worker: &'static str,
}

/// A schema, a prefix and agents for the processes of one test.
#[derive(Debug)]
pub struct Deployment {
    /// The ledger, past the processes.
    pub ledger: Ledger,
    /// The broker, past the processes.
    pub broker: TestBroker,
    /// Whom the tasks run on.
    pub agents: CountingAgents,
    /// What every process starts with.
    pub variables: BTreeMap<String, String>,
    limits: BTreeMap<AgentId, u32>,
    programs: Programs,
    channel: Channel,
    _connection: Connection,
    test_ledger: TestLedger,
}

/// A process of `orchestrator-api`.
#[derive(Debug)]
pub struct Api {
    /// The process.
    pub process: Process,
    /// Its base address.
    pub url: String,
}

/// A process of `orchestrator-worker`.
#[derive(Debug)]
pub struct Worker {
    /// The process.
    pub process: Process,
    /// Its identifier in the ledger.
    pub worker_id: WorkerId,
}

impl Deployment {
    /// Everything but processes and registrations.
    ///
    /// # Errors
    /// When a server does not answer.
    pub async fn create(
        programs: Programs,
        places: &Places,
        repetition: Repetition,
    ) -> anyhow::Result<Self> {
        let broker = TestBroker::at(places.rabbitmq_url.clone(), true)?;
        let test_ledger = TestLedger::create_at(&places.database_url, default_options()).await;
        let url = test_ledger.url.clone().unwrap_or_default();
        let (connection, channel) = broker.channel().await?;
        broker.topology.declare(&channel).await?;
        let confirms = ConfirmSelectOptions::default();
        channel.confirm_select(confirms).await?;
        Ok(Self {
            ledger: test_ledger.ledger.clone(),
            variables: places.variables(&url, &broker.settings),
            broker,
            agents: CountingAgents::start(repetition).await?,
            limits: BTreeMap::new(),
            programs,
            channel,
            _connection: connection,
            test_ledger,
        })
    }

    /// Registers an agent that runs at most `limit` tasks at the same time.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn agent(&mut self, name: &str, limit: u32) -> anyhow::Result<AgentId> {
        let agent_id = agent_id(name);
        let endpoint = self.agents.endpoint(&agent_id);
        let body =
            json!({"agent_id": name, "max_concurrent_sessions": limit, "endpoint": endpoint});
        let registration = Registration::parse(body).map_err(anyhow::Error::msg)?;
        self.ledger
            .register(&registration, Timestamp::now())
            .await?;
        self.limits.insert(agent_id.clone(), limit);
        Ok(agent_id)
    }

    /// Starts an API and waits until it serves.
    ///
    /// # Errors
    /// When its program cannot be started.
    ///
    /// # Panics
    /// When it does not serve.
    pub async fn api(&self) -> anyhow::Result<Api> {
        let process = Process::start(Path::new(self.programs.api), &self.variables)?;
        let address = || {
            let said = process.said();
            let (_, rest) = said.split_once("listening address=")?;
            let (address, _) = rest.split_once(char::is_whitespace)?;
            Some(format!("http://{address}"))
        };
        eventually("the API listens", async || address().is_some()).await;
        let url = address().unwrap_or_default();
        let healthy = format!("{url}/health");
        eventually("the API is healthy", async || {
            let Ok(answer) = reqwest::get(&healthy).await else {
                return false;
            };
            let body: serde_json::Value = answer.json().await.unwrap_or_default();
            body["status"] == "healthy"
        })
        .await;
        Ok(Api { process, url })
    }

    /// Starts a worker that runs `capacity` tasks at once, and waits until the ledger knows it.
    ///
    /// # Errors
    /// When its program cannot be started.
    ///
    /// # Panics
    /// When it does not appear.
    pub async fn worker(&self, capacity: u32) -> anyhow::Result<Worker> {
        let before = self.workers().await;
        let mut variables = self.variables.clone();
        variables.insert("WORKER_CONCURRENCY".to_owned(), capacity.to_string());
        let process = Process::start(Path::new(self.programs.worker), &variables)?;
        let mut new = None;
        eventually("the ledger knows the worker", async || {
            new = self.workers().await.difference(&before).next().copied();
            new.is_some()
        })
        .await;
        let worker_id = new.ok_or_else(|| anyhow::anyhow!("no worker"))?;
        Ok(Worker { process, worker_id })
    }

    /// Workers that are present.
    async fn workers(&self) -> BTreeSet<WorkerId> {
        let workers = self.ledger.other_workers(WorkerId::generate()).await;
        let workers = workers.unwrap_or_default().into_iter();
        workers
            .filter(|worker| worker.locked && worker.heartbeat_at.is_some())
            .map(|worker| worker.worker_id)
            .collect()
    }

    /// Those of `ids` that run on a worker now, as far as the ledger answers.
    pub async fn running_on(&self, worker_id: WorkerId, ids: &[TaskId]) -> Vec<TaskId> {
        let tasks = self.tasks(ids).await.unwrap_or_default().into_iter();
        let running = tasks
            .filter(|task| task.status == TaskStatus::Running && task.worker_id == Some(worker_id));
        running.map(|task| task.task.task_id).collect()
    }

    /// Those of `ids` that have no outcome in the ledger.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn unfinished(&self, ids: &[TaskId]) -> anyhow::Result<Vec<TaskId>> {
        let tasks = self.tasks(ids).await?;
        let finished: BTreeSet<TaskId> = tasks
            .iter()
            .filter(|task| task.status.is_terminal())
            .map(|task| task.task.task_id)
            .collect();
        let open = ids.iter().filter(|id| !finished.contains(id));
        Ok(open.copied().collect())
    }

    async fn tasks(&self, ids: &[TaskId]) -> anyhow::Result<Vec<TaskRecord>> {
        let mut tasks = Vec::with_capacity(ids.len());
        for ids in ids.chunks(500) {
            tasks.extend(self.ledger.tasks(ids).await?);
        }
        Ok(tasks)
    }

    /// Sends a command as a direct publisher does; it is in its queue then.
    ///
    /// # Errors
    /// When the broker does not confirm it.
    pub async fn publish(&self, kind: &str, body: &Value) -> anyhow::Result<()> {
        self.publish_all(kind, vec![body.to_string().into_bytes()])
            .await
    }

    /// Sends any bytes as commands; they are in their queue then.
    ///
    /// # Errors
    /// When the broker does not confirm them.
    pub async fn publish_all(&self, kind: &str, bodies: Vec<Vec<u8>>) -> anyhow::Result<()> {
        let exchange = self.broker.topology.commands();
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let mut confirms = Vec::with_capacity(bodies.len());
        for body in bodies {
            let properties = properties.clone().with_delivery_mode(2);
            let sent = self.channel.basic_publish(
                exchange.clone(),
                kind.into(),
                options,
                &body,
                properties,
            );
            confirms.push(sent.await?);
        }
        for confirm in confirms {
            anyhow::ensure!(confirm.await?.is_ack(), "the broker refused a command");
        }
        Ok(())
    }

    /// Waits until every task of `ids`, all that were accepted until now, has its outcome; prints and returns the time
    /// since `fault`.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn recovered(&self, what: &str, fault: Instant, mut ids: Vec<TaskId>) -> Duration {
        let number = ids.len();
        eventually_within(RECOVERY_PATIENCE, what, async || {
            if let Ok(unfinished) = self.unfinished(&ids).await {
                ids = unfinished;
            }
            ids.is_empty()
        })
        .await;
        let took = fault.elapsed();
        eprintln!(
            "RECOVERED {what}: all {number} accepted tasks have their outcome after {:.1} s",
            took.as_secs_f64()
        );
        took
    }

    /// Stops processes in order and removes what the test stored.
    ///
    /// # Panics
    /// When a process does not exit with 0.
    pub async fn end(self, apis: Vec<Api>, workers: Vec<Worker>) {
        let apis = apis.into_iter().map(|api| api.process);
        let workers = workers.into_iter().map(|worker| worker.process);
        for process in apis.chain(workers) {
            let status = process.stop().await;
            assert!(status.success(), "{status}");
        }
        self.test_ledger.remove().await;
    }
}
