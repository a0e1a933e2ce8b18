//! Tells the world what the API itself has changed in the ledger: Redis, workers, and who listens to events.
//!
//! All of it may be lost, like what workers announce: the ledger has the change, and the workers' sweep finds it.

use std::sync::Arc;

use orchestrator_common::cache::{Cache, CachedStatus};
use orchestrator_common::commands::TaskChange;
use orchestrator_common::domain::{TaskDocument, TaskId, TaskRecord};
use orchestrator_common::ledger::Ledger;
use orchestrator_common::messaging::{Control, Outgoing, Publisher, TaskEvent, Topology};

/// Tells.
#[derive(Debug)]
pub(super) struct TaskNews {
    pub(super) ledger: Ledger,
    pub(super) cache: Cache,
    pub(super) publisher: Publisher,
    pub(super) topology: Arc<Topology>,
}

impl TaskNews {
    /// Tells readers of a change before it returns, as far as Redis takes it; messages follow.
    pub(super) async fn tell(&self, change: TaskChange) {
        match change {
            TaskChange::Ended(task_id) => self.ended(task_id).await,
            TaskChange::ToDrop { task_id, .. } => self.signal(&Control::CancelTask { task_id }),
            TaskChange::Reprioritised(task_id) => self.forget(task_id).await,
            TaskChange::Retried { task_id, agent_id } => {
                self.forget(task_id).await;
                let _ = self.cache.notify_changed(&[task_id]).await;
                self.signal(&Control::AgentChanged { agent_id });
            }
        }
    }

    /// Sends workers a signal, without waiting for it.
    pub(super) fn signal(&self, signal: &Control) {
        let message = Outgoing::control(&self.topology, signal);
        self.publish(message.into_iter().collect());
    }

    async fn ended(&self, task_id: TaskId) {
        let record = match self.ledger.task(task_id).await {
            Ok(Some(record)) if record.status.is_terminal() => record,
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%task_id, %error, "a cancelled task could not be read to announce it");
                return;
            }
        };
        self.publish(self.messages(&record).unwrap_or_default());
        let Ok(document) = serde_json::to_string(&TaskDocument::from(record.clone())) else {
            return;
        };
        let status = CachedStatus {
            task_id,
            attempt: record.attempt,
            status: record.status,
            document,
        };
        // Readers ask the ledger when Redis does not answer.
        let _ = self.cache.put_many(&[status]).await;
        let _ = self.cache.notify_changed(&[task_id]).await;
    }

    fn messages(&self, record: &TaskRecord) -> serde_json::Result<Vec<Outgoing>> {
        let Some(at) = record.completed_at else {
            return Ok(Vec::new());
        };
        let event = TaskEvent::of(record, at);
        let mut messages = vec![Outgoing::task_event(&self.topology, &event)?];
        if let Some(queue) = &record.task.reply_to {
            let correlation_id = record.task.correlation_id.as_deref();
            messages.extend(Outgoing::reply(queue, correlation_id, &event)?);
        }
        Ok(messages)
    }

    /// An older document than the one that is there could not be written over it.
    async fn forget(&self, task_id: TaskId) {
        let _ = self.cache.forget(task_id).await;
    }

    fn publish(&self, messages: Vec<Outgoing>) {
        let publisher = self.publisher.clone();
        tokio::spawn(async move {
            for fate in publisher.publish_all(messages).await {
                if let Err(reason) = fate {
                    tracing::debug!(%reason, "a change was not announced");
                }
            }
        });
    }
}
