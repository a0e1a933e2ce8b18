//! Signals that every worker hears. The ledger holds what they say too, so they may be lost and may come twice.

use std::sync::Arc;

use orchestrator_common::messaging::{Consumer, Control, ack_all};

use super::reception::Reception;

/// The most signals that are taken at a time.
const BATCH: usize = 256;

/// Listens until the shutdown.
pub(super) async fn run(reception: Arc<Reception>, mut consumer: Consumer) {
    loop {
        let batch = consumer.recv_batch(BATCH).await;
        if batch.is_empty() {
            return;
        }
        for message in &batch {
            match Control::decode(message.body()) {
                Some(Control::CancelTask { task_id }) => reception.intake.cancel(task_id),
                Some(Control::Drain { worker_id }) if worker_id == reception.worker_id => {
                    tracing::info!("told to drain: the worker finishes what it runs and stops");
                    reception.shutdown.cancel();
                }
                Some(Control::Drain { .. }) => {}
                Some(Control::AgentChanged { agent_id }) => {
                    reception.intake.reconcile(agent_id.clone());
                    reception.intake.ring(agent_id);
                }
                Some(Control::WorkflowsChanged) => reception.intake.workflows_due(),
                None => tracing::debug!("a signal of another version is ignored"),
            }
        }
        ack_all(batch).await;
    }
}
