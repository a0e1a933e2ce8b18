//! The first stage: Redis, for pollers and for readers who wait. A Redis that does not answer costs one short time-out.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use orchestrator_common::cache::CachedStatus;
use orchestrator_common::domain::{TaskDocument, TaskId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Fact, MAX_BATCH, News, Reach, Waiting, Weight};

/// Writes what comes out of `facts` to Redis and passes it on, until `stop` and nothing is left.
pub(super) async fn run(
    reach: &Reach,
    mut facts: mpsc::Receiver<News>,
    told: Waiting,
    weight: Arc<AtomicUsize>,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    let mut stopping = false;
    loop {
        let received = tokio::select! {
            biased;
            received = facts.recv_many(&mut batch, MAX_BATCH) => received,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                facts.close();
                continue;
            }
        };
        if received == 0 {
            return;
        }
        let batch = newest(known(reach, batch.drain(..), &weight).await);
        write(reach, &batch).await;
        batch.into_iter().for_each(|news| told.push(news));
    }
}

/// The batch with what is to be looked up read from the ledger.
async fn known(
    reach: &Reach,
    batch: impl Iterator<Item = News> + Send,
    weight: &Arc<AtomicUsize>,
) -> Vec<News> {
    let mut known = Vec::new();
    let mut unknown: Vec<TaskId> = Vec::new();
    for news in batch {
        match news {
            News::Task(_) | News::Agent(_) | News::Run(_) => known.push(news),
            News::LookUp(task_ids) => unknown.extend(task_ids),
        }
    }
    if !unknown.is_empty() {
        match reach.ledger.tasks(&unknown).await {
            Ok(records) => known.extend(records.into_iter().filter_map(|record| {
                let at = record.completed_at?;
                Some(News::Task(Box::new(Fact {
                    weight: Weight::of(&record, weight),
                    record,
                    at,
                })))
            })),
            Err(error) => {
                tracing::warn!(%error, tasks = unknown.len(), "ended tasks could not be read to announce them");
                unknown
                    .iter()
                    .for_each(|_| reach.metrics.announcement_dropped());
            }
        }
    }
    known
}

/// Without the progress of tasks whose outcome is in the same batch: nobody could act on it any more.
fn newest(mut batch: Vec<News>) -> Vec<News> {
    let ended: HashSet<TaskId> = batch
        .iter()
        .filter_map(|news| match news {
            News::Task(fact) if fact.record.status.is_terminal() => Some(fact.record.task.task_id),
            News::Task(_) | News::Agent(_) | News::LookUp(_) | News::Run(_) => None,
        })
        .collect();
    batch.retain(|news| match news {
        News::Task(fact) => {
            fact.record.status.is_terminal() || !ended.contains(&fact.record.task.task_id)
        }
        News::Agent(_) | News::LookUp(_) | News::Run(_) => true,
    });
    batch
}

async fn write(reach: &Reach, batch: &[News]) {
    let mut statuses = Vec::with_capacity(batch.len());
    let mut changed = Vec::with_capacity(batch.len());
    for news in batch {
        match news {
            News::Task(fact) => {
                statuses.extend(status_of(fact));
                changed.push(fact.record.task.task_id);
            }
            News::Agent(event) => {
                // A change that cannot be written here is seen when the entry runs out.
                let _ = reach.cache.forget_agent(&event.agent_id).await;
            }
            // Readers wait for runs as they do for tasks: under the same kind of identifier.
            News::Run(change) => changed.push(TaskId::from(change.run_id.uuid())),
            News::LookUp(_) => {}
        }
    }
    if reach.cache.put_many(&statuses).await.is_err()
        || reach.cache.notify_changed(&changed).await.is_err()
    {
        // The cache says what is wrong, once; readers ask the ledger.
        reach.metrics.error("cache_unavailable");
    }
}

fn status_of(fact: &Fact) -> Option<CachedStatus> {
    let record = &fact.record;
    let (task_id, attempt, status) = (record.task.task_id, record.attempt, record.status);
    match serde_json::to_string(&TaskDocument::from(record.clone())) {
        Ok(document) => Some(CachedStatus {
            task_id,
            attempt,
            status,
            document,
        }),
        Err(error) => {
            tracing::error!(%task_id, %error, "a task's document cannot be written");
            None
        }
    }
}
