//! Everything that can go wrong with a request, and the one place where each becomes a status code.

mod conversions;
mod document;
mod refusal;

use std::time::Duration;

use orchestrator_common::domain::workflow::{NotDecided, RunId, RunStatus};
use orchestrator_common::domain::{
    AgentId, DesiredState, Faults, NobodyFits, TaskId, TaskStatus, Wish,
};
use poem::error::ResponseError;
use poem::http::StatusCode;

use crate::auth::Level;

pub use document::{FieldFault, Problem};
pub(crate) use document::{Subject, render};
pub(crate) use refusal::{
    Administering, AgentChanging, AgentScaling, Cancelling, Changing, Open, Reading, Refusal,
    Submitting,
};

/// What a caller is told to wait whose agent has too much waiting.
const QUEUE_PAUSE: Duration = Duration::from_secs(5);

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The body is not JSON, or the request line or a header cannot be read.
    #[error("{0}")]
    NotUnderstood(String),
    /// There is no acceptable token.
    #[error("{reason}")]
    Unauthenticated {
        /// What is wrong with the token; never the token itself.
        reason: &'static str,
        /// Whether a token was sent at all.
        sent: bool,
    },
    /// The token does not allow this.
    #[error("the token does not grant the level {0}")]
    Forbidden(Level),
    /// A browser sends it for the page of a web site that may not call.
    #[error("pages of this origin may not call; CORS_ALLOWED_ORIGINS names those that may")]
    ForeignOrigin,
    /// The caller calls more often than they may.
    #[error("too many requests of this caller; try again later")]
    TooOften(Duration),
    /// The address is longer than allowed.
    #[error("the address must not be longer than {0} bytes")]
    AddressTooLong(usize),
    /// There are more headers than allowed.
    #[error("there must not be more than {0} headers")]
    TooManyHeaders(usize),
    /// The headers are larger than allowed.
    #[error("the headers must not be larger than {0} bytes together")]
    HeadersTooLarge(usize),
    /// No such agent.
    #[error("agent {0} is not registered")]
    NoSuchAgent(String),
    /// No such task.
    #[error("there is no task {0}")]
    NoSuchTask(String),
    /// No such workflow.
    #[error("there is no workflow {0}")]
    NoSuchRun(String),
    /// No such definition of a workflow, or no such version of it.
    #[error("there is no definition {0}")]
    NoSuchDefinition(String),
    /// The workflow exists and was asked for differently.
    #[error("workflow {0} already exists and was asked for differently")]
    RunConflict(RunId),
    /// The workflow is not in a state that allows this.
    #[error("workflow {run_id} is {status}: only one that {needed}")]
    WrongRunStatus {
        /// The run.
        run_id: RunId,
        /// Where it stands.
        status: RunStatus,
        /// What it would have to be, and what could then be done.
        needed: &'static str,
    },
    /// The decision was not taken.
    #[error("{0}")]
    NotDecided(NotDecided),
    /// The task is part of a workflow, which looks after it.
    #[error("the task is part of workflow {0}: resume that")]
    OfWorkflow(RunId),
    /// No such dead letter.
    #[error("there is no dead letter {0}")]
    NoSuchLetter(String),
    /// No task carries this name of a conversation.
    #[error("no task belongs to a conversation {0}")]
    NoSuchConversation(String),
    /// The dead letter cannot be sent again.
    #[error("the letter cannot be sent again: {0}")]
    NotReplayable(&'static str),
    /// No such address.
    #[error("there is nothing at this address")]
    NoSuchRoute,
    /// The address exists and takes other methods.
    #[error("this address does not take this method")]
    MethodNotAllowed,
    /// The body did not arrive in time.
    #[error("the body did not arrive within {} seconds", .0.as_secs())]
    BodyTooSlow(Duration),
    /// The task exists and was asked for differently.
    #[error("task {0} already exists and was asked for differently")]
    Conflict(TaskId),
    /// The task is not in a state that allows this.
    #[error("task {task_id} is {status}: only a task that {needed}")]
    WrongStatus {
        /// The task.
        task_id: TaskId,
        /// Where it stands.
        status: TaskStatus,
        /// What it would have to be, and what could then be done.
        needed: &'static str,
    },
    /// The agent is not what it would have to be for this.
    #[error("agent {agent_id} is wanted to be {desired}: {}", what_to_do(*.wish))]
    WrongAgentState {
        /// The agent.
        agent_id: AgentId,
        /// What is wanted of it.
        desired: DesiredState,
        /// What was wished.
        wish: Wish,
    },
    /// Nobody can be chosen for the task who could do it.
    #[error("{0}")]
    NobodyAvailable(NobodyFits),
    /// As many tasks wait for everybody who could do it as may.
    #[error("{0}; try again later")]
    EverybodyFull(NobodyFits),
    /// The agent's instances are not ours to make.
    #[error(
        "the instances of agent {0} were registered with their addresses: register it with others instead"
    )]
    RegisteredInstances(AgentId),
    /// As many tasks wait for the agent as may.
    #[error("agent {0} has as many waiting tasks as it may have; try again later")]
    QueueFull(AgentId),
    /// The body is larger than allowed.
    #[error("the body must not be larger than {0} bytes")]
    BodyTooLarge(usize),
    /// The body is declared to be something else than JSON.
    #[error("the body must be application/json, without any further encoding")]
    UnsupportedMediaType,
    /// The request can be read and breaks the rules that its faults name.
    #[error("{0}")]
    Invalid(Faults),
    /// Nothing durable can take or answer it now.
    #[error("a service that is needed for this does not answer; try again later")]
    Unavailable(Duration),
    /// More requests are being handled than this process takes on.
    #[error("too many requests are being handled; try again shortly")]
    Overloaded,
    /// It took longer than a request may; whether it had an effect is unknown.
    #[error("the request took too long; it may or may not have had an effect")]
    TookTooLong,
    /// A fault of ours, logged where it was noticed.
    #[error("something went wrong here; the request id leads to it in the logs")]
    Internal,
}

