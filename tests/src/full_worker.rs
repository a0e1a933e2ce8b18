//! Workers at full strength on real servers: a broker prefix, a schema and a Redis prefix of the test's own, and the
//! built-in Brain Factory with simulation as the brain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use agent_orchestrator::brain_factory::{BrainFactory, BrainFactoryOptions};
use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection};
use orchestrator_common::cache::Cache;
use orchestrator_common::config::{Secret, Settings};
use orchestrator_common::domain::{
    AgentId, Registration, TaskId, TaskRecord, TaskStatus, Timestamp, WorkerId,
};
use orchestrator_common::ledger::Ledger;
use orchestrator_common::messaging::Source;
use orchestrator_worker::Application;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::eventually;
use crate::ledger::{Backend, TestLedger, agent_id, default_options};
use crate::test_broker::TestBroker;

/// Servers for the workers of one test.
pub struct FullStrength {
    /// The broker.
    pub broker: TestBroker,
    /// The ledger, looked at past the workers.
    pub ledger: Ledger,
    /// Redis, as readers see it.
    pub cache: Cache,
    /// What every worker starts from.
    pub settings: Settings,
    test_ledger: TestLedger,
    outside: Channel,
    _connection: Connection,
    _brain: DropGuard,
}

/// A message as it was found in a queue.
#[derive(Debug)]
pub struct Found {
    /// Its routing key.
    pub routing_key: String,
    /// Its properties.
    pub properties: BasicProperties,
    /// Its body, which has to be JSON unless it is a dead letter.
    pub body: Value,
}

impl Found {
    /// A text header; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let headers = self.properties.headers().as_ref();
        match headers.and_then(|headers| headers.inner().get(name)) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            _ => String::new(),
        }
    }
}

/// A running worker.
#[derive(Debug)]
pub struct RunningWorker {
    /// Its identifier.
    pub worker_id: WorkerId,
    stop: CancellationToken,
    handle: JoinHandle<Result<(), orchestrator_worker::RunError>>,
}

impl RunningWorker {
    /// Stops it in order, as SIGTERM does.
    ///
    /// # Errors
    /// When it did not end well.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        Ok(self.handle.await??)
    }
}

impl FullStrength {
    /// Everything but workers.
    ///
    /// # Errors
    /// When a server does not answer: tests need them.
    pub async fn start() -> anyhow::Result<Self> {
        let broker = TestBroker::new(false)?;
        let test_ledger = TestLedger::create(Backend::Postgres, default_options()).await;
        let (brain_address, brain) = start_brain().await?;
        let variables = [
            ("BRAIN_FACTORY_HOST", brain_address.ip().to_string()),
            ("BRAIN_FACTORY_PORT", brain_address.port().to_string()),
            ("SHUTDOWN_GRACE_SECONDS", "5".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let mut settings = Settings::from_variables(BTreeMap::from(variables))?;
        settings.rabbitmq = broker.settings.clone();
        settings.database.url = Secret::new(test_ledger.url.clone().unwrap_or_default());
        settings.database.max_connections = 6;
        let redis = std::env::var("TEST_REDIS_URL").unwrap_or("redis://127.0.0.1:6379/".to_owned());
        let redis: reqwest::Url = redis.parse()?;
        settings.redis.host = redis.host_str().unwrap_or("127.0.0.1").to_owned();
        settings.redis.port = redis.port().unwrap_or(6379);
        let (connection, outside) = broker.channel().await?;
        broker.topology.declare(&outside).await?;
        Ok(Self {
            cache: Cache::new(&settings.redis, &settings.rabbitmq.prefix)?,
            ledger: test_ledger.ledger.clone(),
            broker,
            settings,
            test_ledger,
            outside,
            _connection: connection,
            _brain: brain,
        })
    }

    /// Starts a worker that runs `capacity` tasks at once, and waits until it consumes.
    ///
    /// # Errors
    /// When its settings cannot be used.
    pub async fn worker(&self, capacity: u32) -> anyhow::Result<RunningWorker> {
        let mut settings = self.settings.clone();
        settings.worker.concurrency = capacity;
        self.worker_with(settings).await
    }

    /// Starts a worker, and waits until it consumes.
    ///
    /// # Errors
    /// When its settings cannot be used.
    pub async fn worker_with(&self, settings: Settings) -> anyhow::Result<RunningWorker> {
        let before = self.consumers().await;
        let application = Application::build(settings)?;
        let worker_id = application.worker_id();
        let stop = self.broker.shutdown.child_token();
        let handle = tokio::spawn(application.run_until_stopped(stop.clone()));
        eventually("the worker consumes", || async {
            self.consumers().await > before
        })
        .await;
        Ok(RunningWorker {
            worker_id,
            stop,
            handle,
        })
    }

    async fn consumers(&self) -> u32 {
        let name = self.broker.topology.queue(Source::Tasks).clone();
        let passive = QueueDeclareOptions::durable().passive();
        let asked = self
            .outside
            .queue_declare(name, passive, FieldTable::default());
        asked.await.map_or(0, |queue| queue.consumer_count())
    }

    /// Registers an agent with a limit of concurrent sessions; its first task starts it.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn agent(&self, name: &str, limit: u32) -> anyhow::Result<AgentId> {
        let body = json!({"agent_id": name, "max_concurrent_sessions": limit});
        let registration =
            Registration::parse(body).map_err(|faults| anyhow::anyhow!("{faults}"))?;
        self.ledger
            .register(&registration, Timestamp::now())
            .await?;
        Ok(agent_id(name))
    }

    /// Sends a command as a direct publisher does.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn send(&self, kind: &str, body: &Value) -> anyhow::Result<()> {
        let properties = BasicProperties::default();
        self.send_raw(kind, properties, body.to_string().as_bytes())
            .await
    }

