//! A batch that the ledger refuses for the sake of some member: the others go in one by one.

use orchestrator_common::domain::{ErrorCode, Outcome, TaskError, Timestamp};
use orchestrator_common::ledger::{Dispatch, LedgerError};
use orchestrator_common::telemetry::traceparent::trace_id;

use super::{Dispatcher, count};
use crate::intake::{Arrival, Ended, Refused};

impl Dispatcher {
    /// Finds out which part of a batch the ledger will never take, and takes that part out.
    ///
    /// Once the ledger does not answer, the rest waits for the next batch: one time-out is enough.
    pub(super) async fn dispatch_one_by_one(&mut self) {
        let mut is_away = false;
        for ended in std::mem::take(&mut self.completions) {
            if is_away {
                self.completions.push(ended);
                continue;
            }
            let alone = Dispatch {
                completions: vec![ended.completion.clone()],
                ..Dispatch::default()
            };
            let now = Timestamp::now();
            match self
                .context
                .ledger
                .dispatch(self.context.worker_id, alone, now)
                .await
            {
                Ok(dispatched) => {
                    self.hungry.extend(dispatched.hungry);
                    self.hungry.insert(ended.task.agent_id.clone());
                    if let Some(recorded) = dispatched.completions.first() {
                        count(&self.context.metrics, recorded);
                        self.context.outward.ended(ended, recorded, now);
                    }
                }
                Err(LedgerError::Unacceptable(error)) => {
                    self.completions.push(unrecordable(ended, &error))
                }
                Err(LedgerError::Unavailable(_) | LedgerError::Corrupt(_)) => {
                    is_away = true;
                    self.completions.push(ended);
                }
            }
        }
        for arrival in std::mem::take(&mut self.waiting) {
            if is_away {
                self.keep_waiting(arrival);
                continue;
            }
            match self
                .context
                .ledger
                .ingest(vec![arrival.task.clone()], Timestamp::now())
                .await
            {
                Ok(mut ingested) => {
                    for ingestion in &ingested {
                        self.context.metrics.ingestion(&ingestion.outcome);
                    }
                    self.hungry.insert(arrival.task.agent_id.clone());
                    arrival.answer(ingested.pop().ok_or(Refused::Unavailable));
                }
                Err(LedgerError::Unacceptable(error)) => {
                    arrival.answer(Err(Refused::Unacceptable(error.to_string())));
                }
                Err(LedgerError::Unavailable(_) | LedgerError::Corrupt(_)) => {
                    is_away = true;
                    self.keep_waiting(arrival);
                }
            }
        }
    }

    fn keep_waiting(&mut self, arrival: Arrival) {
        if arrival.sender.can_wait() {
            self.waiting.push(arrival);
        } else {
            arrival.answer(Err(Refused::Unavailable));
        }
    }
}

/// The result cannot be stored, so the task fails with an error that can.
fn unrecordable(mut ended: Ended, error: &sea_orm::DbErr) -> Ended {
    let trace_id = ended.task.traceparent.as_deref().and_then(trace_id);
    tracing::error!(task_id = %ended.task.task_id, trace_id, %error, "a result cannot be recorded; its task fails");
    let error = TaskError::new(ErrorCode::InternalError, "the result could not be recorded");
    ended.completion.outcome = Outcome::Failed { error };
    ended
}
