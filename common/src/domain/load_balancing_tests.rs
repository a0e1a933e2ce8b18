//! Picks among instances of every kind, one after the other and in random situations.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::domain::CircuitState;

fn now() -> Timestamp {
    Timestamp::from_micros(1_000_000)
}

fn place(running: u32, configured: u32, weight: u32) -> Place {
    Place {
        state: InstanceState::Healthy,
        draining: false,
        running,
        configured,
        weight,
        turn: 0,
        capacity: Capacity::default(),
        circuit: Circuit::default(),
    }
}

fn open() -> Circuit {
    let mut circuit = Circuit::default();
    (0..5).for_each(|_| circuit.failed(now(), now()));
    circuit
}

fn chosen(policy: LoadBalancing, places: &[Place]) -> Option<usize> {
    pick(policy, places.iter(), None, None, now())
}

/// Gives out `tasks` that never end; how many each instance got.
fn give_out(policy: LoadBalancing, places: &mut [Place], tasks: u32) -> Vec<u32> {
    let before: Vec<u32> = places.iter().map(|place| place.running).collect();
    for _ in 0..tasks {
        let position = chosen(policy, places).unwrap();
        let at = turn_now(policy, places.iter());
        places[position].turn = turn_after(policy, &places[position], at);
        places[position].running += 1;
    }
    let after = places.iter().zip(before);
    after
        .map(|(place, before)| place.running - before)
        .collect()
}

#[test]
fn the_least_loaded_is_the_one_with_most_room_for_its_size_and_weight() {
    let policy = LoadBalancing::LeastLoaded;
    assert_eq!(
        chosen(policy, &[place(1, 10, 100), place(0, 10, 100)]),
        Some(1)
    );
    assert_eq!(
        chosen(policy, &[place(3, 10, 100), place(5, 20, 100)]),
        Some(1)
    );
    assert_eq!(
        chosen(policy, &[place(3, 10, 100), place(4, 10, 200)]),
        Some(1)
    );
    let mut even = [place(0, 10, 100), place(0, 10, 100), place(0, 10, 100)];
    assert_eq!(give_out(policy, &mut even, 9), [3, 3, 3]);
}

#[test]
fn round_robin_gives_everyone_the_same_whatever_their_weight() {
    let mut places = [
        place(0, 1_000, 1),
        place(0, 1_000, 50),
        place(0, 1_000, 1_000),
    ];
    assert_eq!(
        give_out(LoadBalancing::RoundRobin, &mut places, 300),
        [100, 100, 100]
    );
}

#[test]
fn weights_are_proportions() {
    let mut places = [
        place(0, 5_000, 100),
        place(0, 5_000, 200),
        place(0, 5_000, 700),
    ];
    assert_eq!(
        give_out(LoadBalancing::Weighted, &mut places, 1_000),
        [100, 200, 700]
    );
}

#[test]
fn who_comes_late_or_was_full_makes_up_for_nothing() {
    for policy in [LoadBalancing::RoundRobin, LoadBalancing::Weighted] {
        let mut places = [place(0, 1_000, 100), place(0, 0, 100)];
        places[1].configured = 1;
        places[1].running = 1;
        give_out(policy, &mut places, 100);
        places[1].configured = 1_000;
        let given = give_out(policy, &mut places, 20);
        assert!(given[1] <= 11, "{given:?}");
    }
}

#[test]
fn whom_the_session_knows_gets_the_task_unless_it_cannot() {
    let mut places = [place(0, 10, 100), place(5, 10, 100)];
    let sticky =
        |places: &[Place]| pick(LoadBalancing::Sticky, places.iter(), Some(1), None, now());
    assert_eq!(sticky(&places), Some(1));
    places[1].circuit = open();
    assert_eq!(sticky(&places), Some(0));
    places[1].circuit = Circuit::default();
    places[1].draining = true;
    assert_eq!(sticky(&places), Some(0));
}

