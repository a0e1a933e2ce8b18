//! Commands on workflows: what they ask for is written down, and whoever advances runs does the rest.

use orchestrator_common::domain::workflow::{Decision, NotDecided, RunId, RunRequest, RunStatus};
use orchestrator_common::domain::{Faults, Timestamp};
use orchestrator_common::ledger::{Ledger, LedgerError, RunDecided, RunStarted, Stopped};
use orchestrator_common::messaging::{Reason, Refusal, WorkflowStart};

/// What became of a command, unless the ledger did not answer.
type Changed = Result<Result<(), Refusal>, LedgerError>;

/// Starts a run; a message that is delivered twice finds it there.
pub(super) async fn start(ledger: &Ledger, start: &WorkflowStart) -> Changed {
    let invalid = |faults: Faults| Ok(Err(Refusal::of(Reason::Invalid, faults)));
    let request = match RunRequest::read(start.request.clone()) {
        Ok(request) => request,
        Err(faults) => return invalid(faults),
    };
    let prepared = ledger.prepare_run(request, start.run_id, start.submitted_at);
    let mut run = match prepared.await? {
        Ok(run) => run,
        Err(faults) => return invalid(faults),
    };
    run.fingerprint = start.fingerprint;
    run.traceparent.clone_from(&start.traceparent);
    Ok(match ledger.start_run(&run, Timestamp::now()).await? {
        RunStarted::New | RunStarted::Repeated(_) => Ok(()),
        RunStarted::Conflict => {
            let detail = format!(
                "workflow {} exists and was asked for differently",
                start.run_id
            );
            Err(Refusal::new(Reason::Conflict, detail))
        }
    })
}

/// Cancels a run.
pub(super) async fn cancel(ledger: &Ledger, run_id: RunId) -> Changed {
    let cancelled = ledger.cancel_run(run_id, Timestamp::now());
    Ok(match cancelled.await? {
        Stopped::Now | Stopped::Already(RunStatus::Cancelling | RunStatus::Cancelled) => Ok(()),
        Stopped::Already(status) => {
            let detail = format!("workflow {run_id} is {status}");
            Err(Refusal::new(Reason::NotPossible, detail))
        }
        Stopped::Unknown => Err(unknown(run_id)),
    })
}

/// Takes a decision in.
pub(super) async fn decide(
    ledger: &Ledger,
    run_id: RunId,
    step_id: &str,
    decision: &Decision,
) -> Changed {
    let deciding = ledger.decide_step(run_id, step_id, decision, Timestamp::now());
    Ok(match deciding.await? {
        RunDecided::Now => Ok(()),
        RunDecided::Not(NotDecided::NotWaiting(_))
            if is_decided(ledger, run_id, step_id, decision).await? =>
        {
            Ok(())
        }
        RunDecided::Not(why) => Err(Refusal::new(Reason::NotPossible, why.to_string())),
        RunDecided::Unknown => Err(unknown(run_id)),
    })
}

/// Whether this very decision was taken before: the message is delivered again.
async fn is_decided(
    ledger: &Ledger,
    run_id: RunId,
    step_id: &str,
    decision: &Decision,
) -> Result<bool, LedgerError> {
    let run = ledger.run(run_id).await?;
    let taken = run.and_then(|run| {
        let place = run.definition.place(step_id)?;
        run.state.steps.into_iter().nth(place)?.approval
    });
    Ok(taken.is_some_and(|taken| {
        let same = taken.decision.as_deref() == Some(decision.verdict.as_str());
        same && taken.hash == decision.hash
    }))
}

fn unknown(run_id: RunId) -> Refusal {
    let detail = format!("there is no workflow {run_id}");
    Refusal::new(Reason::UnknownWorkflow, detail)
}
