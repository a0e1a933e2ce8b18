//! The nouns of the orchestrator and their rules, free of I/O.

mod agent;
mod audit;
mod brain_config;
mod callback;
mod callback_targets;
mod capacity;
mod circuit;
mod conversation;
mod dead_letter;
mod deployment;
mod expiring;
mod fields;
mod health;
mod histogram;
mod identifiers;
mod instances;
mod load_balancing;
mod network;
mod outcome;
mod performance;
mod registration;
mod retry;
mod scaling;
mod selection;
mod session;
mod settlement;
mod submission;
mod task;
mod task_document;
mod timestamp;
pub mod workflow;

pub use agent::{
    AgentRecord, AgentStatus, AgentTotals, DesiredState, InstanceRecord, InstanceState, Wish,
};
pub use audit::{AuditEntry, AuditOutcome, Origin};
pub use brain_config::{Section, prevails_over, sections};
pub use callback::{CallbackClaim, CallbackOutcome, CallbackRecord, CallbackStatus};
pub use callback_targets::{CallbackTargets, NotAllowed, callback_target};
pub use capacity::Capacity;
pub use circuit::{Admission, Circuit, CircuitState};
pub use conversation::{Conversation, ConversationPart, ConversationState};
pub use dead_letter::{DeadLetter, LetterId};
pub use deployment::DeploymentRecord;
pub use expiring::Expiring;
pub use fields::{Fault, Faults, Fields, MAX_NESTING, nesting_of};
pub use health::{Health, HealthEvidence, HealthStatus, failure_rate};
pub use histogram::{BOUNDS, Histogram};
pub use identifiers::{AgentId, InstanceId, SessionId, TaskId, WorkerId};
pub use instances::{
    InstancePlan, InstanceSpec, MAX_INSTANCES, MadeInstance, instance_name, plan_instances,
};
pub use load_balancing::{
    DEFAULT_WEIGHT, LoadBalancing, MAX_WEIGHT, Place, pick, room_of, turn_after, turn_now,
};
pub use outcome::{Claim, Completion, ErrorCode, Evidence, Outcome, Snooze, TaskError, Usage};
pub use performance::{OutcomeCounts, Performance};
pub use registration::Registration;
pub use retry::RetryPolicy;
pub use scaling::Scaling;
pub use selection::{
    Candidate, Choice, DECLARED_IN, Experience, NobodyFits, Ranked, Wanted, choose,
};
pub use session::{SessionOutcome, SessionRecord};
pub use settlement::{Settlement, SettlementRules};
pub use submission::{OpenSubmission, Submission, SubmissionDefaults};
pub use task::{Json, NewTask, Priority, TaskRecord, TaskStatus};
pub use task_document::TaskDocument;
pub use timestamp::Timestamp;
