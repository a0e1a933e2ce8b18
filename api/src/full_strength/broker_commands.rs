//! Commands on their way through RabbitMQ, and straight into the ledger when it does not confirm them.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use orchestrator_common::auth::Level;
use orchestrator_common::cache::{Cache, CachedStatus};
use orchestrator_common::commands::{
    AcceptError, Accepted, CommandSink, RETRY_AFTER, ReplayError, TaskChange,
};
use orchestrator_common::domain::{
    AgentId, DeadLetter, NewTask, Origin, TaskId, TaskStatus, Timestamp,
};
use orchestrator_common::ledger::Ledger;
use orchestrator_common::messaging::{
    Command, Control, Outgoing, PublishError, Publisher, Topology,
};
use orchestrator_common::telemetry::Span;

use super::endorsement::Endorsement;
use super::ledger_intake::LedgerIntake;
use super::queued_statuses::QueuedStatuses;
use super::task_news::TaskNews;
use crate::recently_accepted::RecentlyAccepted;
use crate::rest::Rest;

/// How long the ledger may take to say whether a task that its caller named exists.
const LOOK_PATIENCE: Duration = Duration::from_millis(500);

/// Hands commands to the broker.
#[derive(Debug)]
pub(super) struct BrokerCommands {
    publisher: Publisher,
    topology: Arc<Topology>,
    ledger: Ledger,
    ledger_rest: Rest,
    intake: LedgerIntake,
    statuses: QueuedStatuses,
    recent: RecentlyAccepted,
    cache: Cache,
    endorsement: Endorsement,
    news: TaskNews,
}

impl BrokerCommands {
    pub(super) fn new(
        publisher: Publisher,
        topology: Arc<Topology>,
        ledger: Ledger,
        cache: Cache,
        recent: RecentlyAccepted,
        endorsement: Endorsement,
    ) -> Self {
        let news = TaskNews {
            ledger: ledger.clone(),
            cache: cache.clone(),
            publisher: publisher.clone(),
            topology: topology.clone(),
        };
        Self {
            news,
            publisher,
            topology,
            intake: LedgerIntake::start(ledger.clone()),
            ledger,
            ledger_rest: Rest::default(),
            statuses: QueuedStatuses::start(cache.clone()),
            cache,
            recent,
            endorsement,
        }
    }

    /// What most tasks do not need is boxed, here as in the route: it would make the future of each of them larger.
    async fn accept(&self, mut task: NewTask) -> Result<Accepted, AcceptError> {
        if let Some(fingerprint) = task.fingerprint {
            let known = Box::pin(self.known(task.task_id, &task.agent_id, fingerprint));
            if let Some(known) = known.await {
                return known;
            }
            if !Box::pin(self.is_first(task.task_id, fingerprint)).await {
                return Err(AcceptError::Conflict(task.task_id));
            }
        }
        let task_id = task.task_id;
        let mut span = Span::of_publish(&mut task);
        let task = Arc::new(task);
        let published = self.publish_task(Arc::clone(&task)).await;
        span.published(published.is_ok());
        drop(span);
        // Nobody else has it any more, unless the publisher holds on to what it gave up.
        let task = Arc::unwrap_or_clone(task);
        if let Err(reason) = published {
            // What was not confirmed in time may still arrive: ingest recognises its `task_id`.
            tracing::debug!(%reason, %task_id, "the broker did not confirm a task; it goes into the ledger");
            return Box::pin(self.intake.accept(task)).await;
        }
        let is_later = task.run_at.is_some_and(|at| at > Timestamp::now());
        let status = if is_later {
            TaskStatus::Scheduled
        } else {
            TaskStatus::Queued
        };
        self.remember(task, status).await;
        Ok(Accepted {
            task_id,
            status,
            queue_position: None,
            repeated: false,
        })
    }

