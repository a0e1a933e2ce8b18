//! The circuit of an instance: calls that fail take it out of use, a trial that succeeds brings it back.
//!
//! Failing means that no answer came that is of the agent's contract: unreachable, a server error, a time-out. An agent
//! that says that it could not solve a task has answered. Whether an instance with an open circuit is passed over is
//! decided where one is picked: the last one that there is stays in use (see `load_balancing`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Timestamp, agent::named_states};

/// So many calls in a row that fail open the circuit.
const CONSECUTIVE: u32 = 5;
/// A share of failing calls above this opens it, too.
const FAILURE_RATE: f64 = 0.5;
/// How much one call moves the share of failing calls: about the last twenty count.
const RATE_STEP: f64 = 0.1;
/// How long the circuit stays open the first time; twice as long each further time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// It never stays open longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

named_states! {
    /// Whether an instance is trusted with tasks.
    CircuitState {
        /// It gets tasks.
        Closed = "closed",
        /// It failed too often and gets none until a pause is over.
        Open = "open",
        /// The pause is over, and one task tries it.
        HalfOpen = "half_open",
    }
}

/// The circuit of one instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Circuit {
    /// Where it stands.
    pub state: CircuitState,
    /// Since when; what was called before says nothing about it.
    pub since: Timestamp,
    /// When an open one may be tried.
    pub until: Option<Timestamp>,
    /// Calls in a row that failed.
    pub failures: u32,
    /// The share of failing calls among the latest, 0 to 1.
    pub failure_rate: f64,
    /// How often it opened without having proved itself between; decides how long it stays open.
    pub openings: u32,
}

impl Default for Circuit {
    fn default() -> Self {
        Self {
            state: CircuitState::Closed,
            since: Timestamp::from_micros(0),
            until: None,
            failures: 0,
            failure_rate: 0.0,
            openings: 0,
        }
    }
}

/// How many tasks a circuit lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// As many as the instance can take.
    All,
    /// One, to try it.
    Trial,
    /// None.
    Nothing,
}

impl Circuit {
    /// How many tasks it lets through at `now`.
    #[must_use]
    pub fn admits(&self, now: Timestamp) -> Admission {
        match self.state {
            CircuitState::Closed => Admission::All,
            CircuitState::Open if self.until.is_none_or(|until| until <= now) => Admission::Trial,
            CircuitState::Open | CircuitState::HalfOpen => Admission::Nothing,
        }
    }

    /// A task is sent there: an open circuit that admits a trial becomes half open.
    pub fn sent(&mut self, now: Timestamp) {
        if self.state == CircuitState::Open && self.admits(now) == Admission::Trial {
            self.become_state(CircuitState::HalfOpen, now);
        }
    }

    /// A call that began at `sent_at` was answered.
    pub fn succeeded(&mut self, sent_at: Timestamp, now: Timestamp) {
        match self.state {
            CircuitState::Closed => {
                self.failures = 0;
                self.failure_rate *= 1.0 - RATE_STEP;
                self.openings = self.openings.saturating_sub(1);
            }
            CircuitState::Open | CircuitState::HalfOpen if sent_at >= self.since => self.close(now),
            CircuitState::Open | CircuitState::HalfOpen => {}
        }
    }

    /// A call that began at `sent_at` failed.
    pub fn failed(&mut self, sent_at: Timestamp, now: Timestamp) {
        match self.state {
            CircuitState::Closed if sent_at >= self.since => {
                self.failures = self.failures.saturating_add(1);
                self.failure_rate += RATE_STEP * (1.0 - self.failure_rate);
                let on_probation = self.openings > 0;
                if on_probation || self.failures >= CONSECUTIVE || self.failure_rate > FAILURE_RATE
                {
                    self.open(now);
                }
            }
            CircuitState::Open | CircuitState::HalfOpen if sent_at >= self.since => self.open(now),
            // Sent before the circuit came to stand where it does: no news.
            CircuitState::Closed | CircuitState::Open | CircuitState::HalfOpen => {}
        }
    }

    /// A task that was sent at `sent_at` came back without having said anything about the instance: a trial is free again.
    pub fn unproved(&mut self, sent_at: Timestamp, now: Timestamp) {
        if self.state == CircuitState::HalfOpen && sent_at >= self.since {
            self.become_state(CircuitState::Open, now);
            self.until = Some(now);
        }
    }

    /// The instance said in answer to a probe that it is well: as good as a trial, once one may be made.
    ///
    /// It stays on probation: an agent may know how it is and still fail at every task.
    pub fn probed_well(&mut self, now: Timestamp) {
        if self.admits(now) == Admission::Trial {
            self.close(now);
        }
    }

    fn open(&mut self, now: Timestamp) {
        let doublings = self.openings.min(16);
        let pause = FIRST_PAUSE
            .saturating_mul(1 << doublings)
            .min(LONGEST_PAUSE);
        self.become_state(CircuitState::Open, now);
        self.until = Some(now.plus(pause));
        self.openings = self.openings.saturating_add(1);
        self.failures = 0;
        self.failure_rate = 0.0;
    }

