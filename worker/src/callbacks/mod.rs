//! Telling those who named a `callback_url`: claims what is due, makes attempts side by side, and writes what came of
//! them. Woken by outcomes of this worker; a slow look finds those of others, retries, and what a lost worker had.

mod places;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::callbacks::{ANSWER_TIMEOUT, CallbackClient, Told};
use orchestrator_common::domain::{CallbackClaim, CallbackOutcome, Timestamp, WorkerId};
use orchestrator_common::ledger::{Ledger, LedgerError};
use orchestrator_common::messaging::TaskEvent;
use orchestrator_common::metrics::Metrics;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::worker::WorkerContext;
use places::{Change, Places};

/// Time between two looks when nothing wakes this part.
const INTERVAL: Duration = Duration::from_secs(1);
/// The least time between two looks, so that what comes together is claimed and written together.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// Receivers that one look finds.
const MAX_TARGETS: u32 = 256;
/// How long a claim keeps others away, unless the worker is known to be lost: longer than an attempt can take.
const LEASE: Duration = Duration::from_secs(4 * ANSWER_TIMEOUT.as_secs());
/// How long attempts under way get to end when the worker stops.
const LAST_ATTEMPTS: Duration = Duration::from_secs(3);
/// How long writing their outcomes may take then.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// An attempt under way: the claim, and whom it is for.
type UnderWay = (CallbackClaim, String);
/// An attempt that ended, and what the receiver made of it; `None` when there was nothing to tell.
type Ended = Result<(Id, Option<Told>), JoinError>;

/// Makes callbacks until `stop`; then lets attempts under way end for a moment, and hands back the rest.
pub(crate) async fn run(
    context: Arc<WorkerContext>,
    client: CallbackClient,
    stop: CancellationToken,
) {
    let mut teller = Teller {
        worker_id: context.worker_id,
        ledger: context.ledger.clone(),
        metrics: Arc::clone(&context.metrics),
        client,
        places: Places::default(),
        attempts: JoinSet::new(),
        under_way: HashMap::new(),
        settled: Vec::new(),
        after: String::new(),
    };
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = context.outward.owed.notified() => {}
            Some(ended) = teller.attempts.join_next_with_id() => teller.note(ended),
            () = tokio::time::sleep(pause) => {}
        }
        pause = match teller.round().await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "callbacks wait: the ledger does not answer");
                INTERVAL
            }
        };
        tokio::time::sleep(MIN_INTERVAL).await;
    }
    teller.end().await;
}

/// Says so when callbacks wait that this worker cannot make.
pub(crate) async fn warn_if_any_wait(ledger: &Ledger) {
    if let Ok(waiting) = ledger.waiting_targets("", 1).await
        && !waiting.is_empty()
    {
        tracing::warn!(
            "callbacks wait in the ledger, and this worker makes none: WEBHOOK_SECRET is not set"
        );
    }
}

struct Teller {
    worker_id: WorkerId,
    ledger: Ledger,
    metrics: Arc<Metrics>,
    client: CallbackClient,
    places: Places,
    attempts: JoinSet<Option<Told>>,
    under_way: HashMap<Id, UnderWay>,
    /// What attempts came to and the ledger does not have yet.
    settled: Vec<(CallbackClaim, CallbackOutcome)>,
    /// The receiver after which the next look goes on.
    after: String,
}

impl Teller {
    /// Writes what ended, claims what is due; returns how long nothing has to be done unless something happens.
    async fn round(&mut self) -> Result<Duration, LedgerError> {
        while let Some(ended) = self.attempts.try_join_next_with_id() {
            self.note(ended);
        }
        self.write().await?;
        let mut waiting = self
            .ledger
            .waiting_targets(&self.after, MAX_TARGETS)
            .await?;
        let full = waiting.len() >= MAX_TARGETS as usize;
        self.after = match waiting.last() {
            Some(last) if full => last.target.clone(),
            Some(_) | None => String::new(),
        };
        let mut next = if full { Duration::ZERO } else { INTERVAL };
        waiting.sort_by_key(|waiting| waiting.due_at);
        let now = Timestamp::now();
        for waiting in waiting {
            if waiting.due_at > now {
                next = next.min(waiting.due_at.since(now));
                continue;
            }
            // Without a place, the end of an attempt leads here again.
            let free = self.places.free(&waiting.target);
            if free > 0 {
                let target = &waiting.target;
                let claims = self
                    .ledger
                    .claim_callbacks(self.worker_id, target, free, now, LEASE)
                    .await?;
                self.begin(target, claims);
            }
        }
        Ok(next)
    }

    /// Begins an attempt for each claim.
    fn begin(&mut self, target: &str, claims: Vec<CallbackClaim>) {
        for claim in claims {
            self.places.take(target);
            let (ledger, client) = (self.ledger.clone(), self.client.clone());
            let attempt = self.attempts.spawn(attempt(ledger, client, claim.clone()));
            self.under_way
                .insert(attempt.id(), (claim, target.to_owned()));
        }
    }

