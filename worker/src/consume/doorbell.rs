//! Doorbells: a worker with room takes them, and claims what it can of the agent's tasks.

use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::messaging::{Consumer, Doorbell, ack_all, requeue};
use tokio::sync::watch;

use super::reception::Reception;

/// How long a worker that has become full keeps a bell in the hope of room, before another one gets it.
const PATIENCE: Duration = Duration::from_millis(50);

/// Consumes until the shutdown.
pub(super) async fn run(reception: Arc<Reception>, mut consumer: Consumer) {
    let mut room = reception.intake.room();
    loop {
        let batch = consumer.recv_batch(1).await;
        if batch.is_empty() {
            return;
        }
        for message in batch {
            if gets_room(&mut room).await {
                if let Some(bell) = Doorbell::decode(message.body()) {
                    reception.intake.ring(bell.agent_id);
                }
                ack_all(vec![message]).await;
            } else {
                requeue(message).await;
            }
        }
    }
}

async fn gets_room(room: &mut watch::Receiver<bool>) -> bool {
    let waiting = tokio::time::timeout(PATIENCE, room.wait_for(|has_room| *has_room));
    matches!(waiting.await, Ok(Ok(_)))
}