    fn close(&mut self, now: Timestamp) {
        self.become_state(CircuitState::Closed, now);
        self.until = None;
        self.failures = 0;
        self.failure_rate = 0.0;
    }

    fn become_state(&mut self, state: CircuitState, now: Timestamp) {
        self.state = state;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(0).plus(Duration::from_secs(seconds))
    }

    fn opened(now: Timestamp) -> Circuit {
        let mut circuit = Circuit::default();
        (0..CONSECUTIVE).for_each(|_| circuit.failed(now, now));
        circuit
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_one_success_between_does_not_let_them() {
        let mut circuit = Circuit::default();
        for _ in 0..CONSECUTIVE - 1 {
            circuit.failed(at(1), at(1));
        }
        circuit.succeeded(at(1), at(1));
        assert_eq!(circuit.state, CircuitState::Closed);
        assert_eq!(opened(at(1)).state, CircuitState::Open);
    }

    #[test]
    fn an_instance_that_fails_most_of_the_time_is_taken_out_although_it_succeeds_between() {
        let mut circuit = Circuit::default();
        for call in 0..60 {
            if call % 3 == 0 {
                circuit.succeeded(at(1), at(1));
            } else {
                circuit.failed(at(1), at(1));
            }
            if circuit.state == CircuitState::Open {
                return;
            }
        }
        panic!("two thirds failed: {circuit:?}");
    }

    #[test]
    fn a_pause_ends_in_one_trial_and_its_success_in_trust_on_probation() {
        let mut circuit = opened(at(0));
        assert_eq!(circuit.admits(at(4)), Admission::Nothing);
        assert_eq!(circuit.admits(at(5)), Admission::Trial);
        circuit.sent(at(5));
        assert_eq!(circuit.admits(at(6)), Admission::Nothing);
        circuit.succeeded(at(0), at(6));
        assert_eq!(
            circuit.state,
            CircuitState::HalfOpen,
            "that was sent before"
        );
        circuit.succeeded(at(5), at(6));
        assert_eq!(circuit.admits(at(6)), Admission::All);

        circuit.failed(at(7), at(7));
        assert_eq!(circuit.admits(at(16)), Admission::Nothing, "twice as long");
        assert_eq!(circuit.admits(at(17)), Admission::Trial);
    }

    #[test]
    fn a_trial_that_comes_to_nothing_is_made_again() {
        let mut circuit = opened(at(0));
        circuit.sent(at(5));
        circuit.unproved(at(5), at(6));
        assert_eq!(circuit.admits(at(6)), Admission::Trial);
    }

    #[test]
    fn a_probe_closes_it_only_when_a_trial_could_be_made() {
        let mut circuit = opened(at(0));
        circuit.probed_well(at(4));
        assert_eq!(circuit.state, CircuitState::Open);
        circuit.probed_well(at(5));
        assert_eq!(circuit.state, CircuitState::Closed);
        circuit.failed(at(6), at(6));
        assert_eq!(circuit.state, CircuitState::Open, "it is on probation");
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Succeeds,
        Fails,
        IsUnproved,
        IsProbed,
    }

    proptest! {
        #[test]
        fn whatever_happens_at_most_one_trial_is_out_and_every_pause_ends(
            events in vec((0u64..90, 0usize..4), 1..200)
        ) {
            let mut circuit = Circuit::default();
            let (mut now, mut trial) = (0, None);
            for (passes, event) in events {
                now += passes;
                let before = circuit;
                match circuit.admits(at(now)) {
                    Admission::Trial => {
                        circuit.sent(at(now));
                        prop_assert_eq!(circuit.state, CircuitState::HalfOpen);
                        trial = Some(now);
                    }
                    Admission::All => prop_assert_eq!(before.state, CircuitState::Closed),
                    Admission::Nothing => {}
                }
                prop_assert!(circuit.state != CircuitState::HalfOpen || trial.is_some());
                let sent = at(trial.unwrap_or(now));
                match [Event::Succeeds, Event::Fails, Event::IsUnproved, Event::IsProbed][event] {
                    Event::Succeeds => circuit.succeeded(sent, at(now)),
                    Event::Fails => circuit.failed(sent, at(now)),
                    Event::IsUnproved => circuit.unproved(sent, at(now)),
                    Event::IsProbed => circuit.probed_well(at(now)),
                }
                if circuit.state != CircuitState::HalfOpen {
                    trial = None;
                }
                if circuit.state == CircuitState::Open {
                    let until = circuit.until.unwrap();
                    prop_assert!(until.since(circuit.since) <= LONGEST_PAUSE);
                    prop_assert_eq!(circuit.admits(at(now).plus(LONGEST_PAUSE)), Admission::Trial);
                }
                prop_assert!((0.0..=1.0).contains(&circuit.failure_rate));
            }
        }
    }
}