    /// Notes what an attempt came to.
    fn note(&mut self, ended: Ended) {
        let (id, told) = match ended {
            Ok((id, told)) => (id, told),
            Err(error) => {
                tracing::error!(%error, "an attempt at a callback broke off");
                (error.id(), Some(broke_off()))
            }
        };
        let Some((claim, target)) = self.under_way.remove(&id) else {
            return;
        };
        let answered = matches!(told, None | Some(Told::Delivered | Told::Gone));
        let change = self.places.give_back(&target, answered);
        let Some(told) = told else { return };
        let outcome = outcome_of(&claim, told);
        log(&claim, &target, &outcome, change);
        self.metrics.callback(&outcome);
        self.settled.push((claim, outcome));
    }

    /// Writes what attempts came to; keeps it when the ledger does not answer.
    async fn write(&mut self) -> Result<(), LedgerError> {
        if self.settled.is_empty() {
            return Ok(());
        }
        let written = self
            .ledger
            .settle_callbacks(&self.settled, Timestamp::now());
        match written.await {
            Ok(()) => {}
            Err(error @ LedgerError::Unavailable(_)) => return Err(error),
            Err(error @ (LedgerError::Unacceptable(_) | LedgerError::Corrupt(_))) => {
                // They are due again when their leases end.
                tracing::error!(%error, "what came of callbacks could not be written");
            }
        }
        self.settled.clear();
        Ok(())
    }

    /// Waits a moment for what is under way, hands back what is left, and writes what came of it all.
    async fn end(mut self) {
        let ending = async {
            while let Some(ended) = self.attempts.join_next_with_id().await {
                self.note(ended);
            }
        };
        let _ = tokio::time::timeout(LAST_ATTEMPTS, ending).await;
        self.attempts.abort_all();
        let left = std::mem::take(&mut self.under_way).into_values();
        for (claim, _) in left {
            self.metrics.callback(&CallbackOutcome::HandedBack);
            self.settled.push((claim, CallbackOutcome::HandedBack));
        }
        match tokio::time::timeout(LAST_WRITE, self.write()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("callbacks could not be handed back; they wait for their leases");
            }
        }
    }
}

/// Makes one attempt; `None` when the outcome stands no longer: tried again by hand, the task will have another to tell.
async fn attempt(ledger: Ledger, client: CallbackClient, claim: CallbackClaim) -> Option<Told> {
    let task = match ledger.task(claim.task_id).await {
        Ok(task) => task.filter(|task| task.completed_at == Some(claim.outcome_at))?,
        Err(error) => {
            tracing::warn!(task_id = %claim.task_id, %error, "a callback waits: its task cannot be read");
            return Some(broke_off());
        }
    };
    let event = TaskEvent::of(&task, claim.outcome_at);
    let url = task.task.callback_url?;
    match serde_json::to_vec(&event) {
        Ok(document) => Some(client.tell(&url, event.message_id(), document.into()).await),
        Err(error) => {
            tracing::error!(task_id = %claim.task_id, %error, "a callback cannot be written");
            Some(broke_off())
        }
    }
}

fn broke_off() -> Told {
    Told::Failed {
        reason: "the attempt broke off".to_owned(),
        retry_after: None,
    }
}

fn outcome_of(claim: &CallbackClaim, told: Told) -> CallbackOutcome {
    let failed = |reason, retry_after| {
        let now = Timestamp::now();
        CallbackOutcome::failed(claim, reason, retry_after, now, fastrand::f64())
    };
    match told {
        Told::Delivered => CallbackOutcome::Delivered,
        Told::Gone => CallbackOutcome::Gone("status 410".to_owned()),
        Told::NotAllowed(why) => failed(format!("the address {why}"), None),
        Told::Failed {
            reason,
            retry_after,
        } => failed(reason, retry_after),
    }
}

/// Names the receiver by host and port only: the rest of the address may hold what only its owner is to know. Of a
/// receiver that fails it says so once.
fn log(claim: &CallbackClaim, target: &str, outcome: &CallbackOutcome, change: Option<Change>) {
    let CallbackClaim {
        task_id, attempt, ..
    } = claim;
    match outcome {
        CallbackOutcome::Delivered => {
            tracing::debug!(%task_id, attempt, receiver = target, "a callback was delivered");
        }
        CallbackOutcome::Gone(_) => {
            tracing::info!(%task_id, attempt, receiver = target, "a callback is no longer wanted");
        }
        CallbackOutcome::Again(reason, at) => {
            tracing::debug!(%task_id, attempt, receiver = target, reason, next_attempt_at = %at, "a callback failed");
        }
        CallbackOutcome::Abandoned(reason) => {
            tracing::warn!(%task_id, attempt, receiver = target, reason, "a callback was given up after a day");
        }
        CallbackOutcome::HandedBack => {}
    }
    match (change, outcome) {
        (Some(Change::Fails), CallbackOutcome::Again(reason, _)) => {
            tracing::warn!(
                receiver = target,
                reason,
                "a receiver fails; its callbacks are tried again"
            );
        }
        (Some(Change::Recovered), _) => {
            tracing::info!(receiver = target, "a receiver takes callbacks again")
        }
        (Some(Change::Fails) | None, _) => {}
    }
}
