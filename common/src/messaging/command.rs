//! The commands that travel over the broker.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::Value;

use super::batch::BatchMember;
use crate::config::Secret;
use crate::domain::workflow::{Decision, RunId};
use crate::domain::{AgentId, NewTask, Origin, Priority, Registration, Scaling, TaskId, Timestamp};

/// The version of the message contract that this program speaks.
pub const VERSION: u64 = 1;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $key:literal,)*) => {
        /// What a message asks for; its name is the routing key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The routing key, and the value of `kind` in the body.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $key,)* }
            }
        }
    };
}

kinds! {
    /// Run a task.
    Execute = "task.execute",
    /// Run many tasks.
    ExecuteBatch = "task.execute_batch",
    /// Cancel a task.
    CancelTask = "task.cancel",
    /// Change a waiting task's priority.
    Reprioritise = "task.reprioritise",
    /// Register an agent, or change what is registered.
    Register = "agent.register",
    /// Remove an agent.
    Unregister = "agent.unregister",
    /// Start an agent.
    Start = "agent.start",
    /// Stop an agent.
    Stop = "agent.stop",
    /// Keep an agent and start no further task on it.
    Pause = "agent.pause",
    /// End a pause.
    Resume = "agent.resume",
    /// Change how much an agent may do at once.
    Scale = "agent.scale",
    /// Start a workflow.
    StartWorkflow = "workflow.start",
    /// Cancel a workflow.
    CancelWorkflow = "workflow.cancel",
    /// Decide a step of a workflow.
    ApproveStep = "workflow.approve",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == text)
            .ok_or(())
    }
}

/// A validated command.
#[derive(Clone, Debug)]
pub enum Command {
    /// Run a task.
    Execute(Box<NewTask>),
    /// Run many tasks, each accepted or refused on its own.
    ExecuteBatch(Vec<BatchMember>),
    /// Cancel a task.
    CancelTask {
        /// Which.
        task_id: TaskId,
        /// Why, for people; at most 500 characters.
        reason: Option<String>,
    },
    /// Change a waiting task's priority.
    Reprioritise {
        /// Which.
        task_id: TaskId,
        /// The new priority.
        priority: Priority,
    },
    /// Register an agent, or change what is registered.
    Register(Box<Registration>),
    /// Remove an agent.
    Unregister {
        /// Which.
        agent_id: AgentId,
    },
    /// Start an agent.
    Start {
        /// Which.
        agent_id: AgentId,
    },
    /// Stop an agent.
    Stop {
        /// Which.
        agent_id: AgentId,
        /// Whether what runs may finish; else it is cancelled.
        drain: bool,
    },
    /// Keep an agent and start no further task on it.
    Pause {
        /// Which.
        agent_id: AgentId,
    },
    /// End a pause.
    Resume {
        /// Which.
        agent_id: AgentId,
    },
    /// Change how much an agent may do at once.
    Scale {
        /// Which.
        agent_id: AgentId,
        /// What is to change.
        scaling: Scaling,
    },
    /// Start a workflow.
    StartWorkflow(Box<WorkflowStart>),
    /// Cancel a workflow.
    CancelWorkflow {
        /// Which run.
        run_id: RunId,
    },
    /// Decide a step of a workflow.
    ApproveStep {
        /// Which run.
        run_id: RunId,
        /// Which step, by its name.
        step_id: String,
        /// What was decided.
        decision: Decision,
    },
}

/// A workflow that is to be started. Agents and stored definitions are looked up by whoever starts it.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkflowStart {
    /// The run: the sender's choice, or that of whoever read the message.
    pub run_id: RunId,
    /// What [`RunRequest`](crate::domain::workflow::RunRequest) reads, without `run_id`.
    pub request: Value,
    /// When it was asked for.
    pub submitted_at: Timestamp,
    /// SHA-256 of what was asked for, to tell a repeated request from a different one with the same name.
    pub fingerprint: Option<[u8; 32]>,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
}

impl Command {
    /// What it asks for.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Execute(_) => Kind::Execute,
            Self::ExecuteBatch(_) => Kind::ExecuteBatch,
            Self::CancelTask { .. } => Kind::CancelTask,
            Self::Reprioritise { .. } => Kind::Reprioritise,
            Self::Register(_) => Kind::Register,
            Self::Unregister { .. } => Kind::Unregister,
            Self::Start { .. } => Kind::Start,
            Self::Stop { .. } => Kind::Stop,
            Self::Pause { .. } => Kind::Pause,
            Self::Resume { .. } => Kind::Resume,
            Self::Scale { .. } => Kind::Scale,
            Self::StartWorkflow(_) => Kind::StartWorkflow,
            Self::CancelWorkflow { .. } => Kind::CancelWorkflow,
            Self::ApproveStep { .. } => Kind::ApproveStep,
        }
    }
}

/// A command as it came over the broker, with what came along.
#[derive(Clone, Debug)]
pub struct Received {
    /// What is asked.
    pub command: Command,
    /// The sender's own id for the exchange, returned with every answer.
    pub correlation_id: Option<String>,
    /// The queue that gets the answers.
    pub reply_to: Option<String>,
    /// W3C trace context of the sender.
    pub traceparent: Option<String>,
    /// Who sends it and in which request, as the message itself says; see [`Self::sent_by`].
    pub origin: Arc<Origin>,
    /// The `authorization` header, not yet checked.
    pub authorization: Option<Secret>,
}

impl Received {
    /// Puts the name that the sender's token says in the place of what the message says.
    pub fn sent_by(&mut self, subject: &str) {
        let request_id = self.origin.request_id.as_deref();
        let origin = Arc::new(Origin::new(subject, request_id));
        match &mut self.command {
            Command::Execute(task) => task.origin = Some(Arc::clone(&origin)),
            Command::ExecuteBatch(members) => {
                for task in members.iter_mut().flatten() {
                    task.origin = Some(Arc::clone(&origin));
                }
            }
            Command::CancelTask { .. }
            | Command::Reprioritise { .. }
            | Command::Register(_)
            | Command::Unregister { .. }
            | Command::Start { .. }
            | Command::Stop { .. }
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::Scale { .. }
            | Command::StartWorkflow(_)
            | Command::CancelWorkflow { .. }
            | Command::ApproveStep { .. } => {}
        }
        self.origin = origin;
    }
}
