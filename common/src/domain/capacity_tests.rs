//! The learnt limit against agents that refuse, slow down, vary and recover.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(0).plus(Duration::from_micros(micros))
}

/// An agent that really runs `real` tasks at once, kept as busy as its learnt limit allows; how many of `tasks` it refuses.
fn refusals(capacity: &mut Capacity, configured: u32, real: u32, tasks: u32) -> u32 {
    let (mut running, mut clock, mut refused, mut done) = (VecDeque::new(), 1, 0, 0);
    while done < tasks {
        // What is refused is so at once, and its slot is given to the next one.
        while (running.len() as u32) < capacity.limit(configured) {
            clock += 1;
            if running.len() as u32 >= real {
                let with_it = running.len() as u32 + 1;
                capacity.refused(configured, with_it, at(clock), at(clock));
                refused += 1;
                break;
            }
            running.push_back(clock);
        }
        clock += 1_000;
        let number = running.len() as u32;
        if let Some(sent) = running.pop_front() {
            capacity.succeeded(configured, number, 0.1, at(sent), at(clock));
            done += 1;
        }
    }
    refused
}

#[test]
fn an_agent_one_under_its_limit_refuses_under_five_percent_once_it_is_known() {
    let mut capacity = Capacity::default();
    refusals(&mut capacity, 10, 9, 50);
    let refused = refusals(&mut capacity, 10, 9, 1_000);
    assert!((1..50).contains(&refused), "{refused} of 1,000");
    assert!((9..=10).contains(&capacity.limit(10)), "{capacity:?}");
}

#[test]
fn refusals_of_one_burst_lower_to_what_the_agent_holds_and_not_to_nothing() {
    let mut capacity = Capacity::default();
    // Fifty were sent at once and forty come back refused, one after the other.
    for refused in 0..40 {
        capacity.refused(50, 50 - refused, at(1), at(2 + u64::from(refused)));
    }
    assert_eq!(capacity.limit(50), 10);
}

#[test]
fn a_limit_of_one_is_the_least_and_an_agent_that_recovers_gets_all_back() {
    let mut capacity = Capacity::default();
    (0..20).for_each(|n| capacity.refused(10, 1, at(n), at(n)));
    assert_eq!(capacity.limit(10), 1);
    assert_eq!(refusals(&mut capacity, 10, 10, 5_000), 0);
    assert_eq!((capacity.limit(10), capacity.learnt), (10, None));
}

#[test]
fn an_agent_that_is_not_fully_used_learns_nothing_from_success() {
    let mut capacity = Capacity::default();
    capacity.refused(10, 6, at(1), at(1));
    let learnt = capacity.learnt;
    (2..500).for_each(|n| capacity.succeeded(10, 2, 0.1, at(n), at(n)));
    assert_eq!(capacity.learnt, learnt);
}

#[test]
fn latency_that_doubles_lowers_the_limit_to_half_at_most_and_what_is_slower_for_good_gets_it_back()
{
    let mut capacity = Capacity::default();
    let mut clock = 0;
    let mut run = |capacity: &mut Capacity, seconds: f64, calls: u32| {
        let mut least = u32::MAX;
        for _ in 0..calls {
            clock += 1_000;
            let running = capacity.limit(10);
            capacity.succeeded(10, running, seconds, at(clock - 500), at(clock));
            least = least.min(capacity.limit(10));
        }
        least
    };
    assert_eq!(run(&mut capacity, 1.0, 200), 10);
    let least = run(&mut capacity, 4.0, 60);
    assert!((5..=9).contains(&least), "{least}");
    run(&mut capacity, 4.0, 2_000);
    assert_eq!(capacity.limit(10), 10);
}

#[test]
fn one_call_that_takes_a_hundred_times_as_long_changes_nothing() {
    let mut capacity = Capacity::default();
    for n in 1..400 {
        let seconds = if n == 300 { 200.0 } else { 2.0 };
        capacity.succeeded(10, 10, seconds, at(n), at(n));
    }
    assert_eq!(capacity.learnt, None);
}

proptest! {
    #[test]
    fn a_limit_is_never_above_what_is_configured_nor_below_one(
        events in proptest::collection::vec((any::<bool>(), 1u32..40, 0.0f64..1_000.0), 1..300),
        configured in 1u32..30,
    ) {
        let mut capacity = Capacity::default();
        for (n, (refused, running, seconds)) in events.into_iter().enumerate() {
            let now = at(n as u64);
            let before = capacity.limit(configured);
            if refused {
                capacity.refused(configured, running, now, now);
                prop_assert!(capacity.limit(configured) <= before);
                prop_assert!(capacity.limit(configured) < running.max(2), "below what ran");
            } else {
                capacity.succeeded(configured, running, seconds, now, now);
                prop_assert!(capacity.limit(configured) <= before + 1);
            }
            prop_assert!((1..=configured).contains(&capacity.limit(configured)));
        }
    }

    #[test]
    fn latencies_that_vary_as_widely_as_those_of_language_models_cost_next_to_nothing(seed in any::<u64>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut capacity = Capacity::default();
        let (mut granted, calls) = (0, 3_000);
        for n in 0..calls {
            // Twelve uniform numbers make a normal one, and its exponential the usual shape of latencies.
            let normal: f64 = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
            let running = capacity.limit(10);
            capacity.succeeded(10, running, 3.0 * normal.exp(), at(n), at(n + 1));
            granted += capacity.limit(10);
        }
        prop_assert!(granted as u64 > calls * 9, "{} of {}", granted, calls * 10);
    }
}
