//! Forwards the audit log to the platform's audit service: one worker at a time for all, in order, at least once, and
//! never in the way of tasks.

use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::audit_service::{AuditService, MAX_EVENTS, NotForwarded};
use orchestrator_common::domain::{RetryPolicy, Timestamp};
use orchestrator_common::ledger::LedgerError;
use tokio_util::sync::CancellationToken;

use crate::worker::WorkerContext;

/// Names the lease on this work.
const LEASE: &str = "audit_forwarding";
/// How long a worker that crashes at it keeps others away; longer than a service that is slow with every single entry of
/// a batch would take is not needed, since forwarding twice is harmless.
const LEASE_TIME: Duration = Duration::from_secs(60);
/// Time between two looks for new entries, and for the lease while another worker has it.
const INTERVAL: Duration = Duration::from_secs(2);
/// Delays between attempts while the service takes nothing.
const RETRY: RetryPolicy = RetryPolicy {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(60),
};

/// What a step came to.
enum Step {
    /// There may be more.
    Forwarded,
    /// There is nothing to do, here and now.
    Nothing,
    /// The service takes nothing now.
    Failed(NotForwarded),
}

/// Forwards until `stop`.
pub(crate) async fn run(
    context: Arc<WorkerContext>,
    service: AuditService,
    stop: CancellationToken,
) {
    let mut failures = 0_u32;
    loop {
        let step = tokio::select! {
            () = stop.cancelled() => break,
            step = step(&context, &service) => step,
        };
        let pause = match step {
            Ok(Step::Forwarded) => {
                failures = 0;
                continue;
            }
            Ok(Step::Nothing) => INTERVAL,
            Ok(Step::Failed(why)) => {
                failures = failures.saturating_add(1);
                pause_after(&why, failures)
            }
            Err(error) => {
                tracing::debug!(%error, "the ledger does not give entries of the audit log");
                INTERVAL
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    // Another worker need not wait for the lease to run out.
    let _ = context.ledger.release(LEASE, context.worker_id).await;
}

async fn step(context: &WorkerContext, service: &AuditService) -> Result<Step, LedgerError> {
    let (ledger, now) = (&context.ledger, Timestamp::now());
    if !ledger
        .lease(LEASE, context.worker_id, LEASE_TIME, now)
        .await?
    {
        return Ok(Step::Nothing);
    }
    let limit = u32::try_from(MAX_EVENTS).unwrap_or(u32::MAX);
    let entries = ledger.entries_to_forward(limit, now).await?;
    let Some((last, _)) = entries.last() else {
        return Ok(Step::Nothing);
    };
    match service.send(&entries).await {
        Ok(left_out) => {
            context
                .metrics
                .audit_forwarded(entries.len() - left_out.min(entries.len()));
            ledger.note_forwarded(*last).await?;
            Ok(Step::Forwarded)
        }
        Err(why) => Ok(Step::Failed(why)),
    }
}

/// How long the service is left in peace; said once when it begins to fail, and then only for those who look closely.
fn pause_after(why: &NotForwarded, failures: u32) -> Duration {
    let wish = match why {
        NotForwarded::Unavailable { retry_after, .. } => *retry_after,
        NotForwarded::Refused(_) => None,
    };
    let pause = RETRY.delay(failures, wish, fastrand::f64());
    if failures == 1 {
        tracing::warn!(%why, retry_in = ?pause, "the audit service does not take entries; they are kept and tried again");
    } else {
        tracing::debug!(%why, retry_in = ?pause, "the audit service still takes nothing");
    }
    pause
}
