//! One worker: its parts, how they start, and how they stop.

use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::audit_service::AuditService;
use orchestrator_common::brain_factory::BrainFactoryClient;
use orchestrator_common::callbacks::CallbackClient;
use orchestrator_common::config::RetentionSettings;
use orchestrator_common::deployment_pipeline::DeploymentPipelineClient;
use orchestrator_common::domain::{CircuitState, Origin, WorkerId};
use orchestrator_common::ledger::{CircuitChange, Ledger, LedgerError};
use orchestrator_common::metrics::Metrics;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dispatcher::Dispatcher;
use crate::health::{Vitals, prove_dispatching};
use crate::intake::{Intake, Outlets};
use crate::outward::Outward;
use crate::presence::Standing;
use crate::schedule::Schedule;
use crate::{
    audit_forwarding, callbacks, lifecycle, presence, probes, retention, roll_up, sweep, workflows,
};

/// How long handing back may take when a worker stops.
const HAND_BACK_TIMEOUT: Duration = Duration::from_secs(10);

/// What a worker works with.
#[derive(Debug)]
pub struct WorkerContext {
    /// Its own identifier, new for every process.
    pub worker_id: WorkerId,
    /// Where it runs, for people.
    pub host: String,
    /// The ledger.
    pub ledger: Ledger,
    /// Who runs tasks.
    pub brain: BrainFactoryClient,
    /// Who knows how deployments stand; nobody is asked without.
    pub pipeline: Option<DeploymentPipelineClient>,
    /// Who makes callbacks; without one, they wait in the ledger.
    pub callbacks: Option<CallbackClient>,
    /// To whom the audit log is forwarded, if to anybody.
    pub audit_service: Option<AuditService>,
    /// How long what has ended is kept.
    pub retention: RetentionSettings,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Tasks in flight at the same time.
    pub capacity: u32,
    /// How long making an agent may take.
    pub generate_timeout: Duration,
    /// How often each instance is asked how it is, by one of all workers.
    pub probe_interval: Duration,
    /// How long another worker may be silent before its tasks are put back.
    pub silence: Duration,
    /// How long a stopping worker waits for what it runs before it hands it back.
    pub shutdown_grace: Duration,
    /// Whom it tells what it does; nobody in the embedded default.
    pub outward: Outward,
}

impl WorkerContext {
    /// Tells people that the circuit of an instance came to stand elsewhere.
    pub(crate) fn circuit_changed(&self, change: &CircuitChange) {
        let CircuitChange {
            agent_id,
            instance_id,
            circuit,
        } = change;
        self.metrics.circuit_changed(*circuit);
        match circuit {
            CircuitState::Open => {
                tracing::warn!(%agent_id, %instance_id, "an instance fails and gets no tasks for a while");
            }
            CircuitState::HalfOpen => {
                tracing::info!(%agent_id, %instance_id, "an instance that failed is tried with a task");
            }
            CircuitState::Closed => {
                tracing::info!(%agent_id, %instance_id, "an instance that failed gets tasks again");
            }
        }
    }
}

/// A worker that is ready to run.
#[derive(Debug)]
pub struct Worker {
    context: Arc<WorkerContext>,
    intake: Intake,
    outlets: Outlets,
    vitals: Arc<Vitals>,
}

impl Worker {
    /// Makes a worker; nothing runs yet.
    #[must_use]
    pub fn new(context: WorkerContext) -> Self {
        Self::with_vitals(context, Arc::new(Vitals::new()))
    }

    /// As [`Self::new`], with signs of life that others look at.
    pub(crate) fn with_vitals(mut context: WorkerContext, vitals: Arc<Vitals>) -> Self {
        // What it does by itself is written down under its own name.
        let origin = Origin::worker(context.worker_id);
        context.ledger = context.ledger.by(origin);
        let (intake, outlets) = Intake::new();
        Self {
            context: Arc::new(context),
            intake,
            outlets,
            vitals,
        }
    }

    /// The way into this worker.
    #[must_use]
    pub fn intake(&self) -> Intake {
        self.intake.clone()
    }