#[test]
fn who_has_just_failed_at_a_task_gets_it_again_only_when_nobody_else_can() {
    let mut places = [place(0, 10, 100), place(9, 10, 100)];
    let again = |places: &[Place]| {
        pick(
            LoadBalancing::LeastLoaded,
            places.iter(),
            Some(0),
            Some(0),
            now(),
        )
    };
    assert_eq!(again(&places), Some(1));
    places[1].running = 10;
    assert_eq!(again(&places), Some(0));
}

#[test]
fn the_last_instance_stays_in_use_however_it_fares() {
    let mut alone = [place(3, 10, 100)];
    alone[0].circuit = open();
    alone[0].state = InstanceState::Unhealthy;
    assert_eq!(chosen(LoadBalancing::LeastLoaded, &alone), Some(0));
    assert_eq!(room_of(alone.iter(), now()), 7);
    alone[0].state = InstanceState::Lost;
    assert_eq!(room_of(alone.iter(), now()), 0);
}

#[test]
fn a_trial_is_one_task() {
    let mut places = [place(10, 10, 100), place(0, 10, 100)];
    places[1].circuit = open();
    assert_eq!(room_of(places.iter(), now()), 0);
    let later = now().plus(Duration::from_secs(5));
    assert_eq!(room_of(places.iter(), later), 1);
    places[1].circuit.sent(later);
    assert_eq!(room_of(places.iter(), later), 0);
}

fn any_place() -> impl Strategy<Value = Place> {
    (
        0usize..4,
        proptest::bool::weighted(0.2),
        proptest::bool::weighted(0.3),
        (0u32..12, 1u32..12, 1u32..=1_000, 0i64..100_000),
        proptest::option::weighted(0.3, 1u32..12),
    )
        .prop_map(
            |(state, draining, is_open, (running, configured, weight, turn), learnt)| Place {
                state: InstanceState::ALL[state],
                draining,
                turn,
                circuit: if is_open { open() } else { Circuit::default() },
                capacity: Capacity {
                    learnt: learnt.map(|slots| slots * 1_000),
                    ..Capacity::default()
                },
                ..place(running, configured, weight)
            },
        )
}

proptest! {
    #[test]
    fn nobody_untrusted_full_leaving_or_avoided_is_picked_while_another_is_free(
        places in vec(any_place(), 1..6), policy in 0usize..4,
        preferred in proptest::option::of(0usize..6), avoided in proptest::option::of(0usize..6)
    ) {
        let policy = LoadBalancing::ALL[policy];
        let picked = pick(policy, places.iter(), preferred, avoided, now());
        let free = |place: &Place| {
            place.state == InstanceState::Healthy
                && !place.draining
                && place.circuit.state == CircuitState::Closed
                && place.running < place.limit()
        };
        let others_free = places.iter().enumerate()
            .any(|(position, place)| free(place) && Some(position) != avoided);
        prop_assert_eq!(picked.is_some(), room_of(places.iter(), now()) > 0);
        if let Some(position) = picked {
            let place = &places[position];
            prop_assert!(!place.draining && place.running < place.limit());
            prop_assert!(!matches!(place.state, InstanceState::Lost | InstanceState::Making));
            if others_free {
                prop_assert!(free(place), "{:?}", place);
                prop_assert!(Some(position) != avoided);
            }
        }
    }

    #[test]
    fn round_robin_stays_even_while_instances_come_and_go(
        ends in vec(0usize..4, 1..200)
    ) {
        let mut places = [place(0, 3, 1), place(0, 3, 10), place(0, 3, 100), place(0, 3, 1_000)];
        let mut given = [0i32; 4];
        for end in ends {
            if let Some(position) = chosen(LoadBalancing::RoundRobin, &places) {
                let at = turn_now(LoadBalancing::RoundRobin, places.iter());
                places[position].turn = turn_after(LoadBalancing::RoundRobin, &places[position], at);
                places[position].running += 1;
                given[position] += 1;
            }
            // As long as nobody is full, everybody gets the same.
            places.iter_mut().for_each(|place| place.running = 0);
            places[end].running = 1;
        }
        let (least, most) = (given.iter().min().unwrap(), given.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", given);
    }
}
