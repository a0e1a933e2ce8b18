//! The way into a worker: tasks to accept, agents to look at. In the embedded default, the API's way as well.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use orchestrator_common::commands::{AcceptError, Accepted, CommandSink, TaskChange};
use orchestrator_common::domain::{AgentId, Completion, NewTask, TaskId, Usage};
use orchestrator_common::ledger::Ingestion;
use orchestrator_common::messaging::Share;
use orchestrator_common::telemetry::Span;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Tasks that may wait for the next transaction; who brings more waits.
const MAX_ARRIVALS: usize = 4_096;
/// What a caller is told to wait when nothing durable can take a task.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A task that wants to be accepted, and who wants to know.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) task: NewTask,
    pub(crate) sender: Sender,
    span: Span,
}

impl Arrival {
    fn new(mut task: NewTask, sender: Sender) -> Self {
        let is_message = matches!(sender, Sender::Message(..));
        Self {
            span: Span::of_ingest(&mut task, is_message),
            task,
            sender,
        }
    }

    /// Answers; who no longer waits finds the task by its identifier.
    pub(crate) fn answer(mut self, verdict: Verdict) {
        let ingestion = verdict.as_ref().ok();
        self.span
            .ingested(ingestion.map(|ingestion| &ingestion.outcome));
        match self.sender {
            Sender::Caller(caller) => {
                let _ = caller.send(verdict);
            }
            Sender::Message(share, settle) => {
                let _ = settle.send((share, verdict));
            }
        }
    }
}

/// Who brought a task.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "at full strength nearly all are messages, and each would cost an allocation"
)]
pub(crate) enum Sender {
    /// A caller who waits for the answer.
    Caller(oneshot::Sender<Verdict>),
    /// A message or a part of one, which the broker keeps until it is settled.
    Message(Share, mpsc::UnboundedSender<(Share, Verdict)>),
}

/// What the ledger says to a task.
pub(crate) type Verdict = Result<Ingestion, Refused>;

impl Sender {
    /// Whether the task may wait for a ledger that does not answer: nobody waits for the answer meanwhile.
    pub(crate) fn can_wait(&self) -> bool {
        match self {
            Self::Caller(_) => false,
            Self::Message(share, _) => share.is_current(),
        }
    }
}

/// Why the ledger has not got a task.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It takes nothing now.
    Unavailable,
    /// It will never take this one.
    Unacceptable(String),
}

/// A claim that ended, with what is known of its task.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) completion: Completion,
    pub(crate) task: NewTask,
    /// What earlier attempts used.
    pub(crate) used: Usage,
}

/// What the dispatcher is told beside arrivals.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A claim ended.
    Ended(Box<Ended>),
    /// An agent may have runnable tasks.
    Ring(AgentId),
    /// The ledger may have more of this worker's tasks than the worker knows.
    Doubt,
    /// A task is to be dropped if it runs here; the ledger knows of the wish already.
    Cancel(TaskId),
    /// Somebody wants to know whether the dispatcher still turns.
    Probe(oneshot::Sender<()>),
}

/// A handle to a worker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Intake {
    arrivals: mpsc::Sender<Arrival>,
    notices: mpsc::UnboundedSender<Notice>,
    lifecycle: mpsc::UnboundedSender<AgentId>,
    room: watch::Receiver<bool>,
    workflows: Arc<Notify>,
}

/// The other ends of an [`Intake`].
#[derive(Debug)]
pub(crate) struct Outlets {
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) notices: mpsc::UnboundedReceiver<Notice>,
    pub(crate) lifecycle: mpsc::UnboundedReceiver<AgentId>,
    /// Whether the worker has room for more tasks.
    pub(crate) room: watch::Sender<bool>,
}

impl Intake {
    pub(crate) fn new() -> (Self, Outlets) {
        let (arrivals, arrivals_out) = mpsc::channel(MAX_ARRIVALS);
        // Unbounded, but never long: at most one completion per running task, and rings are merged per agent.
        let (notices, notices_out) = mpsc::unbounded_channel();
        let (lifecycle, lifecycle_out) = mpsc::unbounded_channel();
        let (room_in, room) = watch::channel(true);
        let outlets = Outlets {
            arrivals: arrivals_out,
            notices: notices_out,
            lifecycle: lifecycle_out,
            room: room_in,
        };
        (
            Self {
                arrivals,
                notices,
                lifecycle,
                room,
                workflows: Arc::default(),
            },
            outlets,
        )
    }

