//! Starting, reading and changing workflows.

use std::collections::HashMap;
use std::time::Duration;

use orchestrator_common::domain::workflow::{
    Decision, Draft, RunId, RunRequest, RunSource, RunStatus,
};
use orchestrator_common::domain::{Faults, Origin, TaskDocument, TaskId, Timestamp};
use orchestrator_common::ledger::{Resumed, RunDecided, RunStarted, Stopped};
use orchestrator_common::messaging::{Command, WorkflowStart};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::problem::ApiError;
use crate::service::{Service, patiently};
use crate::views::{RunChanged, RunView, shown_tasks};

/// Time between two looks at a run that is waited for: what a lost signal costs.
const INTERVAL: Duration = Duration::from_secs(2);

/// What is known of a request to start a run beside what it asks for.
pub(crate) struct Asked {
    pub(crate) key: Option<String>,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) traceparent: String,
    pub(crate) origin: Origin,
    /// The request as it was sent.
    pub(crate) body: Vec<u8>,
}

/// A request for somebody else to read, when nothing is wrong with it that can be seen without the ledger.
fn without_run_id(body: Vec<u8>) -> Result<Value, ApiError> {
    let mut body: Value = serde_json::from_slice(&body).map_err(|_| ApiError::Internal)?;
    if let Some(map) = body.as_object_mut() {
        map.shift_remove("run_id");
    }
    match RunRequest::read(body.clone())?.source {
        RunSource::Inline { draft, .. } => {
            draft.checked(|_| true, |_| true)?;
        }
        RunSource::Stored(..) => {}
    }
    Ok(body)
}

/// A run id from a path; what is not a UUID is the name of no run.
pub(crate) fn run_in_path(text: &str) -> Result<RunId, ApiError> {
    text.parse()
        .map_err(|_| ApiError::NoSuchRun(text.to_owned()))
}

impl Service {
    /// Starts a run; returns its identifier and where it stands.
    pub(crate) async fn start_run(
        &self,
        request: RunRequest,
        asked: Asked,
    ) -> Result<(RunId, RunStatus), ApiError> {
        let named = match (asked.key, request.run_id) {
            (Some(_), Some(_)) => {
                let message = "must not be given together with the header Idempotency-Key";
                return Err(Faults::one("run_id", message).into());
            }
            (Some(key), None) => Some(RunId::from_idempotency_key(&asked.origin.actor, &key)),
            (None, run_id) => run_id,
        };
        let run_id = named.unwrap_or_else(RunId::generate);
        let fingerprint = named.map(|_| asked.fingerprint);
        let ledger = self.ledger.by(asked.origin.clone());
        let now = Timestamp::now();
        let writing = async {
            let mut run = patiently(ledger.prepare_run(request, run_id, now)).await??;
            run.fingerprint = fingerprint;
            run.traceparent = Some(asked.traceparent.clone());
            patiently(ledger.start_run(&run, now)).await
        };
        match writing.await {
            Ok(RunStarted::New) => {
                self.commands.workflows_changed();
                Ok((run_id, RunStatus::Running))
            }
            Ok(RunStarted::Repeated(status)) => Ok((run_id, status)),
            Ok(RunStarted::Conflict) => Err(ApiError::RunConflict(run_id)),
            Err(ApiError::Unavailable(_)) => {
                // Whoever starts it from the broker looks up what it names; what else is wrong is said here.
                let start = WorkflowStart {
                    run_id,
                    request: without_run_id(asked.body)?,
                    submitted_at: now,
                    fingerprint,
                    traceparent: Some(asked.traceparent),
                };
                let command = Command::StartWorkflow(Box::new(start));
                self.commands.hand_on(command, asked.origin).await?;
                Ok((run_id, RunStatus::Running))
            }
            Err(error) => Err(error),
        }
    }

    /// Checks a definition that is to be stored.
    pub(crate) async fn check_definition(&self, body: &Value) -> Result<(), ApiError> {
        patiently(self.ledger.check_draft(Draft::read(body.clone()))).await??;
        Ok(())
    }

