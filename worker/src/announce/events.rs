//! The second stage: events for everybody, and answers for those who asked. Repeated until the broker has them.

use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::messaging::{Outgoing, PublishError, TaskEvent, WorkflowEvent};
use tokio::sync::mpsc;

use super::{Fact, MAX_BATCH, News, Reach};

/// How long to wait before the broker is asked again that did not take something.
const PAUSE: Duration = Duration::from_millis(500);

/// Publishes what comes out of `told`, until nothing more can come.
pub(super) async fn run(reach: Arc<Reach>, mut told: mpsc::Receiver<News>) {
    let mut batch: Vec<News> = Vec::with_capacity(MAX_BATCH);
    loop {
        if batch.is_empty() && told.recv_many(&mut batch, MAX_BATCH).await == 0 {
            return;
        }
        batch = publish(&reach, batch).await;
        if !batch.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Publishes a batch and returns what has to be published again. Repeating is harmless: the same fact has the same
/// `message_id`.
async fn publish(reach: &Reach, batch: Vec<News>) -> Vec<News> {
    let mut messages = Vec::with_capacity(batch.len());
    let mut owners = Vec::with_capacity(batch.len());
    for (index, news) in batch.iter().enumerate() {
        match messages_of(reach, news) {
            Ok(made) => {
                for message in made.into_iter().flatten() {
                    messages.push(message);
                    owners.push(index);
                }
            }
            Err(error) => tracing::error!(%error, "an event cannot be written"),
        }
    }
    let mut again = vec![false; batch.len()];
    for (owner, fate) in owners
        .into_iter()
        .zip(reach.publisher.publish_all(messages).await)
    {
        match fate {
            // Nobody has to listen.
            Ok(()) | Err(PublishError::Unroutable) => {}
            // A queue behind the exchange is full by its owner's policy: insisting would stop all other events.
            Err(PublishError::Refused | PublishError::Unsayable) => {
                reach.metrics.error("event_refused");
            }
            Err(
                PublishError::Unavailable
                | PublishError::Full
                | PublishError::NotConfirmed
                | PublishError::TimedOut,
            ) => {
                if let Some(again) = again.get_mut(owner) {
                    *again = true;
                }
            }
        }
    }
    let mut repeat = again.into_iter();
    let mut batch = batch;
    batch.retain(|news| repeat.next() == Some(true) && is_lasting(news));
    batch
}

/// Whether the news is worth repeating: progress is soon outdated.
fn is_lasting(news: &News) -> bool {
    match news {
        News::Task(fact) => fact.record.status.is_terminal(),
        News::Agent(_) => true,
        News::Run(_) => true,
        News::LookUp(_) => false,
    }
}

fn messages_of(reach: &Reach, news: &News) -> serde_json::Result<[Option<Outgoing>; 2]> {
    match news {
        News::Task(fact) => {
            let event = TaskEvent::of(&fact.record, fact.at);
            let message = Outgoing::task_event(&reach.topology, &event)?;
            Ok([Some(message), reply(fact, &event)?])
        }
        News::Agent(event) => Ok([Some(Outgoing::agent_event(&reach.topology, event)?), None]),
        News::Run(change) => {
            let event = WorkflowEvent::of(change);
            let message = event.map(|event| Outgoing::workflow_event(&reach.topology, &event));
            Ok([message.transpose()?, None])
        }
        News::LookUp(_) => Ok([None, None]),
    }
}

/// The answer to whoever asked for the task: one, with its outcome.
fn reply(fact: &Fact, event: &TaskEvent) -> serde_json::Result<Option<Outgoing>> {
    let task = &fact.record.task;
    match &task.reply_to {
        Some(reply_to) if event.status.is_terminal() => {
            Outgoing::reply(reply_to, task.correlation_id.as_deref(), event)
        }
        Some(_) | None => Ok(None),
    }
}
