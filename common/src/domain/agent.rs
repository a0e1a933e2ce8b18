//! An agent: what it is, what is wanted of it, and what it is observed to be.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    AgentId, Capacity, Circuit, InstanceId, InstanceSpec, LoadBalancing, MadeInstance, Timestamp,
};

macro_rules! named_states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every state.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name on the wire and in the ledger.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|state| state.as_str() == text).ok_or(())
            }
        }
    };
}

pub(super) use named_states;

named_states! {
    /// What callers want of an agent.
    DesiredState {
        /// Registered and never started; its first task starts it when auto-start is on.
        Idle = "idle",
        /// To be running.
        Running = "running",
        /// To keep its brain and start no further task.
        Paused = "paused",
        /// To be stopped; tasks that arrive wait until it is started.
        Stopped = "stopped",
        /// To be removed as soon as nothing runs on it.
        Removed = "removed",
    }
}

/// What a caller may want of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To run, whatever it was.
    Start,
    /// To stop, whatever it was.
    Stop,
    /// To keep its brain and start no further task.
    Pause,
    /// To start tasks again after a pause.
    Resume,
    /// To go.
    Remove,
}

impl Wish {
    /// What is wanted of the agent then.
    #[must_use]
    pub const fn desired(self) -> DesiredState {
        match self {
            Self::Start | Self::Resume => DesiredState::Running,
            Self::Stop => DesiredState::Stopped,
            Self::Pause => DesiredState::Paused,
            Self::Remove => DesiredState::Removed,
        }
    }

    /// What may be wanted of the agent before; wishing twice is harmless. A stopped agent cannot be paused, because the
    /// end of the pause would start it, and only a pause can be ended.
    #[must_use]
    pub const fn allowed_from(self) -> &'static [DesiredState] {
        use DesiredState::{Idle, Paused, Running, Stopped};
        match self {
            Self::Start | Self::Stop | Self::Remove => &[Idle, Running, Paused, Stopped],
            Self::Pause => &[Idle, Running, Paused],
            Self::Resume => &[Running, Paused],
        }
    }

    /// Its name in the audit log.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Start => "agent.start",
            Self::Stop => "agent.stop",
            Self::Pause => "agent.pause",
            Self::Resume => "agent.resume",
            Self::Remove => "agent.unregister",
        }
    }
}

named_states! {
    /// What an agent is observed to be.
    AgentStatus {
        /// Known, with no brain yet.
        Registered = "registered",
        /// Its brain is being made.
        Starting = "starting",
        /// Takes tasks.
        Active = "active",
        /// Has a brain and starts no task.
        Paused = "paused",
        /// Finishes what runs and starts nothing more.
        Stopping = "stopping",
        /// Has been stopped.
        Stopped = "stopped",
        /// Its brain could not be made; tried again later.
        Failed = "failed",
    }
}

named_states! {
    /// What an instance is observed to be.
    InstanceState {
        /// Is being made, or asked for the first time whether it is there.
        Making = "making",
        /// Takes tasks.
        Healthy = "healthy",
        /// Did not answer probes; takes a task only while no other instance can.
        Unhealthy = "unhealthy",
        /// Forgotten by the brain (404): to be re-created.
        Lost = "lost",
    }
}

/// One place where an agent's tasks run.
#[derive(Clone, Debug)]
pub struct InstanceRecord {
    /// Its identifier.
    pub instance_id: InstanceId,
    /// Base address of the agent, for example `http://host:8305/agents/ID`; empty until it was made.
    pub endpoint: String,
    /// What it is for the Brain Factory that makes it; `None` when it was registered with its address.
    pub made: Option<MadeInstance>,
    /// What it is observed to be.
    pub state: InstanceState,
    /// Whether it gets no more tasks and goes when nothing runs there.
    pub draining: bool,
    /// How many tasks it may run at once, as registered; the agent's limit when `None`.
    pub capacity: Option<u32>,
    /// Its share of the tasks, 1 to 1,000.
    pub weight: u32,
    /// What was learnt of how many tasks it can run at once.
    pub learnt: Capacity,
    /// Whether it is trusted.
    pub circuit: Circuit,
    /// How many tasks it runs now.
    pub running: u32,
    /// When it came to be.
    pub created_at: Timestamp,
    /// When it last answered a probe.
    pub last_health_check: Option<Timestamp>,
    /// What it reported to use.
    pub memory_usage_mb: Option<f64>,
}

/// Counts over the life of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AgentTotals {
    /// Attempts that ended, whatever they came to.
    pub sessions: u64,
    /// Tasks with the outcome completed.
    pub completed: u64,
    /// Tasks with the outcome failed or timed out.
    pub failed: u64,
    /// Seconds that ended attempts took together.
    pub busy_seconds: f64,
    /// Tokens reported.
    pub tokens: u64,
    /// Cost reported, in US dollars.
    pub cost: f64,
}

/// An agent as the ledger knows it.
#[derive(Clone, Debug)]
pub struct AgentRecord {
    /// Its identifier.
    pub agent_id: AgentId,
    /// A name for people.
    pub agent_name: Option<String>,
    /// The field it works in.
    pub domain: Option<String>,
    /// Persona, reasoning pattern, components and connections, as registered.
    pub brain_config: Option<Value>,
    /// Its deployment in the Deployment Pipeline.
    pub deployment_id: Option<String>,
    /// Where it runs, when it is not the Brain Factory's to make; empty otherwise.
    pub registered_instances: Vec<InstanceSpec>,
    /// How many instances the Brain Factory is to make.
    pub instances_wanted: u32,
    /// How its tasks are shared out among its instances.
    pub load_balancing: LoadBalancing,
    /// Everything else that was registered.
    pub extra: Map<String, Value>,
    /// What is wanted.
    pub desired: DesiredState,
    /// What is observed.
    pub status: AgentStatus,
    /// Why it is `failed`.
    pub status_reason: Option<String>,
    /// Its own limit of concurrent sessions; the cluster's default when `None`.
    pub max_concurrent_sessions: Option<u32>,
    /// Tasks that run now.
    pub running: u32,
    /// Tasks that wait for a slot.
    pub queued: u32,
    /// Counts over its life.
    pub totals: AgentTotals,
    /// Its instances, oldest first.
    pub instances: Vec<InstanceRecord>,
    /// When it was first registered.
    pub registered_at: Timestamp,
    /// When it last became active.
    pub started_at: Option<Timestamp>,
}