    /// A run, once it has ended or `patience` is over.
    pub(crate) async fn read_run(
        &self,
        run_id: RunId,
        patience: Duration,
    ) -> Result<RunView, ApiError> {
        let deadline = Instant::now() + patience;
        // Registered first, so that no signal is missed; runs are waited for under the same kind of identifier as tasks.
        let mut reader = self.readers.register(TaskId::from(run_id.uuid()));
        let no_such_run = || ApiError::NoSuchRun(run_id.to_string());
        loop {
            let run = patiently(self.ledger.run(run_id))
                .await?
                .ok_or_else(no_such_run)?;
            let is_over = Instant::now() >= deadline;
            if run.summary.status.has_ended() || is_over {
                let shown = shown_tasks(&run);
                let tasks = patiently(self.ledger.tasks(&shown)).await?;
                let tasks: HashMap<TaskId, TaskDocument> = tasks
                    .into_iter()
                    .map(|task| (task.task.task_id, task.into()))
                    .collect();
                return Ok(RunView::new(&run, tasks));
            }
            let next_look = deadline.min(Instant::now() + INTERVAL);
            if let Ok(None) = timeout_at(next_look, reader.woken()).await {
                // The process stops: answer with what is known.
                let tasks = HashMap::new();
                return Ok(RunView::new(&run, tasks));
            }
        }
    }

    /// Cancels a run.
    pub(crate) async fn cancel_run(
        &self,
        origin: Origin,
        run_id: RunId,
    ) -> Result<RunChanged, ApiError> {
        let ledger = self.ledger.by(origin);
        match patiently(ledger.cancel_run(run_id, Timestamp::now())).await? {
            Stopped::Now => {
                self.commands.workflows_changed();
                Ok(RunChanged::new(run_id, "the workflow is being cancelled"))
            }
            Stopped::Already(RunStatus::Cancelling | RunStatus::Cancelled) => {
                Ok(RunChanged::new(run_id, "the workflow is cancelled"))
            }
            Stopped::Already(
                status @ (RunStatus::Running
                | RunStatus::Failing
                | RunStatus::Completed
                | RunStatus::Failed),
            ) => Err(ApiError::WrongRunStatus {
                run_id,
                status,
                needed: "has not ended can be cancelled",
            }),
            Stopped::Unknown => Err(ApiError::NoSuchRun(run_id.to_string())),
        }
    }

    /// Goes on with a run that failed.
    pub(crate) async fn resume_run(
        &self,
        origin: Origin,
        run_id: RunId,
    ) -> Result<RunChanged, ApiError> {
        let ledger = self.ledger.by(origin);
        match patiently(ledger.resume_run(run_id, Timestamp::now())).await? {
            Resumed::Now => {
                self.commands.workflows_changed();
                Ok(RunChanged::new(run_id, "the workflow goes on"))
            }
            Resumed::NotFailed(status) => Err(ApiError::WrongRunStatus {
                run_id,
                status,
                needed: "failed can be resumed",
            }),
            Resumed::Unknown => Err(ApiError::NoSuchRun(run_id.to_string())),
        }
    }

    /// Takes a decision in.
    pub(crate) async fn decide_step(
        &self,
        origin: Origin,
        run_id: RunId,
        step_id: &str,
        decision: &Decision,
    ) -> Result<RunChanged, ApiError> {
        let ledger = self.ledger.by(origin);
        let deciding = ledger.decide_step(run_id, step_id, decision, Timestamp::now());
        match patiently(deciding).await? {
            RunDecided::Now => {
                self.commands.workflows_changed();
                Ok(RunChanged::new(run_id, "the decision is taken"))
            }
            RunDecided::Not(why) => Err(ApiError::NotDecided(why)),
            RunDecided::Unknown => Err(ApiError::NoSuchRun(run_id.to_string())),
        }
    }
}
