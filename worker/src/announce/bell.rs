//! Ringing for other workers: "this agent has runnable work that I have no room for".

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orchestrator_common::domain::AgentId;
use orchestrator_common::messaging::{Doorbell, Outgoing, Publisher, Topology};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The least time between two rings for one agent.
const INTERVAL: Duration = Duration::from_millis(200);
/// Rings that may wait; the sweep finds what does not fit.
const MAX_WAITING: usize = 1_024;
/// Rings that are sent together.
const MAX_BATCH: usize = 64;

/// Rings; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Bell {
    agents: mpsc::Sender<AgentId>,
}

impl Bell {
    /// Starts the task that rings, until `stop`.
    pub(crate) fn start(
        publisher: Publisher,
        topology: Arc<Topology>,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (agents, rung) = mpsc::channel(MAX_WAITING);
        let handle = tokio::spawn(run(publisher, topology, rung, stop));
        (Self { agents }, handle)
    }

    pub(crate) fn ring(&self, agent_id: &AgentId) {
        // Not worth waiting for: the sweep finds it.
        let _ = self.agents.try_send(agent_id.clone());
    }
}

async fn run(
    publisher: Publisher,
    topology: Arc<Topology>,
    mut rung: mpsc::Receiver<AgentId>,
    stop: CancellationToken,
) {
    let mut latest: HashMap<AgentId, Instant> = HashMap::new();
    let mut batch = Vec::new();
    loop {
        let received = tokio::select! {
            biased;
            received = rung.recv_many(&mut batch, MAX_BATCH) => received,
            () = stop.cancelled() => return,
        };
        if received == 0 {
            return;
        }
        let now = Instant::now();
        latest.retain(|_, at| now.duration_since(*at) < INTERVAL);
        let bells: Vec<Outgoing> = batch
            .drain(..)
            .filter(|agent_id| {
                let fresh = !latest.contains_key(agent_id);
                if fresh {
                    latest.insert(agent_id.clone(), now);
                }
                fresh
            })
            .filter_map(|agent_id| Outgoing::doorbell(&topology, &Doorbell { agent_id }).ok())
            .collect();
        // A lost bell only delays.
        let _ = publisher.publish_all(bells).await;
    }
}