    /// Sends any bytes with any properties.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn send_raw(
        &self,
        kind: &str,
        properties: BasicProperties,
        body: &[u8],
    ) -> anyhow::Result<()> {
        let exchange = self.broker.topology.commands().clone();
        let options = BasicPublishOptions::default();
        let sent = self
            .outside
            .basic_publish(exchange, kind.into(), options, body, properties);
        sent.await?.await?;
        Ok(())
    }

    /// Sends a task whose agent misbehaves as `simulate` says.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn send_task(&self, agent_id: &AgentId, simulate: Value) -> anyhow::Result<TaskId> {
        let task_id = TaskId::generate();
        let body = json!({"task_id": task_id, "agent_id": agent_id, "task_type": "t",
            "task_data": {"_simulate": simulate}});
        self.send("task.execute", &body).await?;
        Ok(task_id)
    }

    /// A queue of the test's own; gone with its connection.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn queue(&self) -> anyhow::Result<ShortString> {
        let options = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = self
            .outside
            .queue_declare("".into(), options, FieldTable::default())
            .await?;
        Ok(queue.name().clone())
    }

    /// A queue that gets the events that `pattern` matches.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn events(&self, pattern: &str) -> anyhow::Result<ShortString> {
        let queue = self.queue().await?;
        let exchange = self.broker.topology.events().clone();
        let options = QueueBindOptions::default();
        self.outside
            .queue_bind(
                queue.clone(),
                exchange,
                pattern.into(),
                options,
                FieldTable::default(),
            )
            .await?;
        Ok(queue)
    }

    /// Takes the next message of a queue, if one is there.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn take(&self, queue: &ShortString) -> anyhow::Result<Option<Found>> {
        let options = BasicGetOptions { no_ack: true };
        let Some(message) = self.outside.basic_get(queue.clone(), options).await? else {
            return Ok(None);
        };
        Ok(Some(Found {
            routing_key: message.routing_key.as_str().to_owned(),
            properties: message.properties.clone(),
            body: serde_json::from_slice(&message.data).unwrap_or_default(),
        }))
    }

    /// Waits, as a consumer among the others, until a queue gives it a message, and takes that one only.
    ///
    /// # Errors
    /// When the broker refuses, or brings nothing within ten seconds.
    pub async fn first_delivered(&self, queue: &ShortString) -> anyhow::Result<Value> {
        let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
        let consuming =
            self.outside
                .basic_consume(queue.clone(), tag, options, FieldTable::default());
        let mut consumer = consuming.await?;
        let delivered = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await?;
        let delivery = delivered.ok_or_else(|| anyhow::anyhow!("the consumer was cancelled"))??;
        let cancelled = BasicCancelOptions::default();
        self.outside.basic_cancel(consumer.tag(), cancelled).await?;
        delivery.ack(BasicAckOptions::default()).await?;
        Ok(serde_json::from_slice(&delivery.data)?)
    }

    /// Waits for the next message of a queue.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn next(&self, queue: &ShortString) -> anyhow::Result<Found> {
        let found = tokio::sync::Mutex::new(None);
        eventually("a message comes", || async {
            let taken = self.take(queue).await.ok().flatten();
            let came = taken.is_some();
            *found.lock().await = taken;
            came
        })
        .await;
        found
            .into_inner()
            .ok_or_else(|| anyhow::anyhow!("no message"))
    }

    /// Waits until a task stands at `status`, and returns it.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn reaches(&self, task_id: TaskId, status: TaskStatus) -> anyhow::Result<TaskRecord> {
        eventually(&format!("task {task_id} is {status}"), || async {
            let task = self.ledger.task(task_id).await;
            matches!(task, Ok(Some(task)) if task.status == status)
        })
        .await;
        let task = self.ledger.task(task_id).await?;
        task.ok_or_else(|| anyhow::anyhow!("the task is gone"))
    }

    /// Removes what would outlive the test; workers have to be stopped before.
    pub async fn remove(self) {
        self.test_ledger.remove().await;
    }
}

async fn start_brain() -> anyhow::Result<(SocketAddr, DropGuard)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let options = BrainFactoryOptions {
        simulation: true,
        ..BrainFactoryOptions::default()
    };
    let brain = BrainFactory::build(listener, options)?;
    let address = brain.local_address();
    let stop = CancellationToken::new();
    tokio::spawn(brain.run_until_stopped(stop.clone()));
    Ok((address, stop.drop_guard()))
}
