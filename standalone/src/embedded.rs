//! The embedded default, put together and run.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use orchestrator_api::{ApiContext, Application, Dependency, Limits};
use orchestrator_common::audit_service::AuditService;
use orchestrator_common::brain_factory::BrainFactoryClient;
use orchestrator_common::callbacks::CallbackClient;
use orchestrator_common::config::{BrainFactorySettings, Settings};
use orchestrator_common::deployment_pipeline::DeploymentPipelineClient;
use orchestrator_common::domain::{Timestamp, WorkerId};
use orchestrator_common::metrics::Metrics;
use orchestrator_common::waiting::WaitingReaders;
use orchestrator_worker::{Outward, Worker, WorkerContext};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::brain_factory::{BrainFactory, Stats};
use crate::parts::{self, OpenLedger};

/// Everything in one process, bound to its addresses and not yet running.
pub struct Embedded {
    api: Application,
    worker: Worker,
    brain_factory: Option<BrainFactory>,
    ledger: OpenLedger,
    settings: Arc<Settings>,
}

impl Embedded {
    /// Opens the ledger, binds the addresses and puts the parts together.
    ///
    /// # Errors
    /// When something that the settings name cannot be used; the message says which and what it accepts.
    pub async fn build(settings: Settings) -> anyhow::Result<Self> {
        let settings = Arc::new(settings);
        let listener = parts::bind(&settings.http).await?;
        let ledger = parts::open_ledger(&settings).await?;
        let (brain_factory, url) = if settings.brain_factory.configured {
            (None, settings.brain_factory.url.clone())
        } else {
            let built_in = parts::built_in_brain_factory(&settings).await?;
            // Its agents live in its memory, and its address is new at every start.
            ledger.ledger.lose_made_instances(Timestamp::now()).await?;
            let url = built_in
                .url()
                .parse()
                .context("the built-in Brain Factory's address")?;
            (Some(built_in), url)
        };
        let metrics = Arc::new(Metrics::new(settings.agents.metrics_enabled)?);
        let brain = BrainFactoryClient::new(&BrainFactorySettings {
            url,
            ..settings.brain_factory.clone()
        })?;
        let readers = WaitingReaders::default();
        let worker = Worker::new(WorkerContext {
            worker_id: WorkerId::generate(),
            host: "embedded".to_owned(),
            ledger: ledger.ledger.clone(),
            brain,
            callbacks: CallbackClient::of(&settings.callbacks)?,
            audit_service: AuditService::of(settings.audit_service.as_ref())?,
            retention: settings.retention,
            pipeline: DeploymentPipelineClient::of(settings.deployment_pipeline.as_ref())?,
            metrics: Arc::clone(&metrics),
            capacity: settings.worker.concurrency,
            generate_timeout: settings.brain_factory.generate_timeout,
            probe_interval: settings.agents.probe_interval,
            silence: ledger.silence,
            shutdown_grace: settings.shutdown_grace,
            outward: Outward::waking(readers.clone()),
        });
        if ledger.data_dir.is_some() {
            // The folder is held by this process alone, so whoever else was in the ledger is gone.
            worker.recover_all().await?;
        }
        let api = Application::build(
            ApiContext {
                ledger: ledger.ledger.clone(),
                commands: Arc::new(worker.intake()),
                settings: Arc::clone(&settings),
                metrics,
                dependencies: vec![Dependency::ledger(ledger.ledger.clone())],
                readers,
                limits: Limits::default(),
            },
            listener,
        )?;
        Ok(Self {
            api,
            worker,
            brain_factory,
            ledger,
            settings,
        })
    }

    /// Where the API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.api.local_address()
    }

    /// Where the ledger is kept, when it is a file.
    #[must_use]
    pub fn ledger_file(&self) -> Option<PathBuf> {
        self.ledger
            .data_dir
            .as_ref()
            .map(super::DataDir::ledger_file)
    }

    /// What it was built from.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The counters of the built-in Brain Factory, if it is used.
    #[must_use]
    pub fn brain_factory_stats(&self) -> Option<Stats> {
        self.brain_factory.as_ref().map(BrainFactory::stats)
    }

    /// Runs until `shutdown`: then the API answers what it has and takes no more, the worker finishes or hands back
    /// what it runs, and the Brain Factory, which the worker needs for that, stops last.
    ///
    /// # Errors
    /// When a part fails.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            api,
            worker,
            brain_factory,
            ledger,
            ..
        } = self;
        let (stop_worker, stop_brain) = (CancellationToken::new(), CancellationToken::new());
        let brain =
            brain_factory.map(|brain| tokio::spawn(brain.run_until_stopped(stop_brain.clone())));
        let worker = tokio::spawn(worker.run_until_stopped(stop_worker.clone()));
        api.run_until_stopped(shutdown).await.context("the API")?;
        stop_worker.cancel();
        joined(worker).await.context("the worker")?;
        stop_brain.cancel();
        if let Some(brain) = brain {
            joined(brain).await.context("the built-in Brain Factory")?;
        }
        ledger.ledger.close().await;
        Ok(())
    }
}

async fn joined<E: Into<anyhow::Error>>(part: JoinHandle<Result<(), E>>) -> anyhow::Result<()> {
    part.await
        .context("ended unexpectedly")?
        .map_err(Into::into)
}