    /// Says that an agent may have runnable tasks.
    pub(crate) fn ring(&self, agent_id: AgentId) {
        // Without a dispatcher the worker is stopping; another one's sweep finds the tasks.
        let _ = self.notices.send(Notice::Ring(agent_id));
    }

    /// Says that the ledger may have more of this worker's tasks than the worker knows.
    pub(crate) fn doubt(&self) {
        let _ = self.notices.send(Notice::Doubt);
    }

    /// Says that workflows may have something to do.
    pub(crate) fn workflows_due(&self) {
        self.workflows.notify_one();
    }

    /// Returns when workflows may have something to do since the last time.
    pub(crate) async fn until_workflows_due(&self) {
        self.workflows.notified().await;
    }

    /// Says that a claim ended.
    pub(crate) fn ended(&self, ended: Ended) {
        let _ = self.notices.send(Notice::Ended(Box::new(ended)));
    }

    /// Drops a task if it runs here: for a task whose cancellation the ledger has noted.
    pub(crate) fn cancel(&self, task_id: TaskId) {
        let _ = self.notices.send(Notice::Cancel(task_id));
    }

    /// Waits for the dispatcher to answer; `false` once it has ended.
    pub(crate) async fn answers(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.notices.send(Notice::Probe(answer)).is_ok() && answered.await.is_ok()
    }

    /// Follows whether the worker has room for more tasks.
    pub(crate) fn room(&self) -> watch::Receiver<bool> {
        self.room.clone()
    }

    /// Brings a task that came over the broker, and waits while too many wait already.
    pub(crate) async fn bring(
        &self,
        task: NewTask,
        share: Share,
        settle: mpsc::UnboundedSender<(Share, Verdict)>,
    ) {
        let sender = Sender::Message(share, settle);
        // Without a dispatcher the worker is stopping, and the broker gives the message to another one.
        let _ = self.arrivals.send(Arrival::new(task, sender)).await;
    }

    /// Says that an agent's lifecycle has something to do.
    pub(crate) fn reconcile(&self, agent_id: AgentId) {
        let _ = self.lifecycle.send(agent_id);
    }

    async fn accept(&self, task: NewTask) -> Result<Accepted, AcceptError> {
        let agent_id = task.agent_id.clone();
        let unavailable = AcceptError::Unavailable {
            retry_after: RETRY_AFTER,
        };
        let (answer, answered) = oneshot::channel();
        let sender = Sender::Caller(answer);
        if self
            .arrivals
            .send(Arrival::new(task, sender))
            .await
            .is_err()
        {
            return Err(unavailable);
        }
        let ingestion = match answered.await {
            Ok(Ok(ingestion)) => ingestion,
            Ok(Err(Refused::Unacceptable(why))) => return Err(AcceptError::Unacceptable(why)),
            Ok(Err(Refused::Unavailable)) | Err(_) => return Err(unavailable),
        };
        Accepted::from_ingestion(&ingestion, &agent_id)
    }
}

impl CommandSink for Intake {
    fn execute(&self, task: NewTask) -> BoxFuture<'_, Result<Accepted, AcceptError>> {
        self.accept(task).boxed()
    }

    fn agent_changed(&self, agent_id: &AgentId) {
        self.reconcile(agent_id.clone());
    }

    fn workflows_changed(&self) {
        self.workflows_due();
    }

    fn task_changed(&self, change: TaskChange) -> BoxFuture<'_, ()> {
        match change {
            TaskChange::ToDrop { task_id, .. } => self.cancel(task_id),
            TaskChange::Retried { agent_id, .. } => {
                self.reconcile(agent_id.clone());
                self.ring(agent_id);
            }
            TaskChange::Ended(_) | TaskChange::Reprioritised(_) => {}
        }
        std::future::ready(()).boxed()
    }
}
