//! An alarm for the next delayed or retrying task, so that it runs when it is due and not at the next sweep.

use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::domain::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::intake::Intake;
use crate::worker::WorkerContext;

/// The least time between two looks, so that many tasks that fall due together are queued together.
const MIN_INTERVAL: Duration = Duration::from_millis(20);

/// Sets the alarm.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    next: watch::Sender<Option<Timestamp>>,
}

impl Schedule {
    pub(crate) fn new() -> Self {
        Self {
            next: watch::Sender::new(None),
        }
    }

    /// Wakes at `at`, if that is earlier than what is set.
    pub(crate) fn wake_at(&self, at: Option<Timestamp>) {
        let Some(at) = at else { return };
        self.next.send_if_modified(|next| {
            let earlier = next.is_none_or(|next| at < next);
            if earlier {
                *next = Some(at);
            }
            earlier
        });
    }

    /// Queues tasks when they fall due, until `stop`.
    pub(crate) async fn run(
        self,
        context: Arc<WorkerContext>,
        intake: Intake,
        stop: CancellationToken,
    ) {
        let mut changed = self.next.subscribe();
        loop {
            let next = *changed.borrow_and_update();
            tokio::select! {
                () = stop.cancelled() => return,
                _ = changed.changed() => continue,
                () = sleep_until(next) => {}
            }
            self.next.send_replace(None);
            match context.ledger.promote_due(Timestamp::now()).await {
                Ok(promoted) => {
                    promoted
                        .agents
                        .into_iter()
                        .for_each(|agent_id| intake.ring(agent_id));
                    let soon = promoted.more.then(Timestamp::now);
                    self.wake_at(soon.or(promoted.next_due));
                }
                // The sweep sets the alarm again.
                Err(error) => tracing::warn!(%error, "tasks that fell due could not be queued"),
            }
            tokio::time::sleep(MIN_INTERVAL).await;
        }
    }
}

async fn sleep_until(at: Option<Timestamp>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(Timestamp::now())).await,
        None => std::future::pending().await,
    }
}
