//! The orchestrator at full strength: API and worker as processes, with a database and names of their own on servers that
//! run already.

use std::env;
use std::path::Path;

use anyhow::{Context, Result};
use lapin::ConnectionProperties;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::uri::AMQPUri;
use sqlx::{Connection as _, PgConnection};
use url::Url;
use uuid::Uuid;

use crate::brain::Brain;
use crate::connection::{Connection, Target};
use crate::process;
use crate::program::{Folder, Program, built, free_address, variables};

/// The programs of the servers whose processor time counts, as the system calls them.
const SERVER_PROGRAMS: [&str; 3] = ["postgres", "beam.smp", "redis-server"];
/// What the orchestrator declares at the broker (`docs/asyncapi.yaml`), under its prefix.
const QUEUES: [&str; 4] = ["tasks", "lifecycle", "doorbell", "dead-letter"];
const EXCHANGES: [&str; 4] = ["commands", "control", "events", "dead"];

/// The addresses of the servers.
#[derive(Clone, Debug)]
pub struct Servers {
    database: Url,
    broker: String,
    cache: Url,
}

impl Servers {
    /// Those that `TEST_DATABASE_URL`, `TEST_RABBITMQ_URL` and `TEST_REDIS_URL` name, as for the tests.
    ///
    /// # Errors
    /// When one is missing or no address.
    pub fn of_environment() -> Result<Self> {
        let value = |name: &str| {
            env::var(name).with_context(|| format!("{name} is not set; `make services` prints it"))
        };
        Ok(Self {
            database: value("TEST_DATABASE_URL")?
                .parse()
                .context("TEST_DATABASE_URL")?,
            broker: value("TEST_RABBITMQ_URL")?,
            cache: value("TEST_REDIS_URL")?.parse().context("TEST_REDIS_URL")?,
        })
    }

    /// The processes of the servers on this machine.
    ///
    /// # Errors
    /// When the system does not list its processes.
    pub fn pids() -> Result<Vec<u32>> {
        let mut pids = Vec::new();
        for program in SERVER_PROGRAMS {
            pids.extend(process::running(program)?);
        }
        Ok(pids)
    }
}

/// A running API and its workers. [`Self::end`] removes what they stored.
#[derive(Debug)]
pub struct Deployment {
    servers: Servers,
    name: String,
    settings: Vec<(String, String)>,
    /// The API's process.
    pub api: Program,
    /// The processes of the workers.
    pub workers: Vec<Program>,
    /// Where the API listens, without a token.
    pub target: Target,
    /// Dropped after the processes that write to it.
    folder: Folder,
}

