//! `Idempotency-Key`: a repeated call joins the execution that runs, or gets the answer of the one that completed.
//!
//! Memory is bounded by entries, bytes and age; all entries live equally long, so the oldest is always the next to go.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::Shared;
use tokio::sync::oneshot;

use super::answer::Answer;

/// Shards, so that calls for different keys seldom meet.
const SHARDS: usize = 16;

/// Who waits for an execution's answer. An error means that it was stopped with the server.
pub(super) type Pending = Shared<oneshot::Receiver<Answer>>;

/// How much is remembered.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) age: Duration,
    pub(super) entries: usize,
    /// Of all stored answers, in bytes. An answer over a 64th of it is not stored.
    pub(super) bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(600),
            entries: 65_536,
            bytes: 64 * 1024 * 1024,
        }
    }
}

/// One key of one task of one agent.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct FlightKey {
    pub(super) incarnation: u64,
    pub(super) task_id: Arc<str>,
    pub(super) key: Arc<str>,
}

/// What a call finds.
pub(super) enum Entered {
    /// It completed: here is the answer.
    Stored(Answer),
    /// It runs: wait for it.
    Running(Pending),
    /// Nothing: execute, and tell the seat.
    First(Seat, Pending),
}

pub(super) struct Flights {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    bounds: Bounds,
}

#[derive(Default)]
struct Shard {
    entries: HashMap<FlightKey, Entry>,
    /// The stored ones, oldest first.
    stored: VecDeque<(Instant, FlightKey)>,
    bytes: usize,
}

enum Entry {
    Running(Pending),
    Stored(Answer),
}

impl Flights {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            bounds,
        })
    }

    /// Takes the key's place, or finds out who has it.
    pub(super) fn enter(self: &Arc<Self>, key: FlightKey) -> Entered {
        let mut shard = self.shard(&key);
        shard.evict(Instant::now(), self.bounds);
        match shard.entries.get(&key) {
            Some(Entry::Stored(answer)) => Entered::Stored(answer.clone()),
            Some(Entry::Running(pending)) => Entered::Running(pending.clone()),
            None => {
                let (mut seat, pending) = Seat::alone();
                seat.place = Some((Arc::clone(self), key.clone()));
                shard.entries.insert(key, Entry::Running(pending.clone()));
                Entered::First(seat, pending)
            }
        }
    }

    fn settle(&self, key: FlightKey, answer: Option<&Answer>) {
        let mut shard = self.shard(&key);
        match answer {
            Some(answer) if answer.completed && answer.weight() <= self.bounds.bytes / 64 => {
                shard.bytes += answer.weight();
                shard.stored.push_back((Instant::now(), key.clone()));
                shard.entries.insert(key, Entry::Stored(answer.clone()));
                shard.evict(Instant::now(), self.bounds);
            }
            Some(_) | None => {
                shard.entries.remove(&key);
            }
        }
    }

    fn shard(&self, key: &FlightKey) -> MutexGuard<'_, Shard> {
        let index = self.hasher.hash_one(key) % SHARDS as u64;
        #[expect(clippy::cast_possible_truncation, reason = "below SHARDS")]
        let shard = &self.shards[index as usize];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Drops the oldest answers until all bounds hold.
    fn evict(&mut self, now: Instant, bounds: Bounds) {
        while let Some((since, _)) = self.stored.front() {
            let fits =
                self.stored.len() <= bounds.entries / SHARDS && self.bytes <= bounds.bytes / SHARDS;
            if fits && now.duration_since(*since) < bounds.age {
                return;
            }
            if let Some((_, key)) = self.stored.pop_front()
                && let Some(Entry::Stored(answer)) = self.entries.remove(&key)
            {
                self.bytes -= answer.weight();
            }
        }
    }
}

/// The one that executes. Dropped without an answer, it frees its key.
pub(super) struct Seat {
    place: Option<(Arc<Flights>, FlightKey)>,
    sender: Option<oneshot::Sender<Answer>>,
}

impl Seat {
    /// A seat without a key: nobody can join.
    pub(super) fn alone() -> (Self, Pending) {
        let (sender, receiver) = oneshot::channel();
        let seat = Self {
            place: None,
            sender: Some(sender),
        };
        (seat, receiver.shared())
    }

    /// Gives the answer to all who wait, and keeps it for those who come later when it is of a completed task.
    pub(super) fn settle(mut self, answer: Answer) {
        // Stored before it is sent, so that who saw the answer and asks again gets the same.
        if let Some((flights, key)) = self.place.take() {
            flights.settle(key, Some(&answer));
        }
        if let Some(sender) = self.sender.take() {
            // Nobody waits any more when the caller has gone.
            let _ = sender.send(answer);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((flights, key)) = self.place.take() {
            flights.settle(key, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;
    use serde_json::value::to_raw_value;

    use super::super::answer::Verdict;

    fn key(name: usize) -> FlightKey {
        FlightKey {
            incarnation: 0,
            task_id: "t".into(),
            key: name.to_string().into(),
        }
    }

    fn answer(size: usize) -> Answer {
        let verdict = Verdict {
            result: Ok(to_raw_value(&"x".repeat(size)).unwrap()),
            metadata: Map::new(),
        };
        Answer::executed("t", &verdict, Duration::ZERO)
    }

    fn fly(flights: &Arc<Flights>, name: usize, size: usize) {
        match flights.enter(key(name)) {
            Entered::First(seat, _) => seat.settle(answer(size)),
            Entered::Stored(_) | Entered::Running(_) => panic!("{name} is taken"),
        }
    }

    fn stored(flights: &Arc<Flights>, name: usize) -> bool {
        matches!(flights.enter(key(name)), Entered::Stored(_))
    }

    #[test]
    fn entries_and_bytes_stay_within_their_bounds() {
        let bounds = Bounds {
            entries: 160,
            bytes: 1_000_000,
            ..Bounds::default()
        };
        let flights = Flights::new(bounds);
        for name in 0..1_000 {
            fly(&flights, name, 10_000);
        }
        let shards = flights.shards.iter().map(|shard| shard.lock().unwrap());
        let sizes = shards.map(|shard| {
            assert_eq!(shard.entries.len(), shard.stored.len());
            (shard.stored.len(), shard.bytes)
        });
        let (entries, bytes) = sizes.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
        assert!((16..=160).contains(&entries), "{entries}");
        assert!((160_000..=1_000_000).contains(&bytes), "{bytes}");
        assert!(stored(&flights, 999));
    }

    #[test]
    fn an_answer_too_large_or_too_old_is_not_kept() {
        let bounds = Bounds {
            bytes: 64_000,
            ..Bounds::default()
        };
        let flights = Flights::new(bounds);
        fly(&flights, 1, 2_000);
        assert!(!stored(&flights, 1));
        let bounds = Bounds {
            age: Duration::ZERO,
            ..bounds
        };
        let flights = Flights::new(bounds);
        fly(&flights, 2, 10);
        assert!(!stored(&flights, 2));
    }

    #[test]
    fn a_seat_dropped_without_an_answer_frees_its_key() {
        let flights = Flights::new(Bounds::default());
        let Entered::First(seat, pending) = flights.enter(key(1)) else {
            panic!("it is free")
        };
        assert!(matches!(flights.enter(key(1)), Entered::Running(_)));
        drop(seat);
        assert!(pending.now_or_never().is_some_and(|answer| answer.is_err()));
        assert!(matches!(flights.enter(key(1)), Entered::First(..)));
    }
}
