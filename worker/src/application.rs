//! The worker at full strength: one worker with the broker, Redis and PostgreSQL around it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use orchestrator_common::audit_service::AuditService;
use orchestrator_common::auth::{Endorser, Verifier};
use orchestrator_common::brain_factory::{BrainFactoryClient, ClientError};
use orchestrator_common::cache::{Cache, CacheUnavailable};
use orchestrator_common::callbacks::{CallbackClient, CallbackClientError};
use orchestrator_common::config::{ConfigError, Settings};
use orchestrator_common::deployment_pipeline::DeploymentPipelineClient;
use orchestrator_common::domain::{SettlementRules, WorkerId};
use orchestrator_common::health::{
    Board, CacheCheck, ConsumingCheck, DependencyCheck, LedgerCheck,
};
use orchestrator_common::ledger::{Ledger, LedgerError, LedgerOptions};
use orchestrator_common::messaging::{
    Broker, Decoder, Publisher, PublisherOptions, Supervisor, Topology,
};
use orchestrator_common::metrics::{Metrics, MetricsError};
use orchestrator_migration::readiness;
use orchestrator_migration::schema::TooNew;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::announce::{Announcer, Bell, Reach};
use crate::consume::{self, Admission, Checks, Reception};
use crate::health::{self, Doors, Readiness, Vitals, prove_subscription};
use crate::outward::Outward;
use crate::worker::{Worker, WorkerContext};

