//! This worker's own standing: whether it may start tasks, and when it has to let go of those that it runs.
//!
//! Others take its tasks when they have not seen it for a while. It cannot know when they do, only that they do not do
//! it before: so it stops calling agents in time, by its own clock, and a limit stays a limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use orchestrator_common::domain::{RetryPolicy, Timestamp, WorkerId};
use orchestrator_common::ledger::{self, LedgerError, Welcome, WorkerRecord};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::health::Pulse;
use crate::intake::Intake;
use crate::watch::{LOCK_GRACE, Watch};
use crate::worker::WorkerContext;

/// Time between two signs of life, and between two looks at the others, in a ledger that workers share.
const INTERVAL: Duration = Duration::from_millis(250);
/// The same in a ledger that one process has for itself, where a sign of life costs a write to its disk.
const INTERVAL_ALONE: Duration = Duration::from_secs(1);
/// Delays between attempts at the first sign of life.
const SIGN_ON_RETRY: RetryPolicy = RetryPolicy {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(5),
};
/// The silence that is allowed to a worker that nobody can take tasks from.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What the rest of the worker sees of its standing. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    state: watch::Sender<State>,
    silence: Duration,
}

#[derive(Clone, Debug)]
struct State {
    /// When the latest sign of life that the ledger took was begun.
    seen_at: Instant,
    /// Others may see it without its lock.
    exposed: bool,
    /// Ends when others may take what runs here; the next sign of life begins another.
    life: CancellationToken,
}

impl Standing {
    /// The standing of a worker that gave its first sign of life now.
    pub(crate) fn new(context: &WorkerContext) -> Self {
        let silence = if context.ledger.is_shared() {
            context.silence
        } else {
            FOREVER
        };
        let state = State {
            seen_at: Instant::now(),
            exposed: false,
            life: CancellationToken::new(),
        };
        Self {
            state: watch::Sender::new(state),
            silence,
        }
    }

    /// Whether tasks may be started: others will not take them away before they can be heard of again.
    pub(crate) fn may_claim(&self) -> bool {
        let state = self.state.borrow();
        !state.exposed && state.seen_at.elapsed() < self.silence.mul_f64(2.0 / 3.0)
    }

    /// How long ago the latest sign of life was begun that the ledger took.
    pub(crate) fn seen_ago(&self) -> Duration {
        self.state.borrow().seen_at.elapsed()
    }

    /// Ends when what is started now may be run by others.
    pub(crate) fn life(&self) -> CancellationToken {
        self.state.borrow().life.clone()
    }

    /// When the worker has to let go, if it is not seen again.
    fn lost_at(&self, state: &State) -> Instant {
        let patience = if state.exposed {
            self.silence.min(LOCK_GRACE)
        } else {
            self.silence
        };
        state.seen_at + patience.mul_f64(0.8)
    }

    /// Notes a sign of life that was begun at `begun` and has now been taken.
    fn seen(&self, welcome: Welcome, begun: Instant) {
        self.state.send_modify(|state| {
            if welcome == Welcome::Stranger || Instant::now() >= self.lost_at(state) {
                let_go(state);
            }
            if state.life.is_cancelled() {
                tracing::info!("this worker is back and takes tasks again");
                state.life = CancellationToken::new();
            }
            state.seen_at = begun;
            state.exposed = false;
        });
    }

    /// Notes a sign of life that failed.
    fn missed(&self, exposed: bool) {
        self.state.send_modify(|state| state.exposed = exposed);
    }

    /// Lets go in time, until `stop`.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        let mut changed = self.state.subscribe();
        loop {
            let (life, lost_at) = {
                let state = changed.borrow_and_update();
                (state.life.clone(), self.lost_at(&state))
            };
            tokio::select! {
                () = stop.cancelled() => return,
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(lost_at.into()), if !life.is_cancelled() => {
                    self.state.send_modify(let_go);
                }
            }
        }
    }
}

