//! Starting, reading and changing workflows.

use std::collections::HashMap;
use std::time::Duration;

use orchestrator_common::domain::workflow::{
    Decision, Definition, Draft, NewRun, RunId, RunRequest, RunSource, RunStatus,
};
use orchestrator_common::domain::{Faults, Origin, TaskDocument, TaskId, Timestamp};
use orchestrator_common::ledger::{Resumed, RunDecided, RunStarted, Stopped};
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
        let (named_definition, body, definition) = match request.source {
            RunSource::Inline { body, draft } => (None, body, self.checked(*draft).await?),
            RunSource::Stored(name, version) => {
                let stored = patiently(self.ledger.definition(&name, version)).await?;
                let Some(stored) = stored else {
                    let (field, message) = match version {
                        None => ("name", format!("there is no definition {name}")),
                        Some(version) => (
                            "version",
                            format!("there is no version {version} of {name}"),
                        ),
                    };
                    return Err(Faults::one(field, message).into());
                };
                // Agents come and go after a definition was stored.
                let definition = self.checked(Draft::read(stored.body.clone())).await?;
                let version = stored.summary.version;
                (Some((name, version)), stored.body, definition)
            }
        };
        let now = Timestamp::now();
        let run = NewRun {
            run_id,
            named: named_definition,
            body,
            definition,
            input: request.input,
            created_at: now,
            fingerprint: named.map(|_| asked.fingerprint),
            traceparent: Some(asked.traceparent),
        };
        let ledger = self.ledger.by(asked.origin);
        match patiently(ledger.start_run(&run, now)).await? {
            RunStarted::New => {
                self.commands.workflows_changed();
                Ok((run_id, RunStatus::Running))
            }
            RunStarted::Repeated(status) => Ok((run_id, status)),
            RunStarted::Conflict => Err(ApiError::RunConflict(run_id)),
        }
    }

    /// Checks a definition that is to be stored.
    pub(crate) async fn check_definition(&self, body: &Value) -> Result<(), ApiError> {
        self.checked(Draft::read(body.clone())).await?;
        Ok(())
    }

    /// A definition that names only agents and domains that there are.
    async fn checked(&self, draft: Draft) -> Result<Definition, ApiError> {
        let agents = patiently(self.ledger.registered_among(draft.agents())).await?;
        let domains = patiently(self.ledger.agents_of_domains(draft.domains())).await?;
        let checked = draft.checked(
            |agent_id| agents.contains(agent_id),
            |domain| domains.contains_key(domain),
        );
        Ok(checked?)
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
        let by = origin.actor.clone();
        let ledger = self.ledger.by(origin);
        let deciding = ledger.decide_step(run_id, step_id, decision, &by, Timestamp::now());
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
