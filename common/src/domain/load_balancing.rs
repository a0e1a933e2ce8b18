//! Which instance of an agent gets the next task: pure functions of what is known of each.
//!
//! Turns are counted as in weighted fair queueing: each task moves its instance's turn on by a stride, a long one for a small
//! weight, and the least turn is the next. With equal strides that is round robin; an instance that took part in nothing for
//! a while is set to the turn that the others are at, and makes up for nothing.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Admission, Capacity, Circuit, InstanceState, Timestamp, agent::named_states};

/// The weight of an instance that was given none.
pub const DEFAULT_WEIGHT: u32 = 100;
/// The greatest weight.
pub const MAX_WEIGHT: u32 = 1_000;
/// The stride of weight one.
const STRIDE: i64 = 1_000_000;

named_states! {
    /// How tasks are shared out among the instances of an agent.
    LoadBalancing {
        /// To the one with the fewest running tasks for its capacity and weight.
        LeastLoaded = "least_loaded",
        /// To one after the other.
        RoundRobin = "round_robin",
        /// To each in proportion to its weight.
        Weighted = "weighted",
        /// To the one that ran the latest task of the same session; else as `least_loaded`.
        Sticky = "sticky",
    }
}

#[allow(clippy::derivable_impls, reason = "the macro makes the enum")]
impl Default for LoadBalancing {
    fn default() -> Self {
        Self::LeastLoaded
    }
}

/// What a pick goes by.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// What the instance is observed to be.
    pub state: InstanceState,
    /// Whether it is to go as soon as nothing runs there.
    pub draining: bool,
    /// Tasks that run there.
    pub running: u32,
    /// How many may, as configured.
    pub configured: u32,
    /// Its share, 1 to [`MAX_WEIGHT`].
    pub weight: u32,
    /// Where its turn is.
    pub turn: i64,
    /// What was learnt of how much it can take.
    pub capacity: Capacity,
    /// Whether it is trusted.
    pub circuit: Circuit,
}

impl Place {
    /// How many tasks it may run at once.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.capacity.limit(self.configured)
    }

    /// Whether it could take tasks at all, trusted or not.
    fn is_usable(&self) -> bool {
        !self.draining
            && match self.state {
                InstanceState::Healthy | InstanceState::Unhealthy => true,
                InstanceState::Making | InstanceState::Lost => false,
            }
    }

    /// Whether it is usable and trusted with at least a trial, be it full or not.
    fn is_admitted(&self, now: Timestamp) -> bool {
        self.is_usable()
            && self.state == InstanceState::Healthy
            && self.circuit.admits(now) != Admission::Nothing
    }

    /// How many more tasks it may get; `last_resort` when no instance is trusted.
    fn room(&self, last_resort: bool, now: Timestamp) -> u32 {
        if !self.is_usable() {
            return 0;
        }
        let free = self.limit().saturating_sub(self.running);
        if last_resort {
            return free;
        }
        if !self.is_admitted(now) {
            return 0;
        }
        match self.circuit.admits(now) {
            Admission::All => free,
            Admission::Trial => free.min(1),
            Admission::Nothing => 0,
        }
    }

    /// Its load with one task more, as a fraction.
    fn load(&self) -> (u64, u64) {
        let size = u64::from(self.limit().max(1)) * u64::from(self.weight.max(1));
        (u64::from(self.running) + 1, size)
    }
}

/// Whether no instance is trusted: then the usable ones are used all the same, since nobody else is there.
fn is_last_resort<'a>(mut places: impl Iterator<Item = &'a Place>, now: Timestamp) -> bool {
    !places.any(|place| place.is_admitted(now))
}

/// How many more tasks the instances may get together.
#[must_use]
pub fn room_of<'a>(places: impl Iterator<Item = &'a Place> + Clone, now: Timestamp) -> u32 {
    let last_resort = is_last_resort(places.clone(), now);
    places
        .map(|place| place.room(last_resort, now))
        .fold(0, u32::saturating_add)
}

/// Picks the instance, by its position, that gets the next task; `None` when none has room.
///
/// `preferred` gets it if it has room. Otherwise `avoided`, which has just failed at it, gets it only if no other can.
#[must_use]
pub fn pick<'a>(
    policy: LoadBalancing,
    places: impl Iterator<Item = &'a Place> + Clone,
    preferred: Option<usize>,
    avoided: Option<usize>,
    now: Timestamp,
) -> Option<usize> {
    let last_resort = is_last_resort(places.clone(), now);
    let mut best: Option<(usize, &Place)> = None;
    for (position, place) in places.enumerate() {
        if place.room(last_resort, now) == 0 {
            continue;
        }
        if Some(position) == preferred && preferred != avoided {
            return Some(position);
        }
        let better = best.is_none_or(|(held, other)| {
            if Some(held) == avoided {
                return true;
            }
            Some(position) != avoided && is_before(policy, place, other) == Ordering::Less
        });
        if better {
            best = Some((position, place));
        }
    }
    best.map(|(position, _)| position)
}

fn is_before(policy: LoadBalancing, one: &Place, other: &Place) -> Ordering {
    let turns = one.turn.cmp(&other.turn);
    match policy {
        LoadBalancing::RoundRobin | LoadBalancing::Weighted => turns,
        LoadBalancing::LeastLoaded | LoadBalancing::Sticky => {
            let ((a, of_a), (b, of_b)) = (one.load(), other.load());
            (u128::from(a) * u128::from(of_b))
                .cmp(&(u128::from(b) * u128::from(of_a)))
                .then(turns)
        }
    }
}

/// Where the turns of all instances are that take part: the start of the latest turn. Those that are behind are brought
/// there before a pick.
#[must_use]
pub fn turn_now<'a>(policy: LoadBalancing, places: impl Iterator<Item = &'a Place>) -> i64 {
    places
        .filter(|place| place.turn > 0)
        .map(|place| place.turn.saturating_sub(stride(policy, place.weight)))
        .max()
        .unwrap_or(0)
}

/// The turn of an instance after it was given a task.
#[must_use]
pub fn turn_after(policy: LoadBalancing, place: &Place, turn_now: i64) -> i64 {
    place
        .turn
        .max(turn_now)
        .saturating_add(stride(policy, place.weight))
}

fn stride(policy: LoadBalancing, weight: u32) -> i64 {
    match policy {
        LoadBalancing::Weighted => STRIDE / i64::from(weight.clamp(1, MAX_WEIGHT)),
        LoadBalancing::LeastLoaded | LoadBalancing::RoundRobin | LoadBalancing::Sticky => {
            STRIDE / i64::from(DEFAULT_WEIGHT)
        }
    }
}

#[cfg(test)]
#[path = "load_balancing_tests.rs"]
mod tests;
