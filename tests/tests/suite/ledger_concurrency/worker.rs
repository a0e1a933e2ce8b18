//! A worker of the race: it brings, claims, ends, cancels, dies and repeats at random, and notes every outcome.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use orchestrator_common::domain::{
    AgentId, Claim, Completion, ErrorCode, NewTask, Outcome, Snooze, TaskError, TaskId, Timestamp,
    Usage, WorkerId,
};
use orchestrator_common::ledger::{Cancelled, Dispatch, Ingested, Ledger};
use serde_json::json;
use tokio::sync::Mutex;

use super::{LIMITS, TASKS};

/// What all workers see of the world.
pub(crate) struct Shared {
    pub(crate) agents: Vec<AgentId>,
    /// Tasks that nobody brought yet.
    pub(crate) to_bring: Mutex<Vec<NewTask>>,
    pub(crate) brought: Mutex<Vec<NewTask>>,
    /// How often the ledger told the outcome of each task.
    pub(crate) outcomes: Mutex<BTreeMap<TaskId, u32>>,
    /// Workers that died and were not recovered yet.
    pub(crate) dead: Mutex<Vec<WorkerId>>,
    pub(crate) ended: AtomicUsize,
}

impl Shared {
    async fn ended(&self, task_ids: impl IntoIterator<Item = TaskId>) {
        let mut outcomes = self.outcomes.lock().await;
        for id in task_ids {
            *outcomes.entry(id).or_default() += 1;
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_done(&self) -> bool {
        self.ended.load(Ordering::Relaxed) >= TASKS
    }
}

/// A small generator of numbers: each worker has its own, so a run differs only in how they interleave.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap() % bound
    }

    pub(crate) fn one_in(&mut self, number: usize) -> bool {
        self.below(number) == 0
    }
}

pub(crate) struct Worker {
    pub(crate) ledger: Ledger,
    pub(crate) shared: Arc<Shared>,
    pub(crate) dice: Dice,
    pub(crate) id: WorkerId,
    pub(crate) held: Vec<Claim>,
    pub(crate) past: Vec<Claim>,
}

impl Worker {
    pub(crate) async fn run(mut self) {
        while !self.shared.is_done() {
            match self.dice.below(40) {
                0 => self.die().await,
                1 => self.recover_the_dead().await,
                2..=4 => self.cancel_one().await,
                5..=7 => self.sweep().await,
                _ => self.dispatch().await,
            }
        }
    }

    async fn dispatch(&mut self) {
        let arrivals = self.arrivals().await;
        let mut completions = Vec::new();
        for claim in std::mem::take(&mut self.held) {
            if self.dice.one_in(4) {
                self.held.push(claim);
            } else {
                completions.push(self.completion(claim));
            }
        }
        if !self.past.is_empty() && self.dice.one_in(5) {
            let stale = self.past[self.dice.below(self.past.len())].clone();
            if !self.held.contains(&stale) {
                completions.push(self.completion(stale));
            }
        }
        let claims = self.shared.agents.clone();
        let dispatch = Dispatch {
            arrivals,
            completions,
            claims: claims.into_iter().filter(|_| self.dice.one_in(2)).collect(),
            room: 16u32.saturating_sub(u32::try_from(self.held.len()).unwrap()),
        };
        let dispatched = self.ledger.dispatch(self.id, dispatch, Timestamp::now());
        let dispatched = dispatched.await.unwrap();
        for arrival in &dispatched.arrivals {
            assert!(
                !matches!(arrival.outcome, Ingested::UnknownAgent),
                "{arrival:?}"
            );
        }
        let ended = dispatched.completions.iter().filter(|recorded| {
            let settlement = recorded.settlement.as_ref();
            settlement.is_some_and(|settlement| settlement.status.is_terminal())
        });
        self.shared
            .ended(ended.map(|recorded| recorded.claim.task_id))
            .await;
        for started in dispatched.started {
            self.held.push(started.claim.clone());
            self.past.push(started.claim);
        }
    }

    /// New tasks, and now and then earlier ones again, of their own agent or of another, in any order.
    async fn arrivals(&mut self) -> Vec<NewTask> {
        let mut to_bring = self.shared.to_bring.lock().await;
        let rest = to_bring.len().saturating_sub(self.dice.below(24));
        let mut arrivals = to_bring.split_off(rest);
        drop(to_bring);
        let mut brought = self.shared.brought.lock().await;
        brought.extend(arrivals.iter().cloned());
        for _ in 0..self.dice.below(4) {
            if !brought.is_empty() {
                // Recent ones, which another worker may be bringing at this moment.
                let recent = brought.len().min(40);
                let mut again = brought[brought.len() - 1 - self.dice.below(recent)].clone();
                if self.dice.one_in(4) {
                    again.agent_id = self.shared.agents[self.dice.below(LIMITS.len())].clone();
                }
                arrivals.insert(self.dice.below(arrivals.len() + 1), again);
            }
        }
        arrivals
    }

    fn completion(&mut self, claim: Claim) -> Completion {
        let error = TaskError::new(ErrorCode::AgentUnreachable, "as the test wants");
        let outcome = match self.dice.below(20) {
            0 | 1 => Outcome::Retryable {
                error,
                retry_after: None,
            },
            2 => Outcome::Snoozed {
                why: Snooze::Busy,
                delay: Duration::from_millis(5),
            },
            3 => Outcome::HandedBack,
            4 => Outcome::TimedOut { error },
            5 => Outcome::Failed { error },
            6 => Outcome::Cancelled,
            _ => Outcome::Completed {
                result: serde_json::value::to_raw_value(&json!({})).unwrap().into(),
            },
        };
        Completion {
            claim,
            outcome,
            usage: Usage::default(),
        }
    }

    async fn die(&mut self) {
        self.shared.dead.lock().await.push(self.id);
        self.id = WorkerId::generate();
        self.held.clear();
    }

    /// Several may recover the same worker at once.
    async fn recover_the_dead(&mut self) {
        let dead = self.shared.dead.lock().await.clone();
        for lost in dead {
            let recovered = self.ledger.recover(lost, Timestamp::now()).await.unwrap();
            let ended = recovered.iter().filter(|recorded| {
                let settlement = recorded.settlement.as_ref();
                settlement.is_some_and(|settlement| settlement.status.is_terminal())
            });
            self.shared
                .ended(ended.map(|recorded| recorded.claim.task_id))
                .await;
            self.shared.dead.lock().await.retain(|id| *id != lost);
        }
    }

    async fn cancel_one(&mut self) {
        let brought = self.shared.brought.lock().await;
        if brought.is_empty() {
            return;
        }
        let id = brought[self.dice.below(brought.len())].task_id;
        drop(brought);
        if self.ledger.cancel(id, Timestamp::now()).await.unwrap() == Cancelled::Now {
            self.shared.ended([id]).await;
        }
    }

    async fn sweep(&mut self) {
        // Retries are due at once: the test waits for nothing.
        let later = Timestamp::now().plus(Duration::from_secs(400));
        self.ledger.promote_due(later).await.unwrap();
        let expired = self.ledger.expire(Timestamp::now()).await.unwrap();
        self.shared.ended(expired).await;
    }
}
