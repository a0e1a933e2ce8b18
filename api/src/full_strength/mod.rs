//! The API between PostgreSQL, RabbitMQ and Redis. It starts while they are down, and accepts tasks while any one of
//! them is.

mod broker_commands;
mod dead_letters;
mod endorsement;
mod ledger_intake;
mod queued_statuses;
mod task_news;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use orchestrator_common::cache::{Cache, CacheUnavailable};
use orchestrator_common::config::{ConfigError, Settings};
use orchestrator_common::domain::SettlementRules;
use orchestrator_common::ledger::{Ledger, LedgerError, LedgerOptions};
use orchestrator_common::messaging::{
    Broker, DEFAULT_MAX_BODY_BYTES, Publisher, PublisherOptions, Source, Supervisor, Topology,
};
use orchestrator_common::metrics::Metrics;
use orchestrator_common::waiting::{WaitingReaders, Wake};
use orchestrator_migration::readiness;
use orchestrator_migration::schema::TooNew;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::recently_accepted::RecentlyAccepted;
use crate::rest::Rest;
use crate::task_reader::BesideLedger;
use crate::{ApiContext, Application, Dependency, Limits};
use broker_commands::BrokerCommands;
use endorsement::Endorsement;

/// How long an operation waits for a connection to PostgreSQL before the API turns elsewhere.
const LEDGER_PATIENCE: Duration = Duration::from_millis(1_500);
/// How long a publish may go unconfirmed before the task goes into the ledger.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(2);

/// Why the API cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The Redis settings make no address.
    #[error("REDIS_HOST, REDIS_PORT and REDIS_DB must name a Redis server: {0}")]
    Cache(#[from] CacheUnavailable),
    /// The PostgreSQL settings make no address.
    #[error("DATABASE_URL or POSTGRES_* must name a PostgreSQL database: {0}")]
    Ledger(#[from] LedgerError),
    /// The metrics could not be registered.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(String),
    /// The listener has no address.
    #[error("the listener has no address: {0}")]
    Listener(#[from] io::Error),
}

/// Why an API ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not serve.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The ledger has a schema that this version cannot work on.
    #[error(transparent)]
    Schema(#[from] TooNew),
}

/// The API process at full strength, bound to its address and not yet serving.
#[derive(Debug)]
pub struct FullStrength {
    application: Application,
    ledger: Ledger,
    publishing: JoinHandle<()>,
    consuming: JoinHandle<()>,
    stop_publishing: CancellationToken,
    hearing: AbortOnDropHandle<()>,
}

impl FullStrength {
    /// Puts the API together behind `listener`; no server has to answer for that. `RABBITMQ_PREFIX` also goes before the
    /// keys in Redis.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub async fn build(settings: Settings, listener: TcpListener) -> Result<Self, BuildError> {
        let settings = Arc::new(settings);
        let endorsement = Endorsement::new(&settings.auth)?;
        let ledger = open_ledger(&settings).await?;
        let cache = Cache::new(&settings.redis, &settings.rabbitmq.prefix)?;
        let topology = Arc::new(Topology::new(&settings.rabbitmq)?);
        let metrics = Metrics::new(settings.agents.metrics_enabled)
            .map_err(|error| BuildError::Metrics(error.to_string()))?;
        let stop_publishing = CancellationToken::new();
        let (publisher, publishing) = Publisher::start(
            Broker::new(&settings.rabbitmq, "api")?,
            topology.clone(),
            PublisherOptions {
                timeout: CONFIRM_PATIENCE,
                ..PublisherOptions::default()
            },
            stop_publishing.clone(),
        );
        let mut supervisor = Supervisor::new(
            Broker::new(&settings.rabbitmq, "api, dead letters")?,
            topology.clone(),
            stop_publishing.clone(),
        );
        let letters = supervisor.subscribe(Source::DeadLetters, dead_letters::PREFETCH);
        let (_connected, consuming) = supervisor.start();
        tokio::spawn(dead_letters::keep_all(
            letters,
            ledger.clone(),
            settings.http.max_body_bytes.max(DEFAULT_MAX_BODY_BYTES),
            stop_publishing.clone(),
        ));
        let recent = RecentlyAccepted::default();
        let commands = BrokerCommands::new(
            publisher.clone(),
            topology,
            ledger.clone(),
            cache.clone(),
            recent.clone(),
            endorsement,
        );
        let readers = WaitingReaders::default();
        let hearing = hear(cache.clone(), readers.clone());
        let context = ApiContext {
            ledger: ledger.clone(),
            commands: Arc::new(commands),
            settings,
            metrics: Arc::new(metrics),
            dependencies: vec![
                Dependency::ledger(ledger.clone()),
                Dependency::broker(publisher),
                Dependency::cache(cache.clone()),
            ],
            readers: readers.clone(),
            limits: Limits::default(),
        };
        let beside = BesideLedger {
            cache,
            recent,
            rest: Rest::default(),
        };
        Ok(Self {
            application: Application::build_reading(context, Some(beside), listener)?,
            ledger,
            publishing,
            consuming,
            stop_publishing,
            hearing: AbortOnDropHandle::new(tokio::spawn(hearing)),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.application.local_address()
    }

    /// Serves until `shutdown`, answers what is in flight, and closes its connections. Serves while the ledger is away or
    /// lacks migrations, too.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let stop = shutdown.child_token();
        let looking = tokio::spawn(look_at_schema(self.ledger.clone(), stop.clone()));
        let served = self.application.run_until_stopped(stop.clone()).await;
        stop.cancel();
        drop(self.hearing);
        self.stop_publishing.cancel();
        if self.publishing.await.is_err() || self.consuming.await.is_err() {
            tracing::warn!("publishing or consuming ended unexpectedly");
        }
        self.ledger.close().await;
        if let Ok(Err(too_new)) = looking.await {
            return Err(too_new.into());
        }
        Ok(served?)
    }
}

/// Stops serving when the ledger turns out to have a schema that this version cannot work on.
async fn look_at_schema(ledger: Ledger, stop: CancellationToken) -> Result<(), TooNew> {
    let looked = readiness::workable(&ledger, &stop).await;
    if looked.is_err() {
        stop.cancel();
    }
    looked.map(|_workable| ())
}

/// Passes on what Redis tells of tasks; the only subscription of the process.
async fn hear(cache: Cache, readers: WaitingReaders) {
    let mut changed = pin!(cache.subscribe_changed());
    while let Some(task_id) = changed.next().await {
        readers.wake(task_id, Wake::Announced);
    }
}

async fn open_ledger(settings: &Settings) -> Result<Ledger, LedgerError> {
    let options = LedgerOptions {
        max_concurrent_sessions: settings.agents.max_concurrent_sessions,
        auto_start: settings.agents.auto_start,
        rules: SettlementRules::default(),
    };
    let database = &settings.database;
    Ledger::open_impatient_postgres(
        &database.url,
        database.max_connections,
        LEDGER_PATIENCE,
        options,
    )
    .await
}