    /// Puts back what every other worker in the ledger was running: for a process that knows it is the only one.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn recover_all(&self) -> Result<(), LedgerError> {
        sweep::recover_all(&self.context, &self.intake).await
    }

    /// Works until `shutdown`, then starts nothing more and waits for what runs; what has not ended within the grace
    /// period is handed back to the ledger, to be run elsewhere or after the next start.
    ///
    /// Waits for a ledger that does not answer at the start.
    ///
    /// # Errors
    /// When the ledger will never take the worker's sign of life.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> Result<(), LedgerError> {
        let Self {
            context,
            intake,
            outlets,
            vitals,
        } = self;
        // Before the first claim, so that a crash right after it is noticed.
        let Some(present) = presence::sign_on(&context, &shutdown).await? else {
            return Ok(());
        };
        let standing = Standing::new(&context);
        let _ = vitals.standing.set(standing.clone());
        context
            .metrics
            .set_worker_capacity(u64::from(context.capacity));
        let schedule = Schedule::new();
        let background = TaskTracker::new();
        let helpers_stop = CancellationToken::new();
        background.spawn(schedule.clone().run(
            Arc::clone(&context),
            intake.clone(),
            helpers_stop.clone(),
        ));
        let beating = background.spawn(presence::beat(
            present,
            standing.clone(),
            vitals.presence.clone(),
            helpers_stop.clone(),
        ));
        background.spawn(standing.clone().keep(helpers_stop.clone()));
        background.spawn(presence::watch(
            Arc::clone(&context),
            intake.clone(),
            vitals.watch.clone(),
            helpers_stop.clone(),
        ));
        background.spawn(sweep::run(
            Arc::clone(&context),
            intake.clone(),
            schedule.clone(),
            vitals.sweep.clone(),
            helpers_stop.clone(),
        ));
        background.spawn(roll_up::run(Arc::clone(&context), helpers_stop.clone()));
        background.spawn(lifecycle::run(
            Arc::clone(&context),
            intake.clone(),
            outlets.lifecycle,
            shutdown.clone(),
        ));
        if let Some(service) = context.audit_service.clone() {
            let (context, stop) = (Arc::clone(&context), helpers_stop.clone());
            background.spawn(audit_forwarding::run(context, service, stop));
        }
        background.spawn(retention::run(Arc::clone(&context), helpers_stop.clone()));
        background.spawn(probes::run(
            Arc::clone(&context),
            intake.clone(),
            helpers_stop.clone(),
        ));
        background.spawn(workflows::run(
            Arc::clone(&context),
            intake.clone(),
            helpers_stop.clone(),
        ));
        match context.callbacks.clone() {
            Some(client) => {
                let (context, stop) = (Arc::clone(&context), helpers_stop.clone());
                background.spawn(callbacks::run(context, client, stop));
            }
            None => {
                let context = Arc::clone(&context);
                background.spawn(async move { callbacks::warn_if_any_wait(&context.ledger).await });
            }
        }
        background.close();

        tokio::spawn(prove_dispatching(intake.clone(), vitals.dispatcher.clone()));
        let hand_back = CancellationToken::new();
        let dispatcher = Dispatcher::new(
            Arc::clone(&context),
            standing,
            intake,
            schedule,
            outlets.arrivals,
            outlets.notices,
            outlets.room,
        );
        let grace = expire_grace(shutdown.clone(), hand_back.clone(), context.shutdown_grace);
        tokio::select! {
            () = dispatcher.run(shutdown.clone(), hand_back) => {}
            () = grace => tracing::error!("the ledger does not take back what still ran; recovery will"),
        }
        helpers_stop.cancel();
        background.wait().await;
        // Dropped by a panic, it gave up its lock, and the others see that.
        if let Ok(present) = beating.await
            && let Err(error) = present.leave().await
        {
            tracing::warn!(%error, "the worker could not sign off; the others will notice");
        }
        Ok(())
    }
}

/// After `shutdown`, waits for the grace period, asks for what still runs to be handed back, and returns when even
/// that took too long.
async fn expire_grace(shutdown: CancellationToken, hand_back: CancellationToken, grace: Duration) {
    shutdown.cancelled().await;
    tokio::time::sleep(grace).await;
    hand_back.cancel();
    tokio::time::sleep(HAND_BACK_TIMEOUT).await;
}
