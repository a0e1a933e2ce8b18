//! What callers get to see of agents and tasks, and how it is written.

mod agent;
mod agent_health;
mod answer;
mod audit;
mod batch;
mod cluster;
mod dead_letter;
mod paging;
mod performance;
mod selection;
mod session;
mod task;
mod wire;
mod workflow;
mod workflow_lists;

pub(crate) use agent::{AgentChanged, AgentList, AgentView};
pub(crate) use agent_health::AgentHealthView;
pub(crate) use answer::Answer;
pub(crate) use audit::{AuditCursor, AuditList};
pub(crate) use batch::{BatchResult, BatchResults};
pub(crate) use cluster::{ClusterStatus, Counts, TaskCounts};
pub(crate) use dead_letter::{DeadLetterChanged, DeadLetterList, DeadLetterView, LetterCursor};
pub(crate) use paging::{PageSize, TaskCursor};
pub(crate) use performance::AgentMetrics;
pub(crate) use selection::{SelectionView, TaskAssigned};
pub(crate) use session::{ConversationView, SessionCursor, SessionList};
pub(crate) use task::{TaskAccepted, TaskChanged, TaskList, TaskView, task_address};
pub(crate) use wire::{Loose, QueryValue, Wire, WireSchema};
pub(crate) use workflow::{RunAccepted, RunChanged, RunView, run_address, shown_tasks};
pub(crate) use workflow_lists::{
    DefinitionCursor, DefinitionList, DefinitionStored, DefinitionView, RunCursor, RunList,
};
