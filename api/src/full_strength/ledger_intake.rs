//! The way around the broker: tasks that it did not take go straight into the ledger, as many at once as have come
//! while the last transaction ran.

use std::time::Duration;

use orchestrator_common::commands::{AcceptError, Accepted};
use orchestrator_common::domain::{NewTask, Timestamp};
use orchestrator_common::ledger::{Ingestion, Ledger, LedgerError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Tasks that may wait for the next transaction; who brings more waits.
const MAX_WAITING: usize = 4_096;
/// Tasks of one transaction.
const MAX_BATCH: usize = 500;
/// How long the ledger may take for a batch, further attempts included: connections that broke while they were idle
/// fail one after the other, and must not cost a task that a fresh one would take.
const PATIENCE: Duration = Duration::from_secs(3);
/// The pause before another attempt.
const PAUSE: Duration = Duration::from_millis(20);

/// Why the ledger has not got a task.
#[derive(Clone, Debug)]
enum Refused {
    /// It takes nothing now.
    Unavailable,
    /// It will never take this one.
    Unacceptable(String),
}

/// A task that wants to be accepted, and who wants to know.
#[derive(Debug)]
struct Arrival {
    task: NewTask,
    answer: oneshot::Sender<Result<Ingestion, Refused>>,
}

/// Takes tasks straight into the ledger.
#[derive(Clone, Debug)]
pub(super) struct LedgerIntake {
    arrivals: mpsc::Sender<Arrival>,
}

impl LedgerIntake {
    /// Starts the task that writes; it ends when this and every clone are gone.
    pub(super) fn start(ledger: Ledger) -> Self {
        let (arrivals, arriving) = mpsc::channel(MAX_WAITING);
        tokio::spawn(take_in(ledger, arriving));
        Self { arrivals }
    }

    /// Accepts a task into the ledger, or says within some seconds that it does not take it.
    pub(super) async fn accept(&self, task: NewTask) -> Result<Accepted, AcceptError> {
        let agent_id = task.agent_id.clone();
        let (answer, answered) = oneshot::channel();
        if self.arrivals.send(Arrival { task, answer }).await.is_err() {
            return Err(AcceptError::unavailable());
        }
        match answered.await {
            Ok(Ok(ingestion)) => Accepted::from_ingestion(&ingestion, &agent_id),
            Ok(Err(Refused::Unacceptable(why))) => Err(AcceptError::Unacceptable(why)),
            Ok(Err(Refused::Unavailable)) | Err(_) => Err(AcceptError::unavailable()),
        }
    }
}

async fn take_in(ledger: Ledger, mut arriving: mpsc::Receiver<Arrival>) {
    let mut batch = Vec::new();
    while arriving.recv_many(&mut batch, MAX_BATCH).await > 0 {
        if !ingest(&ledger, std::mem::take(&mut batch)).await {
            // Who came meanwhile is told at once, or waiting times would add up.
            while let Ok(arrival) = arriving.try_recv() {
                let _gone = arrival.answer.send(Err(Refused::Unavailable));
            }
        }
    }
}

/// Answers every arrival; returns whether the ledger is usable.
async fn ingest(ledger: &Ledger, batch: Vec<Arrival>) -> bool {
    let tasks: Vec<NewTask> = batch.iter().map(|arrival| arrival.task.clone()).collect();
    match write(ledger, &tasks).await {
        Ok(ingestions) => {
            for (arrival, ingestion) in batch.into_iter().zip(ingestions) {
                let _gone = arrival.answer.send(Ok(ingestion));
            }
            true
        }
        Err(Refused::Unacceptable(_)) if batch.len() > 1 => {
            // One bad task must not harm its neighbours: each is tried alone.
            let mut usable = true;
            for arrival in batch {
                usable &= Box::pin(ingest(ledger, vec![arrival])).await;
            }
            usable
        }
        Err(refused) => {
            let usable = matches!(refused, Refused::Unacceptable(_));
            for arrival in batch {
                let _gone = arrival.answer.send(Err(refused.clone()));
            }
            usable
        }
    }
}

async fn write(ledger: &Ledger, tasks: &[NewTask]) -> Result<Vec<Ingestion>, Refused> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reason =
            match timeout_at(deadline, ledger.ingest(tasks.to_vec(), Timestamp::now())).await {
                Ok(Ok(ingestions)) => return Ok(ingestions),
                Ok(Err(LedgerError::Unacceptable(why))) => {
                    return Err(Refused::Unacceptable(why.to_string()));
                }
                Ok(Err(error @ (LedgerError::Unavailable(_) | LedgerError::Corrupt(_)))) => {
                    error.to_string()
                }
                Err(_elapsed) => "it took too long".to_owned(),
            };
        let next = Instant::now() + PAUSE;
        if next >= deadline {
            tracing::warn!(%reason, tasks = tasks.len(), "neither the broker nor the ledger takes tasks");
            return Err(Refused::Unavailable);
        }
        sleep_until(next).await;
    }
}
