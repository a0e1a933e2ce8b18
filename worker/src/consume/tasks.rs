//! The task queue: tasks go to the dispatcher in batches and are acknowledged in batches, after its commit.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use orchestrator_common::domain::{NewTask, Priority, TaskId, Timestamp};
use orchestrator_common::ledger::{Cancelled, Ingested, Ledger, Reprioritised};
use orchestrator_common::messaging::{
    Command, Consumer, Message, Reason, Received, Refusal, Share, accept_all, ack_all,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use super::reception::{Reception, unacceptable};
use crate::intake::{Refused, Verdict};

/// The most messages that are read, and the most that are settled, at a time.
const BATCH: usize = 512;
/// Commands on single tasks that are carried out at the same time.
const MAX_COMMANDS: usize = 8;
/// How often, and how long apart, a task is looked for that is not known: it may still be on its way into the ledger.
const LOOKS: (u32, Duration) = (8, Duration::from_millis(250));

/// Consumes until the shutdown; then waits until what is in hand is settled or let go.
pub(super) async fn run(reception: Arc<Reception>, mut consumer: Consumer) {
    let (settle, judged) = mpsc::unbounded_channel();
    let aside = TaskTracker::new();
    let settling = tokio::spawn(settle_all(Arc::clone(&reception), judged, aside.clone()));
    let desk = Desk {
        reception,
        settle,
        aside: aside.clone(),
        places: Arc::new(Semaphore::new(MAX_COMMANDS)),
    };
    loop {
        let batch = consumer.recv_batch(BATCH).await;
        if batch.is_empty() {
            break;
        }
        for message in batch {
            desk.take(message).await;
        }
    }
    drop(desk);
    if let Err(error) = settling.await {
        tracing::error!(%error, "settling messages failed");
    }
    aside.close();
    aside.wait().await;
}

/// Where messages are taken in.
#[derive(Clone)]
struct Desk {
    reception: Arc<Reception>,
    settle: mpsc::UnboundedSender<(Share, Verdict)>,
    aside: TaskTracker,
    places: Arc<Semaphore>,
}

impl Desk {
    async fn take(&self, message: Message) {
        let received = match self.reception.read(&message) {
            Ok(received) => received,
            Err(refusal) => return self.put_aside(Share::whole(message), refusal),
        };
        // Almost always it is known at once who sent it; whose key is looked for waits aside.
        match self.reception.admission.check(&received).now_or_never() {
            Some(admitted) => self.go_on(message, received, admitted).await,
            None => {
                let desk = self.clone();
                self.aside.spawn(async move {
                    tokio::select! {
                        admitted = desk.reception.admission.check(&received) => {
                            desk.go_on(message, received, admitted).await;
                        }
                        () = desk.reception.shutdown.cancelled() => {}
                    }
                });
            }
        }
    }

    async fn go_on(
        &self,
        message: Message,
        mut received: Received,
        admitted: Result<Option<String>, Refusal>,
    ) {
        match admitted {
            Ok(Some(subject)) => received.sent_by(&subject),
            Ok(None) => {}
            Err(refusal) => return self.put_aside(Share::whole(message), refusal),
        }
        match received.command {
            Command::Execute(task) => self.bring(*task, Share::whole(message)).await,
            Command::ExecuteBatch(members) => {
                let shares = Share::each(message, members.len());
                for (member, share) in members.into_iter().zip(shares) {
                    match member {
                        Ok(task) => self.bring(*task, share).await,
                        Err(refusal) => self.put_aside(share, refusal),
                    }
                }
            }
            command => {
                let (reception, places) = (Arc::clone(&self.reception), Arc::clone(&self.places));
                let ledger = reception.ledger.by(received.origin);
                self.aside.spawn(async move {
                    if let Ok(_place) = places.acquire().await {
                        carry_out(&reception, &ledger, message, command).await;
                    }
                });
            }
        }
    }

    async fn bring(&self, task: NewTask, share: Share) {
        let settle = self.settle.clone();
        self.reception.intake.bring(task, share, settle).await;
    }

    fn put_aside(&self, share: Share, refusal: Refusal) {
        put_aside(&self.aside, &self.reception, share, refusal);
    }
}

/// Acknowledges what the ledger has, in as large batches as come; refusals take their time beside that.
async fn settle_all(
    reception: Arc<Reception>,
    mut judged: mpsc::UnboundedReceiver<(Share, Verdict)>,
    aside: TaskTracker,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while judged.recv_many(&mut batch, BATCH).await > 0 {
        let mut accepted = Vec::with_capacity(batch.len());
        for (share, verdict) in batch.drain(..) {
            match refusal_of(verdict) {
                Judged::Accepted => accepted.push(share),
                Judged::Refused(refusal) => put_aside(&aside, &reception, share, refusal),
                Judged::LetGo => {}
            }
        }
        accept_all(accepted).await;
    }
}

enum Judged {
    Accepted,
    Refused(Refusal),
    /// The worker stops: the broker gives the message to another one.
    LetGo,
}

fn refusal_of(verdict: Verdict) -> Judged {
    let ingestion = match verdict {
        Ok(ingestion) => ingestion,
        Err(Refused::Unacceptable(why)) => return Judged::Refused(unacceptable(&why)),
        Err(Refused::Unavailable) => return Judged::LetGo,
    };
    let refused = |reason, detail: String| Judged::Refused(Refusal::new(reason, detail));
    match ingestion.outcome {
        Ingested::New { .. } | Ingested::Repeated { .. } => Judged::Accepted,
        Ingested::Conflict => refused(
            Reason::Conflict,
            format!(
                "task {} exists and was asked for differently",
                ingestion.task_id
            ),
        ),
        Ingested::UnknownAgent => refused(
            Reason::UnknownAgent,
            format!("the agent of task {} is not registered", ingestion.task_id),
        ),
    }
}

fn put_aside(aside: &TaskTracker, reception: &Arc<Reception>, share: Share, refusal: Refusal) {
    let reception = Arc::clone(reception);
    aside.spawn(async move { reception.refuse(share, &refusal).await });
}

/// Carries out a command on a single task.
async fn carry_out(reception: &Reception, ledger: &Ledger, message: Message, command: Command) {
    let done = match command {
        Command::CancelTask { task_id, .. } => cancel(reception, ledger, &message, task_id).await,
        Command::Reprioritise { task_id, priority } => {
            reprioritise(reception, ledger, &message, task_id, priority).await
        }
        Command::Execute(_)
        | Command::ExecuteBatch(_)
        | Command::Register(_)
        | Command::Unregister { .. }
        | Command::Start { .. }
        | Command::Stop { .. }
        | Command::Pause { .. }
        | Command::Resume { .. }
        | Command::Scale { .. }
        | Command::StartWorkflow(_)
        | Command::CancelWorkflow { .. }
        | Command::ApproveStep { .. } => Some(Err(Refusal::new(
            Reason::UnknownKind,
            "commands on agents and workflows do not belong into the task queue",
        ))),
    };
    match done {
        Some(Ok(())) => {
            ack_all(vec![message]).await;
        }
        Some(Err(refusal)) => reception.refuse(Share::whole(message), &refusal).await,
        None => {}
    }
}

async fn cancel(
    reception: &Reception,
    ledger: &Ledger,
    message: &Message,
    task_id: TaskId,
) -> Option<Result<(), Refusal>> {
    for look in 1..=LOOKS.0 {
        let cancelled = reception
            .insist(message, || ledger.cancel(task_id, Timestamp::now()))
            .await?;
        match cancelled {
            Ok(Cancelled::Now) => {
                reception.outward.ended_elsewhere(vec![task_id]);
                return Some(Ok(()));
            }
            Ok(Cancelled::Requested(worker_id)) => {
                reception.drop_running(task_id, worker_id).await;
                return Some(Ok(()));
            }
            Ok(Cancelled::AlreadyEnded(_)) => return Some(Ok(())),
            Ok(Cancelled::Unknown) => wait_for_next(look).await,
            Err(refusal) => return Some(Err(refusal)),
        }
    }
    Some(Err(unknown(task_id)))
}

async fn reprioritise(
    reception: &Reception,
    ledger: &Ledger,
    message: &Message,
    task_id: TaskId,
    priority: Priority,
) -> Option<Result<(), Refusal>> {
    for look in 1..=LOOKS.0 {
        let changed = reception
            .insist(message, || ledger.reprioritise(task_id, priority))
            .await?;
        match changed {
            Ok(Reprioritised::Now(_) | Reprioritised::NotWaiting(_)) => return Some(Ok(())),
            Ok(Reprioritised::Unknown) => wait_for_next(look).await,
            Err(refusal) => return Some(Err(refusal)),
        }
    }
    Some(Err(unknown(task_id)))
}

async fn wait_for_next(look: u32) {
    if look < LOOKS.0 {
        tokio::time::sleep(LOOKS.1).await;
    }
}

fn unknown(task_id: TaskId) -> Refusal {
    Refusal::new(Reason::UnknownTask, format!("there is no task {task_id}"))
}
