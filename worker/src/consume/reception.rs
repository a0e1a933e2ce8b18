//! What the loops share: reading a message, refusing one, and trying again while the ledger does not answer.

use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::cache::Cache;
use orchestrator_common::domain::{Origin, TaskId, Timestamp, WorkerId};
use orchestrator_common::ledger::{Ledger, LedgerError};
use orchestrator_common::messaging::{
    Control, Decoder, Message, Outgoing, Publisher, Reason, Received, Refusal, Share, Topology,
    dead_letter,
};
use orchestrator_common::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use super::Admission;
use crate::intake::Intake;
use crate::outward::Outward;

/// How long to wait before a ledger that did not answer is asked again.
const LEDGER_PAUSE: Duration = Duration::from_secs(1);

/// What every loop works with.
#[derive(Debug)]
pub(crate) struct Reception {
    pub(crate) worker_id: WorkerId,
    pub(crate) ledger: Ledger,
    pub(crate) cache: Cache,
    pub(crate) intake: Intake,
    pub(crate) outward: Outward,
    pub(crate) publisher: Publisher,
    pub(crate) topology: Arc<Topology>,
    pub(crate) decoder: Decoder,
    pub(crate) admission: Admission,
    pub(crate) metrics: Arc<Metrics>,
    /// Ends consuming; cancelled from here when the worker is told to drain.
    pub(crate) shutdown: CancellationToken,
}

impl Reception {
    /// Reads a command; whether its sender may give it is still to be asked of [`Self::admission`].
    pub(super) fn read(&self, message: &Message) -> Result<Received, Refusal> {
        if message.is_redelivered() {
            self.metrics.redelivered();
        }
        self.decoder.decode(
            message.routing_key(),
            message.properties(),
            message.body(),
            Timestamp::now(),
        )
    }

    /// Puts a message or one task of it aside, and tells its sender why if it wants to know.
    pub(super) async fn refuse(&self, share: Share, refusal: &Refusal) {
        tracing::debug!(%refusal, "a message is refused");
        let answer = share.answer(refusal);
        let by = Origin::worker(self.worker_id);
        match dead_letter(share, refusal, &by, &self.publisher, &self.topology).await {
            Ok(()) => self.metrics.dead_lettered(refusal.reason),
            Err(error) => {
                tracing::warn!(%error, "a message could not be dead-lettered; it comes again");
                return;
            }
        }
        if let Some(answer) = answer
            && let Err(error) = self.publisher.publish(answer).await
        {
            // It is in the dead-letter queue in any case.
            tracing::debug!(%error, "a refusal could not be sent to who waits for it");
        }
    }

    /// Repeats `operation` until the ledger has answered; `None` when the worker stops or the message was lost before.
    ///
    /// The message stays with us unacknowledged meanwhile, which keeps the broker from bringing many others.
    pub(super) async fn insist<T, F: Future<Output = Result<T, LedgerError>>>(
        &self,
        message: &Message,
        operation: impl Fn() -> F,
    ) -> Option<Result<T, Refusal>> {
        loop {
            match operation().await {
                Ok(value) => return Some(Ok(value)),
                Err(LedgerError::Unacceptable(error)) => {
                    return Some(Err(unacceptable(&error.to_string())));
                }
                Err(error @ (LedgerError::Unavailable(_) | LedgerError::Corrupt(_))) => {
                    tracing::warn!(%error, "the ledger did not take a command; it is tried again");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LEDGER_PAUSE) => {}
                () = self.shutdown.cancelled() => return None,
            }
            if !message.is_current() {
                return None;
            }
        }
    }

    /// Has a task dropped by whichever worker runs it.
    pub(super) async fn drop_running(&self, task_id: TaskId, runs_on: WorkerId) {
        if runs_on == self.worker_id {
            self.intake.cancel(task_id);
            return;
        }
        let Ok(signal) = Outgoing::control(&self.topology, &Control::CancelTask { task_id }) else {
            return;
        };
        if let Err(error) = self.publisher.publish(signal).await {
            tracing::warn!(%task_id, %error, "a cancellation could not be announced; the worker finds it in the ledger");
        }
    }
}

/// The ledger will never store it.
pub(super) fn unacceptable(why: &str) -> Refusal {
    Refusal::new(
        Reason::Invalid,
        format!("the command cannot be stored: {why}"),
    )
}
