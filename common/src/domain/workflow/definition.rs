//! What a workflow is made of. A definition that exists is valid; see [`Draft`](super::Draft) for how it becomes so.

use serde_json::Value;

use super::condition::Condition;
use super::reference::Reference;
use super::template::Template;
use crate::domain::{AgentId, Priority};

/// A valid graph of steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// What it is for, for people.
    pub description: Option<String>,
    /// Its steps; they refer to each other by their places here.
    pub steps: Vec<Step>,
    /// What a completed run comes to.
    pub output: Option<Template>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its name within the definition: 1–64 characters of `[A-Za-z0-9_-]`.
    pub id: String,
    /// The steps that come before it.
    pub depends_on: Vec<usize>,
    /// How many of those must have completed.
    pub join: Join,
    /// Whether it is carried out; else it is skipped.
    pub when: Option<Condition>,
    /// What its failure means for the run.
    pub on_failure: OnFailure,
    /// What is done.
    pub work: Work,
}

/// How many of several must complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// All of them.
    #[default]
    All,
    /// One of them.
    Any,
    /// That many.
    Quorum(u32),
}

/// What the failure of a step means for its run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The run fails: nothing more is started.
    #[default]
    Fail,
    /// The run goes on as if the step had come to nothing.
    Continue,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// An agent does a task, or many agents do many.
    Task(Box<TaskWork>),
    /// A person says yes or no.
    Approval(ApprovalWork),
}

/// Tasks for agents.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskWork {
    /// Who does it.
    pub target: Target,
    /// What kind of work it is.
    pub task_type: String,
    /// The input: an object.
    pub task_data: Template,
    /// One task for each element of a list, instead of one.
    pub for_each: Option<ForEach>,
    /// How many attempts may fail before the task fails.
    pub max_attempts: u32,
    /// Seconds that one attempt may take.
    pub timeout_seconds: u32,
    /// How urgent it is.
    pub priority: Priority,
}

/// Who does a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This agent.
    Agent(AgentId),
    /// The least busy agent of this domain when the step starts.
    Domain(String),
}

/// One task for each element of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ForEach {
    /// The list.
    pub items: Reference,
    /// How many of the tasks may be under way at once; all when absent.
    pub max_concurrent: Option<u32>,
    /// How many of them must complete.
    pub join: Join,
}

/// A question to a person.
#[derive(Clone, Debug, PartialEq)]
pub struct ApprovalWork {
    /// The question.
    pub message: Option<String>,
    /// What is to be approved.
    pub data: Option<Template>,
    /// Seconds after which it counts as failed.
    pub timeout_seconds: Option<u32>,
}

impl Definition {
    /// The most steps.
    pub const MAX_STEPS: usize = 200;
    /// The most bytes of the definition as JSON.
    pub const MAX_BYTES: usize = 256 * 1_024;
    /// The most tasks of one fan-out.
    pub const MAX_FAN_OUT: usize = 10_000;

    /// The place of the step called `id`.
    #[must_use]
    pub fn place(&self, id: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.id == id)
    }

    /// The domains of which agents are chosen.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match &step.work {
            Work::Task(task) => match &task.target {
                Target::Domain(domain) => Some(domain.as_str()),
                Target::Agent(_) => None,
            },
            Work::Approval(_) => None,
        })
    }

    /// Reads a definition that was checked before it was stored.
    ///
    /// # Errors
    /// Every fault, when it is not what this version calls valid.
    pub fn stored(value: Value) -> Result<Self, crate::domain::Faults> {
        super::Draft::read(value).checked(|_| true, |_| true)
    }
}

impl Step {
    /// Calls `visit` with every reference of the step.
    pub(super) fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a Reference)) {
        if let Some(condition) = &self.when {
            condition.visit(visit);
        }
        match &self.work {
            Work::Task(task) => {
                task.task_data.visit(visit);
                if let Some(for_each) = &task.for_each {
                    visit(&for_each.items);
                }
            }
            Work::Approval(approval) => {
                if let Some(data) = &approval.data {
                    data.visit(visit);
                }
            }
        }
    }

    /// Whether it is a fan-out.
    #[must_use]
    pub fn fans_out(&self) -> bool {
        match &self.work {
            Work::Task(task) => task.for_each.is_some(),
            Work::Approval(_) => false,
        }
    }
}
