//! The one loop that speaks to the ledger for every task of this worker.
//!
//! What arrived while the last transaction ran forms the next batch: alone, a task waits for nobody; under load, one
//! transaction serves hundreds. A batch is settled as a whole, so a crash at any point loses nothing (see the ledger).

mod doubts;
mod salvage;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use orchestrator_common::domain::{AgentId, Outcome, TaskId, TaskStatus, Timestamp};
use orchestrator_common::ledger::{Dispatch, Dispatched, LedgerError, Recorded, Started};
use orchestrator_common::metrics::Metrics;
use orchestrator_common::telemetry::{About, about};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::executor::execute;
use crate::intake::{Arrival, Ended, Intake, Notice, Refused};
use crate::presence::Standing;
use crate::schedule::Schedule;
use crate::worker::WorkerContext;

/// The most tasks that one transaction accepts.
const MAX_ARRIVALS: usize = 512;
/// The most claims that one transaction settles.
const MAX_COMPLETIONS: usize = 1_024;
/// How long the loop waits before it speaks to a ledger again that did not answer.
const LEDGER_PAUSE: Duration = Duration::from_millis(500);
/// The state of the loop.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    context: Arc<WorkerContext>,
    standing: Standing,
    intake: Intake,
    schedule: Schedule,
    arrivals: mpsc::Receiver<Arrival>,
    notices: mpsc::UnboundedReceiver<Notice>,
    room: watch::Sender<bool>,
    /// What runs here, with the means to drop it with an outcome; `None` once it was dropped.
    running: HashMap<TaskId, Option<oneshot::Sender<Outcome>>>,
    /// Agents with runnable tasks that this worker had no room for, or that were rung for.
    hungry: BTreeSet<AgentId>,
    completions: Vec<Ended>,
    waiting: Vec<Arrival>,
    /// Whether the ledger is to be asked what runs here.
    in_doubt: bool,
    doubted_at: Option<Instant>,
}

/// Whether new tasks are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Working,
    Draining,
}

impl Dispatcher {
    pub(crate) fn new(
        context: Arc<WorkerContext>,
        standing: Standing,
        intake: Intake,
        schedule: Schedule,
        arrivals: mpsc::Receiver<Arrival>,
        notices: mpsc::UnboundedReceiver<Notice>,
        room: watch::Sender<bool>,
    ) -> Self {
        Self {
            context,
            standing,
            intake,
            schedule,
            arrivals,
            notices,
            room,
            running: HashMap::new(),
            hungry: BTreeSet::new(),
            completions: Vec::new(),
            waiting: Vec::new(),
            in_doubt: false,
            doubted_at: None,
        }
    }

    /// Works until `drain`, then finishes what runs; `hand_back` gives back what still runs then.
    pub(crate) async fn run(mut self, drain: CancellationToken, hand_back: CancellationToken) {
        loop {
            let mode = if drain.is_cancelled() {
                Mode::Draining
            } else {
                Mode::Working
            };
            if mode == Mode::Draining {
                self.arrivals.close();
                if hand_back.is_cancelled() {
                    for stop in self.running.values_mut() {
                        drop_with(stop, Outcome::HandedBack);
                    }
                }
                if self.running.is_empty()
                    && self.completions.is_empty()
                    && self.arrivals.is_empty()
                {
                    return;
                }
            }
            if !self.has_batch() {
                tokio::select! {
                    biased;
                    () = self.next_notice() => {}
                    () = drain.cancelled(), if mode == Mode::Working => continue,
                    () = hand_back.cancelled(), if !hand_back.is_cancelled() => continue,
                }
            }
            self.collect();
            self.settle_doubts().await;
            self.dispatch(mode).await;
        }
    }

    fn has_batch(&self) -> bool {
        !self.completions.is_empty() || !self.waiting.is_empty()
    }

    /// Waits for something to do.
    async fn next_notice(&mut self) {
        tokio::select! {
            Some(notice) = self.notices.recv() => self.take(notice),
            Some(arrival) = self.arrivals.recv() => self.waiting.push(arrival),
        }
    }

    /// Takes whatever else is there already.
    fn collect(&mut self) {
        while self.completions.len() < MAX_COMPLETIONS {
            let Ok(notice) = self.notices.try_recv() else {
                break;
            };
            self.take(notice);
        }
        while self.waiting.len() < MAX_ARRIVALS {
            let Ok(arrival) = self.arrivals.try_recv() else {
                break;
            };
            self.waiting.push(arrival);
        }
    }

    fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Ended(ended) => {
                self.running.remove(&ended.completion.claim.task_id);
                self.completions.push(*ended);
            }
            Notice::Ring(agent_id) => {
                self.hungry.insert(agent_id);
            }
            Notice::Doubt => self.in_doubt = true,
            Notice::Probe(answer) => {
                let _ = answer.send(());
            }
            Notice::Cancel(task_id) => {
                if let Some(stop) = self.running.get_mut(&task_id) {
                    drop_with(stop, Outcome::Cancelled);
                }
            }
        }
    }

    fn room(&self, mode: Mode) -> u32 {
        match mode {
            Mode::Working if !self.standing.may_claim() => 0,
            Mode::Working => {
                let running = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
                self.context.capacity.saturating_sub(running)
            }
            Mode::Draining => 0,
        }
    }

    async fn dispatch(&mut self, mode: Mode) {
        let room = self.room(mode);
        let claims: Vec<AgentId> = if room > 0 {
            self.hungry.iter().cloned().collect()
        } else {
            Vec::new()
        };
        if claims.is_empty() && !self.has_batch() {
            return;
        }
        let dispatch = Dispatch {
            arrivals: self
                .waiting
                .iter()
                .map(|arrival| arrival.task.clone())
                .collect(),
            completions: self
                .completions
                .iter()
                .map(|ended| ended.completion.clone())
                .collect(),
            claims,
            room,
        };
        let (begun, now) = (Instant::now(), Timestamp::now());
        let result = self
            .context
            .ledger
            .dispatch(self.context.worker_id, dispatch, now)
            .await;
        self.context.metrics.claimed(begun.elapsed());
        match result {
            Ok(dispatched) => self.carry_on(dispatched, mode, room, now),
            Err(LedgerError::Unacceptable(error)) => {
                tracing::warn!(%error, "the ledger refuses a batch; its tasks are tried one by one");
                self.dispatch_one_by_one().await;
            }
            Err(error @ (LedgerError::Unavailable(_) | LedgerError::Corrupt(_))) => {
                tracing::error!(%error, tasks = self.waiting.len(), results = self.completions.len(),
                    "the ledger did not take a batch; results and messages are kept, callers refused");
                self.refuse_waiting(mode);
                self.doubt();
                tokio::time::sleep(LEDGER_PAUSE).await;
            }
        }
    }

    /// Lets go of callers. Messages stay for the next try: while they do, the broker brings no others.
    fn refuse_waiting(&mut self, mode: Mode) {
        for arrival in std::mem::take(&mut self.waiting) {
            if mode == Mode::Working && arrival.sender.can_wait() {
                self.waiting.push(arrival);
            } else {
                arrival.answer(Err(Refused::Unavailable));
            }
        }
    }

    /// Does what the ledger decided at `now`.
    fn carry_on(&mut self, dispatched: Dispatched, mode: Mode, room: u32, now: Timestamp) {
        let Dispatched {
            arrivals,
            completions,
            started,
            hungry,
            to_reconcile,
            circuit_changes,
        } = dispatched;
        if !self.waiting.is_empty() {
            self.context.metrics.ingested(self.waiting.len());
        }
        for (arrival, ingestion) in self.waiting.drain(..).zip(arrivals) {
            self.context.metrics.ingestion(&ingestion.outcome);
            arrival.answer(Ok(ingestion));
        }
        if !completions.is_empty() {
            self.context.metrics.recorded(completions.len());
        }
        for (ended, recorded) in self.completions.drain(..).zip(&completions) {
            count(&self.context.metrics, recorded);
            if ended.task.workflow_run_id.is_some() {
                self.intake.workflows_due();
            }
            self.context.outward.ended(ended, recorded, now);
        }
        self.schedule
            .wake_at(completions.iter().filter_map(due).min());
        for task in started {
            self.start(task);
        }
        if room > 0 {
            self.hungry.clear();
        }
        if self.room(mode) == 0 {
            // Another worker may have room for them.
            self.context.outward.ring(&hungry);
        }
        self.hungry.extend(hungry);
        self.tell_room(mode);
        for agent_id in to_reconcile {
            self.intake.reconcile(agent_id);
        }
        for change in &circuit_changes {
            self.context.circuit_changed(change);
        }
        self.context
            .metrics
            .set_worker_in_flight(self.running.len() as u64);
    }

    fn tell_room(&self, mode: Mode) {
        let has_room = self.room(mode) > 0;
        self.room
            .send_if_modified(|told| std::mem::replace(told, has_room) != has_room);
    }

    fn start(&mut self, task: Started) {
        self.context.outward.started(&task);
        let (stop, stopped) = oneshot::channel();
        self.running.insert(task.claim.task_id, Some(stop));
        let life = self.standing.life();
        // Thousands are in flight at a time, and every future that a task is handed on to would have room for it.
        let task = Box::new(task);
        let (context, intake) = (Arc::clone(&self.context), self.intake.clone());
        tokio::spawn(async move {
            let what = About::task(task.claim.task_id, task.task.traceparent.as_deref());
            let ended = about(what, execute(&context, &intake, task, stopped, life)).await;
            intake.ended(ended);
        });
    }
}

/// Tells the metrics what became of a claim.
fn count(metrics: &Metrics, recorded: &Recorded) {
    let Some(settlement) = &recorded.settlement else {
        metrics.error("stale_outcome");
        return;
    };
    metrics.task_reached(settlement.status);
    if settlement.counts {
        metrics.session_ended(Timestamp::now().since(recorded.claim.started_at));
    }
    if let (TaskStatus::Retrying, Some(error)) = (settlement.status, &settlement.error) {
        metrics.retried(error.code);
    }
}

fn due(recorded: &Recorded) -> Option<Timestamp> {
    recorded
        .settlement
        .as_ref()
        .and_then(|settlement| settlement.run_at)
}

/// Drops what runs, unless that has been asked for before.
fn drop_with(stop: &mut Option<oneshot::Sender<Outcome>>, outcome: Outcome) {
    if let Some(stop) = stop.take() {
        // It has just ended by itself otherwise.
        let _ = stop.send(outcome);
    }
}