/// How long another worker may be silent before its tasks are put back.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a stopping worker waits for the last announcements to reach Redis and the broker.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why the worker could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The Redis settings make no address.
    #[error("REDIS_HOST, REDIS_PORT and REDIS_DB must name a Redis: {0}")]
    Cache(#[from] CacheUnavailable),
    /// The metrics could not be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The HTTP client could not be made.
    #[error("the client of the Brain Factory could not be made: {0}")]
    BrainFactory(#[from] ClientError),
    /// The HTTP client for callbacks could not be made.
    #[error(transparent)]
    Callbacks(#[from] CallbackClientError),
}

/// Why a worker ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The settings make no address of a ledger, or it will never take the worker's sign of life.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger has a schema that this version cannot work on.
    #[error(transparent)]
    Schema(#[from] TooNew),
}

/// A worker at full strength, put together and connected to nothing yet.
#[derive(Debug)]
pub struct Application {
    settings: Settings,
    worker_id: WorkerId,
    cache: Cache,
    topology: Arc<Topology>,
    publishing: Broker,
    consuming: Broker,
    proving: Broker,
    brain: BrainFactoryClient,
    callbacks: Option<CallbackClient>,
    audit_service: Option<AuditService>,
    pipeline: Option<DeploymentPipelineClient>,
    metrics: Arc<Metrics>,
    endorser: Option<Endorser>,
    health: Option<TcpListener>,
    started: Instant,
}

impl Application {
    /// Puts the parts together; must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When something that the settings name cannot be used.
    pub fn build(settings: Settings) -> Result<Self, BuildError> {
        Ok(Self {
            worker_id: WorkerId::generate(),
            cache: Cache::new(&settings.redis, &settings.rabbitmq.prefix)?,
            topology: Arc::new(Topology::new(&settings.rabbitmq)?),
            publishing: Broker::new(&settings.rabbitmq, "worker, publishing")?,
            consuming: Broker::new(&settings.rabbitmq, "worker, consuming")?,
            proving: Broker::new(&settings.rabbitmq, "worker, proving")?,
            brain: BrainFactoryClient::new(&settings.brain_factory)?,
            callbacks: CallbackClient::of(&settings.callbacks)?,
            audit_service: AuditService::of(settings.audit_service.as_ref())?,
            pipeline: DeploymentPipelineClient::of(settings.deployment_pipeline.as_ref())?,
            metrics: Arc::new(Metrics::new(settings.agents.metrics_enabled)?),
            endorser: Endorser::new(&settings.auth)?,
            settings,
            health: None,
            started: Instant::now(),
        })
    }

    /// Has the worker say over HTTP how it is.
    #[must_use]
    pub fn with_health_on(self, listener: TcpListener) -> Self {
        Self {
            health: Some(listener),
            ..self
        }
    }

    /// The worker's own identifier, new for every process.
    #[must_use]
    pub fn worker_id(&self) -> WorkerId {
        self.worker_id
    }

    /// Where it counts.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Connects and works until `shutdown`: then it takes no more messages, finishes or hands back what it runs, and
    /// announces what is left.
    ///
    /// Waits for a ledger that is not there yet, or has no schema yet.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn run_until_stopped(mut self, shutdown: CancellationToken) -> Result<(), RunError> {
        // The worker can be told to drain over the broker, too.
        let stop = shutdown.child_token();
        let ledger = open_ledger(&self.settings).await?;
        let vitals = Arc::new(Vitals::new());
        let mut supervisor =
            Supervisor::new(self.consuming, Arc::clone(&self.topology), stop.clone());
        let ended = CancellationToken::new();
        let _answers_until_the_end = ended.clone().drop_guard();
        let verifier = Verifier::new(&self.settings.auth).map(Arc::new);
        if let Some(listener) = self.health.take() {
            let doors = Doors {
                vitals: Arc::clone(&vitals),
                readiness: Readiness {
                    worker_id: self.worker_id,
                    board: Board::new(checks(
                        &ledger,
                        &supervisor,
                        &self.cache,
                        verifier.as_deref(),
                    )),
                    vitals: Arc::clone(&vitals),
                    started: self.started,
                    stopping: stop.clone(),
                },
                metrics: Arc::clone(&self.metrics),
                verifier: verifier
                    .clone()
                    .filter(|_| self.settings.http.metrics_require_auth),
            };
            tokio::spawn(health::serve(listener, Arc::new(doors), ended));
        }
        let workable = readiness::workable(&ledger, &stop).await;
        if !matches!(workable, Ok(true)) {
            ledger.close().await;
            return Ok(workable.map(|_stopped| ())?);
        }
        let last_words = CancellationToken::new();
        let (publisher, publishing) = Publisher::start(
            self.publishing,
            Arc::clone(&self.topology),
            PublisherOptions::default(),
            last_words.clone(),
        );
        let stop_telling = CancellationToken::new();
        let (announcer, announcing) = Announcer::start(
            Reach {
                ledger: ledger.clone(),
                cache: self.cache.clone(),
                publisher: publisher.clone(),
                topology: Arc::clone(&self.topology),
                metrics: Arc::clone(&self.metrics),
            },
            stop_telling.clone(),
        );
        let (bell, ringing) = Bell::start(
            publisher.clone(),
            Arc::clone(&self.topology),
            stop_telling.clone(),
        );
        let outward = Outward {
            announcer: Some(announcer),
            bell: Some(bell),
            ..Outward::default()
        };
        let context = WorkerContext {
            worker_id: self.worker_id,
            host: host(),
            ledger: ledger.clone(),
            brain: self.brain,
            callbacks: self.callbacks,
            audit_service: self.audit_service,
            retention: self.settings.retention,
            pipeline: self.pipeline,
            metrics: Arc::clone(&self.metrics),
            capacity: self.settings.worker.concurrency,
            generate_timeout: self.settings.brain_factory.generate_timeout,
            probe_interval: self.settings.agents.probe_interval,
            silence: SILENCE,
            shutdown_grace: self.settings.shutdown_grace,
            outward: outward.clone(),
        };
        let worker = Worker::with_vitals(context, Arc::clone(&vitals));
        let checks = self.endorser.take().zip(verifier);
        let checks = checks.map(|(endorser, verifier)| Checks { endorser, verifier });
        let reception = Arc::new(Reception {
            worker_id: self.worker_id,
            ledger: ledger.clone(),
            cache: self.cache,
            intake: worker.intake(),
            outward,
            publisher,
            topology: Arc::clone(&self.topology),
            decoder: Decoder {
                max_body_bytes: self.settings.http.max_body_bytes,
                ..Decoder::default()
            },
            admission: Admission::new(checks),
            metrics: Arc::clone(&self.metrics),
            shutdown: stop.clone(),
        });
        let loops = consume::start(&reception, &mut supervisor);
        let (consuming, supervising) = supervisor.start();
        let proving = tokio::spawn(prove_subscription(
            consuming,
            self.proving,
            self.topology,
            vitals.subscription.clone(),
            stop.clone(),
        ));

        let worked = worker.run_until_stopped(stop.clone()).await;
        // Also when the worker failed.
        stop.cancel();
        loops.wait().await;
        stop_telling.cancel();
        let told = async { tokio::join!(announcing, ringing) };
        if tokio::time::timeout(LAST_WORDS, told).await.is_err() {
            tracing::warn!("the broker did not take the last events; the ledger has what they say");
        }
        last_words.cancel();
        joined("publishing", publishing).await;
        joined("consuming", supervising).await;
        joined("proving", proving).await;
        ledger.close().await;
        Ok(worked?)
    }
}

/// What the readiness probe asks.
fn checks(
    ledger: &Ledger,
    supervisor: &Supervisor,
    cache: &Cache,
    verifier: Option<&Verifier>,
) -> Vec<Arc<dyn DependencyCheck>> {
    let mut checks: Vec<Arc<dyn DependencyCheck>> = vec![
        Arc::new(LedgerCheck(ledger.clone())),
        Arc::new(ConsumingCheck(supervisor.consuming())),
        Arc::new(CacheCheck(cache.clone())),
    ];
    if let Some(keys) = verifier.and_then(Verifier::key_set) {
        checks.push(Arc::new(keys.clone()));
    }
    checks
}

/// Prepares for the ledger; nothing is asked of it yet.
async fn open_ledger(settings: &Settings) -> Result<Ledger, LedgerError> {
    let options = LedgerOptions {
        max_concurrent_sessions: settings.agents.max_concurrent_sessions,
        auto_start: settings.agents.auto_start,
        rules: SettlementRules::default(),
    };
    let database = &settings.database;
    Ledger::open_postgres(&database.url, database.max_connections, options).await
}

async fn joined(part: &str, handle: JoinHandle<()>) {
    if let Err(error) = handle.await {
        tracing::error!(part, %error, "a part ended unexpectedly");
    }
}

/// The name of this machine or container, for people.
fn host() -> String {
    let named = std::env::var("HOSTNAME").ok();
    let named = named.or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    named
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
