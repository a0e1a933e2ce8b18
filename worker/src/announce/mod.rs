//! Announcing what the ledger has recorded: to Redis for pollers, then as events, then to whoever asked for an answer.
//!
//! Announcements follow the commit and never hold up the dispatcher: they wait in a bounded queue, and what does not
//! fit is left out and counted, progress (`running`, `retrying`) first and outcomes only when tens of thousands wait.
//! Outcomes are announced at least once as long as the process lives; the ledger has them in any case.

mod bell;
mod cache;
mod events;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use orchestrator_common::cache::Cache;
use orchestrator_common::domain::{AgentId, AgentStatus, TaskId, TaskRecord, Timestamp};
use orchestrator_common::ledger::{Ledger, RunChange};
use orchestrator_common::messaging::{AgentEvent, Publisher, Topology};
use orchestrator_common::metrics::Metrics;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use bell::Bell;

/// Announcements that may wait, at each of the two stages.
const MAX_WAITING: usize = 32_768;
/// Bytes of results that may wait, over both stages.
const MAX_WAITING_BYTES: usize = 256 * 1_024 * 1_024;
/// The most announcements that are made together.
const MAX_BATCH: usize = 512;

/// A task and where it stands since `at`.
#[derive(Debug)]
pub(crate) struct Fact {
    record: TaskRecord,
    at: Timestamp,
    weight: Weight,
}

/// What is to be announced.
#[derive(Debug)]
pub(crate) enum News {
    /// A task stands somewhere else now.
    Task(Box<Fact>),
    /// An agent is something else now.
    Agent(AgentEvent),
    /// Tasks have ended; the ledger knows how.
    LookUp(Vec<TaskId>),
    /// A workflow stands somewhere else now.
    Run(RunChange),
}

/// Bytes that an announcement holds on to, given back when it is dropped.
#[derive(Debug)]
struct Weight {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Weight {
    fn of(record: &TaskRecord, all: &Arc<AtomicUsize>) -> Self {
        let bytes = record
            .result
            .as_ref()
            .map_or(0, |result| result.get().len());
        all.fetch_add(bytes, Ordering::Relaxed);
        Self {
            bytes,
            all: Arc::clone(all),
        }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What announcing needs.
#[derive(Debug)]
pub(crate) struct Reach {
    pub(crate) ledger: Ledger,
    pub(crate) cache: Cache,
    pub(crate) publisher: Publisher,
    pub(crate) topology: Arc<Topology>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Takes announcements; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Announcer {
    waiting: Waiting,
    weight: Arc<AtomicUsize>,
}

impl Announcer {
    /// Starts announcing until `stop`; what waits then is still announced before the task ends.
    pub(crate) fn start(reach: Reach, stop: CancellationToken) -> (Self, JoinHandle<()>) {
        let (facts, facts_out) = Waiting::new(&reach.metrics);
        let (told, told_out) = Waiting::new(&reach.metrics);
        let announcer = Self {
            waiting: facts,
            weight: Arc::default(),
        };
        let weight = Arc::clone(&announcer.weight);
        let reach = Arc::new(reach);
        let handle = tokio::spawn(async move {
            let events = tokio::spawn(events::run(Arc::clone(&reach), told_out));
            cache::run(&reach, facts_out, told, weight, stop).await;
            if let Err(error) = events.await {
                tracing::error!(%error, "announcing events failed");
            }
        });
        (announcer, handle)
    }

    pub(crate) fn tell(&self, record: TaskRecord, at: Timestamp) {
        self.waiting.push(News::Task(Box::new(Fact {
            weight: Weight::of(&record, &self.weight),
            record,
            at,
        })));
    }

    pub(crate) fn look_up(&self, task_ids: Vec<TaskId>) {
        if !task_ids.is_empty() {
            self.waiting.push(News::LookUp(task_ids));
        }
    }

    pub(crate) fn run(&self, change: RunChange) {
        self.waiting.push(News::Run(change));
    }

    pub(crate) fn agent(&self, agent_id: AgentId, status: AgentStatus, reason: Option<String>) {
        let event = AgentEvent::new(agent_id, status, reason, Timestamp::now());
        self.waiting.push(News::Agent(event));
    }
}

/// The bounded queue of a stage.
#[derive(Clone, Debug)]
struct Waiting {
    queue: mpsc::Sender<News>,
    metrics: Arc<Metrics>,
}

impl Waiting {
    fn new(metrics: &Arc<Metrics>) -> (Self, mpsc::Receiver<News>) {
        let (queue, out) = mpsc::channel(MAX_WAITING);
        let metrics = Arc::clone(metrics);
        (Self { queue, metrics }, out)
    }

    /// Keeps half of the queue for outcomes.
    fn push(&self, news: News) {
        let fits = match &news {
            News::Task(fact) if fact.record.status.is_terminal() => {
                fact.weight.all.load(Ordering::Relaxed) <= MAX_WAITING_BYTES
            }
            News::Task(_) | News::Agent(_) | News::Run(_) => {
                self.queue.capacity() > MAX_WAITING / 2
            }
            News::LookUp(_) => true,
        };
        if !fits || self.queue.try_send(news).is_err() {
            self.metrics.announcement_dropped();
        }
    }
}