/// What the caller of a wish that is refused can do.
const fn what_to_do(wish: Wish) -> &'static str {
    match wish {
        Wish::Pause => "only one that runs, or waits for its first task, can be paused",
        Wish::Resume => "only a pause can be ended; start it instead",
        Wish::Start | Wish::Stop | Wish::Remove => "that cannot be changed now",
    }
}

/// What a kind of error always has: its status, a name for programs, a title for people.
pub(crate) struct Kind {
    pub(crate) status: StatusCode,
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
}

impl ApiError {
    /// The status, name and title of this error.
    #[rustfmt::skip]
    pub(crate) const fn kind(&self) -> Kind {
        let (status, name, title) = match self {
            Self::NotUnderstood(_) => (StatusCode::BAD_REQUEST, "not_understood", "The request cannot be read"),
            Self::Unauthenticated { .. } => (StatusCode::UNAUTHORIZED, "unauthenticated", "A valid token is needed"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden", "The token does not allow this"),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, "foreign_origin", "This web site may not call"),
            Self::TooOften(_) => (StatusCode::TOO_MANY_REQUESTS, "too_often", "Too many requests"),
            Self::AddressTooLong(_) => (StatusCode::URI_TOO_LONG, "address_too_long", "The address is too long"),
            Self::TooManyHeaders(_) | Self::HeadersTooLarge(_) => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "The headers are too large"),
            Self::NoSuchAgent(_) => (StatusCode::NOT_FOUND, "no_such_agent", "Agent not found"),
            Self::NoSuchTask(_) => (StatusCode::NOT_FOUND, "no_such_task", "Task not found"),
            Self::NoSuchConversation(_) => (StatusCode::NOT_FOUND, "no_such_conversation", "Conversation not found"),
            Self::NoSuchRun(_) => (StatusCode::NOT_FOUND, "no_such_workflow", "Workflow not found"),
            Self::NoSuchDefinition(_) => (StatusCode::NOT_FOUND, "no_such_definition", "Definition not found"),
            Self::RunConflict(_) => (StatusCode::CONFLICT, "conflict", "The workflow exists and differs"),
            Self::WrongRunStatus { .. } => (StatusCode::CONFLICT, "wrong_status", "The workflow's status does not allow this"),
            Self::NotDecided(NotDecided::NoSuchStep) => (StatusCode::NOT_FOUND, "no_such_step", "Step not found"),
            Self::NotDecided(NotDecided::NotWaiting(_)) => (StatusCode::CONFLICT, "not_waiting", "The step waits for no decision"),
            Self::NotDecided(NotDecided::Stale) => (StatusCode::CONFLICT, "stale_hash", "Something else is to be approved"),
            Self::OfWorkflow(_) => (StatusCode::CONFLICT, "of_workflow", "The task is part of a workflow"),
            Self::NoSuchLetter(_) => (StatusCode::NOT_FOUND, "no_such_letter", "Dead letter not found"),
            Self::NotReplayable(_) => (StatusCode::CONFLICT, "not_replayable", "The dead letter cannot be sent again"),
            Self::NoSuchRoute => (StatusCode::NOT_FOUND, "no_such_route", "Not found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed"),
            Self::BodyTooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "body_too_slow", "The body came too slowly"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict", "The task exists and differs"),
            Self::WrongStatus { .. } => (StatusCode::CONFLICT, "wrong_status", "The task's status does not allow this"),
            Self::WrongAgentState { .. } => (StatusCode::CONFLICT, "wrong_agent_state", "The agent's state does not allow this"),
            Self::NobodyAvailable(_) => (StatusCode::CONFLICT, "nobody_available", "No agent that can do it takes tasks"),
            Self::EverybodyFull(_) => (StatusCode::SERVICE_UNAVAILABLE, "everybody_full", "All agents that can do it are busy"),
            Self::RegisteredInstances(_) => (StatusCode::CONFLICT, "registered_instances", "The agent's instances were registered"),
            Self::QueueFull(_) => (StatusCode::TOO_MANY_REQUESTS, "queue_full", "The agent's queue is full"),
            Self::BodyTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large"),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Unsupported media type"),
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "validation", "The request is not valid"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too busy"),
            Self::TookTooLong => (StatusCode::SERVICE_UNAVAILABLE, "took_too_long", "The request took too long"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        };
        Kind { status, name, title }
    }