impl Deployment {
    /// Starts an API and one worker that call `brain`, on a new database, with `more` settings on top.
    ///
    /// # Errors
    /// When the servers or the programs are not to be had.
    pub async fn start(
        servers: &Servers,
        brain: &Brain,
        more: &[(String, String)],
    ) -> Result<(Self, Connection)> {
        let name = format!("bench_{}", Uuid::now_v7().simple());
        let mut admin = PgConnection::connect(servers.database.as_str())
            .await
            .context("TEST_DATABASE_URL")?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut admin)
            .await?;
        let folder = Folder::create()?;
        let address = free_address()?;
        let mut settings = settings(servers, &name, brain)?;
        settings.extend(variables([
            ("AGENT_ORCHESTRATOR_HOST", address.ip().to_string()),
            ("AGENT_ORCHESTRATOR_PORT", address.port().to_string()),
        ]));
        settings.extend(more.iter().cloned());
        let migrate = built("orchestrator-migrate")?;
        Program::start(&migrate, &["up"], &folder.0, &settings)?
            .done()
            .await?;
        let target = Target {
            address,
            token: None,
        };
        let worker = start_worker(&folder.0, &settings)?;
        let mut api = Program::start(&built("orchestrator-api")?, &[], &folder.0, &settings)?;
        let connection = api.ready(&target).await?;
        let deployment = Self {
            servers: servers.clone(),
            name,
            settings,
            api,
            workers: vec![worker],
            target,
            folder,
        };
        Ok((deployment, connection))
    }

    /// The processes of API and workers.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let workers = self.workers.iter().map(Program::pid);
        workers.chain([self.api.pid()]).collect()
    }

    /// What its names at the broker begin with.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{}.", self.name)
    }

    /// The address of the broker.
    #[must_use]
    pub fn broker(&self) -> &str {
        &self.servers.broker
    }

    /// How many rows a table of the ledger has.
    ///
    /// # Errors
    /// When there is no such table.
    pub async fn count(&self, table: &str) -> Result<u64> {
        let mut database = self.servers.database.clone();
        database.set_path(&self.name);
        let mut ledger = PgConnection::connect(database.as_str()).await?;
        let sql = format!("SELECT COUNT(*) FROM {table}");
        let count = sqlx::query_scalar(sqlx::AssertSqlSafe(sql));
        let count: i64 = count.fetch_one(&mut ledger).await?;
        ledger.close().await?;
        Ok(count.try_into()?)
    }

    /// The ends of the logs.
    #[must_use]
    pub fn logs(&self) -> String {
        let workers = self.workers.iter().map(Program::log_end);
        let logs: Vec<String> = workers.chain([self.api.log_end()]).collect();
        format!("the logs end with:\n{}", logs.join("\n"))
    }

    /// Starts one more worker.
    ///
    /// # Errors
    /// When it does not start.
    pub fn add_worker(&mut self) -> Result<()> {
        self.workers
            .push(start_worker(&self.folder.0, &self.settings)?);
        Ok(())
    }

    /// Kills the workers, with no time to say good-bye.
    pub fn kill_workers(&mut self) {
        self.workers.clear();
    }

    /// Ends the processes and removes database, queues and exchanges. What is in Redis runs out by itself.
    ///
    /// # Errors
    /// When a server does not let it.
    pub async fn end(mut self) -> Result<()> {
        self.kill_workers();
        drop(self.api);
        let mut admin = PgConnection::connect(self.servers.database.as_str()).await?;
        let drop_database = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        sqlx::raw_sql(sqlx::AssertSqlSafe(drop_database))
            .execute(&mut admin)
            .await?;
        let broker =
            lapin::Connection::connect(&self.servers.broker, ConnectionProperties::default())
                .await?;
        let channel = broker.create_channel().await?;
        for queue in QUEUES {
            let queue = format!("{}.orchestrator.{queue}", self.name);
            channel
                .queue_delete(queue.into(), QueueDeleteOptions::default())
                .await?;
        }
        for exchange in EXCHANGES {
            let exchange = format!("{}.orchestrator.{exchange}", self.name);
            channel
                .exchange_delete(exchange.into(), ExchangeDeleteOptions::default())
                .await?;
        }
        broker.close(200, "done".into()).await?;
        Ok(())
    }
}

fn start_worker(folder: &Path, settings: &[(String, String)]) -> Result<Program> {
    let settings: Vec<(String, String)> = settings.to_vec();
    Program::start(&built("orchestrator-worker")?, &[], folder, &settings)
}

/// The variables that lead a deployment called `name` to its servers and its Brain Factory.
fn settings(servers: &Servers, name: &str, brain: &Brain) -> Result<Vec<(String, String)>> {
    let mut database = servers.database.clone();
    database.set_path(name);
    let broker: AMQPUri = servers
        .broker
        .parse()
        .map_err(anyhow::Error::msg)
        .context("TEST_RABBITMQ_URL")?;
    let cache = &servers.cache;
    let login = broker.authority.userinfo;
    Ok(variables([
        ("DATABASE_URL", database.to_string()),
        ("RABBITMQ_HOST", broker.authority.host),
        ("RABBITMQ_PORT", broker.authority.port.to_string()),
        ("RABBITMQ_USER", login.username),
        ("RABBITMQ_PASSWORD", login.password),
        ("RABBITMQ_VHOST", broker.vhost),
        ("RABBITMQ_PREFIX", format!("{name}.")),
        (
            "REDIS_HOST",
            cache.host_str().unwrap_or("127.0.0.1").to_owned(),
        ),
        ("REDIS_PORT", cache.port().unwrap_or(6379).to_string()),
        (
            "REDIS_PASSWORD",
            cache.password().unwrap_or_default().to_owned(),
        ),
        ("BRAIN_FACTORY_HOST", brain.address.ip().to_string()),
        ("BRAIN_FACTORY_PORT", brain.address.port().to_string()),
        ("WORKER_HEALTH_PORT", "0".to_owned()),
    ]))
}
