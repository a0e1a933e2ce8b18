//! Running one task: the call of its agent, with everything that can go wrong turned into an outcome.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use orchestrator_common::brain_factory::{EXECUTE_GRACE, ExecuteCall, ProbeError, outcome_of};
use orchestrator_common::domain::{
    Completion, ErrorCode, Outcome, Snooze, TaskError, Timestamp, Usage,
};
use orchestrator_common::ledger::Started;
use orchestrator_common::telemetry::Span;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::intake::{Ended, Intake};
use crate::worker::WorkerContext;

/// How much longer than the client's own time-out a call may take before it is given up as hung.
const HANG_MARGIN: Duration = Duration::from_secs(10);

/// How soon an instance is asked again whether it still runs a task.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Runs a task until it ends, is dropped with the outcome that `stop` gives, or is handed back because with `life` the
/// worker's right to run it ends.
pub(crate) async fn execute(
    context: &WorkerContext,
    intake: &Intake,
    task: Box<Started>,
    stop: oneshot::Receiver<Outcome>,
    life: CancellationToken,
) -> Ended {
    let allowed =
        Duration::from_secs(u64::from(task.task.timeout_seconds)) + EXECUTE_GRACE + HANG_MARGIN;
    let mut span = Span::of_attempt(&task.task, &task.claim);
    let traceparent = span.traceparent();
    let call = call_agent(context, intake, &task, traceparent.as_deref());
    let call = AssertUnwindSafe(call).catch_unwind();
    let (outcome, usage) = tokio::select! {
        biased;
        ended = tokio::time::timeout(allowed, call) => match ended {
            Ok(Ok(ended)) => ended,
            Ok(Err(_panic)) => (internal_error("running the task failed inside the orchestrator"), Usage::default()),
            Err(_elapsed) => (timed_out(allowed), Usage::default()),
        },
        Ok(outcome) = stop => (outcome, Usage::default()),
        () = life.cancelled() => (Outcome::HandedBack, Usage::default()),
    };
    span.ended(&outcome);
    if let Outcome::Snoozed { why, .. } = &outcome {
        context.metrics.snoozed(*why);
    }
    Ended {
        completion: Completion {
            claim: task.claim,
            outcome,
            usage,
        },
        task: task.task,
        used: task.used,
    }
}

/// Calls the agent with the trace context `traceparent`, if that is another than the task's.
async fn call_agent(
    context: &WorkerContext,
    intake: &Intake,
    task: &Started,
    traceparent: Option<&str>,
) -> (Outcome, Usage) {
    if let Some(until) = task.may_run_until
        && let Some(outcome) = ask_whether_it_runs(context, task, until).await
    {
        return (outcome, Usage::default());
    }
    context.metrics.session_started();
    if task.claim.number == 1 {
        context
            .metrics
            .queue_waited(task.claim.started_at.since(task.task.submitted_at));
    }
    let started = Instant::now();
    let call = ExecuteCall::of(&task.task, task.claim.attempt);
    let call = ExecuteCall {
        traceparent: traceparent.or(call.traceparent),
        ..call
    };
    let result = context.brain.execute(&task.endpoint, &call).await;
    context.metrics.brain_called(started.elapsed());
    if let Err(error) = &result {
        tracing::debug!(agent_id = %task.claim.agent_id, %error, "an attempt failed");
        if error.needs_new_brain() {
            forget_instance(context, intake, task).await;
        }
    }
    outcome_of(result)
}

/// An earlier attempt at the task ended for us only, and may still run at the instance, which a second one at the same time
/// would destroy: asks the instance. Returns what the attempt comes to, if the task cannot be sent there now.
async fn ask_whether_it_runs(
    context: &WorkerContext,
    task: &Started,
    until: Timestamp,
) -> Option<Outcome> {
    let left = until.since(Timestamp::now());
    let snoozed = Outcome::Snoozed {
        why: Snooze::StillRunning,
        delay: left.min(ASK_AGAIN),
    };
    match context.brain.status(&task.endpoint).await {
        Ok(health) => {
            let task_id = task.claim.task_id.to_string();
            let runs = health.active_tasks.contains(&task_id);
            (runs && !health.honours_idempotency_key).then_some(snoozed)
        }
        // Forgotten with all that it ran; the attempt itself finds that out.
        Err(ProbeError::NotFound) => None,
        Err(
            error @ (ProbeError::Unreachable(_)
            | ProbeError::Unavailable { .. }
            | ProbeError::TimedOut(_)),
        ) => Some(Outcome::Retryable {
            error: TaskError::new(
                ErrorCode::AgentUnreachable,
                format!("the agent, which may still run the task, {error}"),
            ),
            retry_after: None,
        }),
        Err(ProbeError::InvalidAnswer(_)) => Some(snoozed),
    }
}

/// The brain no longer knows this instance: nothing more goes there until the lifecycle has made it again.
async fn forget_instance(context: &WorkerContext, intake: &Intake, task: &Started) {
    let claim = &task.claim;
    match context
        .ledger
        .lose_instance(&claim.agent_id, claim.instance_id, Timestamp::now())
        .await
    {
        Ok(()) => intake.reconcile(claim.agent_id.clone()),
        // The next task on it finds out again.
        Err(error) => {
            tracing::warn!(agent_id = %claim.agent_id, %error, "a lost instance could not be noted")
        }
    }
}

fn internal_error(message: &str) -> Outcome {
    Outcome::Failed {
        error: TaskError::new(ErrorCode::InternalError, message),
    }
}

fn timed_out(after: Duration) -> Outcome {
    let message = format!("no answer within {} seconds", after.as_secs());
    Outcome::TimedOut {
        error: TaskError::new(ErrorCode::TimedOut, message),
    }
}