    /// When to try again, for the errors where that helps.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable(delay) | Self::TooOften(delay) => Some(*delay),
            Self::QueueFull(_) | Self::EverybodyFull(_) => Some(QUEUE_PAUSE),
            Self::Overloaded | Self::TookTooLong => Some(Duration::from_secs(1)),
            Self::NotUnderstood(_)
            | Self::Unauthenticated { .. }
            | Self::Forbidden(_)
            | Self::ForeignOrigin
            | Self::AddressTooLong(_)
            | Self::TooManyHeaders(_)
            | Self::HeadersTooLarge(_)
            | Self::NoSuchAgent(_)
            | Self::NoSuchTask(_)
            | Self::NoSuchRun(_)
            | Self::NoSuchDefinition(_)
            | Self::RunConflict(_)
            | Self::WrongRunStatus { .. }
            | Self::NotDecided(_)
            | Self::OfWorkflow(_)
            | Self::NoSuchLetter(_)
            | Self::NoSuchConversation(_)
            | Self::NotReplayable(_)
            | Self::NoSuchRoute
            | Self::MethodNotAllowed
            | Self::BodyTooSlow(_)
            | Self::Conflict(_)
            | Self::WrongStatus { .. }
            | Self::WrongAgentState { .. }
            | Self::NobodyAvailable(_)
            | Self::RegisteredInstances(_)
            | Self::BodyTooLarge(_)
            | Self::UnsupportedMediaType
            | Self::Invalid(_)
            | Self::Internal => None,
        }
    }
}

impl ResponseError for ApiError {
    fn status(&self) -> StatusCode {
        self.kind().status
    }
}