fn let_go(state: &mut State) {
    if !state.life.is_cancelled() {
        tracing::error!(
            unseen_for = ?state.seen_at.elapsed(),
            "this worker may be taken for lost: it hands back what it runs"
        );
        state.life.cancel();
    }
}

/// Gives the first sign of life, however often it takes; `None` when the worker is stopped before.
///
/// # Errors
/// When the ledger takes none and never will.
pub(crate) async fn sign_on(
    context: &WorkerContext,
    stop: &CancellationToken,
) -> Result<Option<ledger::Presence>, LedgerError> {
    let mut presence = context.ledger.presence(WorkerRecord {
        worker_id: context.worker_id,
        host: context.host.clone(),
        capacity: context.capacity,
    });
    let mut attempt = 0_u32;
    loop {
        let beat = tokio::select! {
            beat = presence.beat() => beat,
            () = stop.cancelled() => return Ok(None),
        };
        let error = match beat {
            Ok(_) => return Ok(Some(presence)),
            Err(error @ LedgerError::Unavailable(_)) => error,
            Err(error @ (LedgerError::Unacceptable(_) | LedgerError::Corrupt(_))) => {
                return Err(error);
            }
        };
        attempt = attempt.saturating_add(1);
        let retry_in = SIGN_ON_RETRY.delay(attempt, None, fastrand::f64());
        tracing::warn!(%error, ?retry_in, "the ledger did not take the first sign of life");
        tokio::select! {
            () = tokio::time::sleep(retry_in) => {}
            () = stop.cancelled() => return Ok(None),
        }
    }
}

/// Gives signs of life until `stop`, then returns what is to be signed off.
pub(crate) async fn beat(
    mut presence: ledger::Presence,
    standing: Standing,
    pulse: Pulse,
    stop: CancellationToken,
) -> ledger::Presence {
    let mut ticks = ticks(presence.is_shared());
    loop {
        pulse.beat();
        tokio::select! {
            () = stop.cancelled() => return presence,
            _ = ticks.tick() => {}
        }
        let begun = Instant::now();
        // An answer that comes later than this finds the worker lost; a new session may find the server sooner.
        match tokio::time::timeout(standing.silence, presence.beat()).await {
            Ok(Ok(welcome)) => standing.seen(welcome, begun),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a sign of life was not taken");
                standing.missed(presence.is_exposed());
            }
            Err(_elapsed) => tracing::warn!("the ledger does not answer a sign of life"),
        }
    }
}

/// Looks at the other workers until `stop`, and puts back the tasks of those that are lost.
pub(crate) async fn watch(
    context: Arc<WorkerContext>,
    intake: Intake,
    pulse: Pulse,
    stop: CancellationToken,
) {
    let mut watch = Watch::new(context.silence);
    let mut ticks = ticks(context.ledger.is_shared());
    loop {
        pulse.beat();
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let begun = Instant::now();
        let lost = match context.ledger.other_workers(context.worker_id).await {
            Ok(sightings) => watch.look(&sightings, begun, Instant::now()),
            Err(error) => {
                tracing::warn!(%error, "the other workers could not be looked at");
                continue;
            }
        };
        for lost in lost {
            pulse.beat();
            if let Err(error) = recover(&context, &intake, lost).await {
                tracing::warn!(worker_id = %lost, %error, "a lost worker's tasks could not be put back yet");
            }
        }
    }
}

/// Puts back the tasks of a worker that is lost. Several workers may do so at the same time.
pub(crate) async fn recover(
    context: &WorkerContext,
    intake: &Intake,
    lost: WorkerId,
) -> Result<(), LedgerError> {
    let recovered = context.ledger.recover(lost, Timestamp::now()).await?;
    tracing::warn!(worker_id = %lost, tasks = recovered.len(), "a lost worker's tasks were put back");
    let tasks = recovered.iter().map(|task| task.claim.task_id).collect();
    context.outward.ended_elsewhere(tasks);
    for task in recovered {
        intake.ring(task.claim.agent_id);
    }
    Ok(())
}

fn ticks(shared: bool) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(if shared { INTERVAL } else { INTERVAL_ALONE });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
