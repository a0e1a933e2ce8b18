//! Commands on workflows, read and written.

use serde_json::{Map, Value, json};

use super::command::{Command, Kind, VERSION, WorkflowStart};
use super::decode::{finished, from_hex};
use super::encode::to_hex;
use super::envelope::Envelope;
use crate::domain::workflow::{Decision, RunId, RunRequest, RunSource};
use crate::domain::{Faults, Fields, Timestamp};

/// The version of a stored definition: `version` is the message's own.
const DEFINITION_VERSION: &str = "definition_version";

fn take_run_id(fields: &mut Fields) -> Option<RunId> {
    fields.require("run_id");
    fields.take_parsed("run_id", "must be a UUID", |text| text.parse().ok())
}

/// Reads `workflow.start`, sent at `sent_at` and received `now`; `id` is its identity when its body names none.
///
/// Everything is checked that can be without the ledger.
pub(super) fn start_workflow(
    mut map: Map<String, Value>,
    envelope: &Envelope,
    sent_at: Option<Timestamp>,
    id: impl FnOnce() -> RunId,
    now: Timestamp,
) -> Result<Command, Faults> {
    // What only messages carry is read here, the rest by the reader that HTTP requests have too.
    let ours = ["submitted_at", "fingerprint", "run_id"]
        .into_iter()
        .filter_map(|name| map.shift_remove_entry(name))
        .collect();
    let mut fields = Fields::of(Value::Object(ours))?;
    let accepts_time = "must be an RFC 3339 time such as 2026-03-01T12:00:00Z";
    let submitted_at = fields.take_parsed("submitted_at", accepts_time, Timestamp::parse);
    let fingerprint = fields.take_parsed("fingerprint", "must be 64 hex digits", from_hex);
    let run_id = fields.take_parsed("run_id", "must be a UUID", |text| text.parse().ok());
    let mut faults = fields.finish().err().unwrap_or_default();
    if let Some(version) = map.shift_remove(DEFINITION_VERSION) {
        map.insert("version".to_owned(), version);
    }
    let request = Value::Object(map);
    let checked = RunRequest::read(request.clone()).and_then(|read| match read.source {
        RunSource::Inline { draft, .. } => draft.checked(|_| true, |_| true).map(|_| ()),
        RunSource::Stored(..) => Ok(()),
    });
    for mut fault in checked.err().into_iter().flat_map(|inner| inner.0) {
        if fault.field == "version" {
            DEFINITION_VERSION.clone_into(&mut fault.field);
        }
        faults.0.push(fault);
    }
    faults.none_or(Command::StartWorkflow(Box::new(WorkflowStart {
        run_id: run_id.unwrap_or_else(id),
        request,
        submitted_at: submitted_at.or(sent_at).unwrap_or(now).min(now),
        fingerprint,
        traceparent: envelope.traceparent.clone(),
    })))
}

/// Reads `workflow.cancel`.
pub(super) fn cancel_workflow(map: Map<String, Value>) -> Result<Command, Faults> {
    let mut fields = Fields::of(Value::Object(map))?;
    let run_id = take_run_id(&mut fields);
    finished(fields, run_id).map(|run_id| Command::CancelWorkflow { run_id })
}

/// Reads `workflow.approve`.
pub(super) fn approve_step(map: Map<String, Value>) -> Result<Command, Faults> {
    let mut fields = Fields::of(Value::Object(map))?;
    let run_id = take_run_id(&mut fields);
    fields.require("step_id");
    let step_id = fields.take_text("step_id", 1, 64);
    let decision = Decision::take(&mut fields);
    let required = run_id.zip(step_id).zip(decision);
    finished(fields, required).map(|((run_id, step_id), decision)| Command::ApproveStep {
        run_id,
        step_id,
        decision,
    })
}

/// The body of `workflow.start`.
pub(super) fn workflow_body(start: &WorkflowStart) -> Value {
    let mut body = json!({
        "version": VERSION, "kind": Kind::StartWorkflow.as_str(), "run_id": start.run_id,
        "submitted_at": start.submitted_at,
    });
    if let Some(fingerprint) = &start.fingerprint {
        body["fingerprint"] = json!(to_hex(fingerprint));
    }
    for (name, value) in start.request.as_object().into_iter().flatten() {
        let name = match name.as_str() {
            "version" => DEFINITION_VERSION,
            other => other,
        };
        body[name] = value.clone();
    }
    body
}

/// The body of `workflow.approve`.
pub(super) fn approval_body(run_id: RunId, step_id: &str, decision: &Decision) -> Value {
    let mut body = json!({
        "version": VERSION, "kind": Kind::ApproveStep.as_str(), "run_id": run_id, "step_id": step_id,
        "decision": decision.verdict.as_str(), "hash": decision.hash,
    });
    if let Some(comment) = &decision.comment {
        body["comment"] = json!(comment);
    }
    body
}