    /// What is to be answered when the task exists already, as far as that can be known soon; ingest decides otherwise.
    async fn known(
        &self,
        task_id: TaskId,
        agent_id: &AgentId,
        fingerprint: [u8; 32],
    ) -> Option<Result<Accepted, AcceptError>> {
        let judge = |before: Option<[u8; 32]>, of: &AgentId, status| {
            if before.map_or(of == agent_id, |before| before == fingerprint) {
                Ok(Accepted {
                    task_id,
                    status,
                    queue_position: None,
                    repeated: true,
                })
            } else {
                Err(AcceptError::Conflict(task_id))
            }
        };
        if !self.ledger_rest.is_on() {
            match tokio::time::timeout(LOOK_PATIENCE, self.ledger.task(task_id)).await {
                Ok(Ok(Some(record))) => {
                    let task = &record.task;
                    return Some(judge(task.fingerprint, &task.agent_id, record.status));
                }
                Ok(Ok(None)) => {}
                Ok(Err(_)) | Err(_) => self.ledger_rest.begin(),
            }
        }
        let recent = self.recent.get(task_id)?;
        let document = &recent.document;
        Some(judge(
            recent.fingerprint,
            &document.agent_id,
            document.status,
        ))
    }

    /// Whether nobody has just used the name of a task for another request, here or in another process: ingest would refuse
    /// the second one, but after it was answered.
    async fn is_first(&self, task_id: TaskId, fingerprint: [u8; 32]) -> bool {
        if self.recent.name(task_id, fingerprint) != fingerprint {
            return false;
        }
        let named = self.cache.name(task_id, fingerprint).await;
        named.map_or(true, |held| held == fingerprint)
    }

    async fn publish_task(&self, task: Arc<NewTask>) -> Result<(), String> {
        let token = self.endorsement.for_level(Level::Write)?;
        let authorization = token.map(|token| token.1.as_str().into());
        let published = self.publisher.publish_task(task, authorization).await;
        published.map_err(|e| e.to_string())
    }

    async fn publish(&self, command: &Command, by: &Origin) -> Result<(), String> {
        let outgoing = Outgoing::command(&self.topology, command).map_err(|e| e.to_string())?;
        let mut outgoing = outgoing.with_origin(by);
        if let Some(token) = self.endorsement.of(command)? {
            outgoing = outgoing.with_authorization(&token.1);
        }
        let published = self.publisher.publish(outgoing).await;
        published.map_err(|e| e.to_string())
    }

    /// Tells readers of a task that only the broker has.
    async fn remember(&self, task: NewTask, status: TaskStatus) {
        let remembered = self.recent.insert(task, status);
        if let Ok(document) = serde_json::to_string(&remembered.document) {
            let status = CachedStatus {
                task_id: remembered.document.task_id,
                attempt: 0,
                status,
                document,
            };
            self.statuses.put(status).await;
        }
    }
}

impl CommandSink for BrokerCommands {
    fn execute(&self, task: NewTask) -> BoxFuture<'_, Result<Accepted, AcceptError>> {
        self.accept(task).boxed()
    }

    fn agent_changed(&self, agent_id: &AgentId) {
        self.news.signal(&Control::AgentChanged {
            agent_id: agent_id.clone(),
        });
    }

    fn workflows_changed(&self) {
        self.news.signal(&Control::WorkflowsChanged);
    }

    fn task_changed(&self, change: TaskChange) -> BoxFuture<'_, ()> {
        self.news.tell(change).boxed()
    }

    fn replay<'a>(
        &'a self,
        letter: &'a DeadLetter,
        by: &'a Origin,
    ) -> BoxFuture<'a, Result<(), ReplayError>> {
        async move {
            let unavailable = ReplayError::Unavailable {
                retry_after: RETRY_AFTER,
            };
            let mut outgoing = Outgoing::replay(&self.topology, letter, by);
            // Whoever may replay may do everything.
            match self.endorsement.for_level(Level::Admin) {
                Ok(Some(token)) => outgoing = outgoing.with_authorization(&token.1),
                Ok(None) => {}
                Err(reason) => {
                    tracing::error!(%reason, "a dead letter cannot be endorsed");
                    return Err(unavailable);
                }
            }
            self.publisher
                .publish(outgoing)
                .await
                .map_err(|error| match error {
                    PublishError::Unroutable => ReplayError::Unroutable,
                    PublishError::Unavailable
                    | PublishError::Full
                    | PublishError::Refused
                    | PublishError::Unsayable
                    | PublishError::NotConfirmed
                    | PublishError::TimedOut => unavailable,
                })
        }
        .boxed()
    }

    fn hand_on(&self, change: Command, by: Origin) -> BoxFuture<'_, Result<(), AcceptError>> {
        async move {
            self.publish(&change, &by).await.map_err(|reason| {
                tracing::warn!(%reason, kind = %change.kind(), "neither the ledger nor the broker takes a change");
                AcceptError::unavailable()
            })
        }
        .boxed()
    }
}
