//! What workers tell each other. Losing a signal only delays: the sweep over the ledger finds everything by itself.

use serde::{Deserialize, Serialize};

use super::outgoing::Outgoing;
use super::topology::{Source, Topology};
use crate::domain::{AgentId, TaskId, WorkerId};
use lapin::types::ShortString;

/// "This agent has runnable work": for whichever worker has room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doorbell {
    /// The agent.
    pub agent_id: AgentId,
}

/// What every worker hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "signal", rename_all = "snake_case")]
pub enum Control {
    /// Whoever runs this task is to drop it; the ledger holds the request too.
    CancelTask {
        /// The task.
        task_id: TaskId,
    },
    /// This worker is to finish what it runs and claim nothing more.
    Drain {
        /// The worker.
        worker_id: WorkerId,
    },
    /// An agent's limits, instances or desired state have changed in the ledger.
    AgentChanged {
        /// The agent.
        agent_id: AgentId,
    },
    /// Workflows have something to do.
    WorkflowsChanged,
}

impl Doorbell {
    /// Reads a doorbell; `None` when the bytes are none.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

impl Control {
    /// Reads a control signal; `None` when the bytes are none that this version knows.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

impl Outgoing {
    /// A doorbell for one worker with room.
    ///
    /// # Errors
    /// Never in practice: the type holds only text.
    pub fn doorbell(topology: &Topology, bell: &Doorbell) -> serde_json::Result<Self> {
        let queue = topology.queue(Source::Doorbell).clone();
        let body = serde_json::to_vec(bell)?;
        Ok(Self::fleeting(ShortString::default(), queue, body))
    }

    /// A signal for every worker.
    ///
    /// # Errors
    /// Never in practice: the type holds only text.
    pub fn control(topology: &Topology, signal: &Control) -> serde_json::Result<Self> {
        let body = serde_json::to_vec(signal)?;
        let exchange = topology.control().clone();
        Ok(Self::fleeting(exchange, ShortString::default(), body))
    }
}
