//! How many callbacks a receiver gets at the same time: few at first, more while it answers, one after a failure. So
//! receivers that are slow or gone hold few of the places that all share.

use std::collections::HashMap;

/// Callbacks of one worker under way at the same time.
pub(super) const ALL: u32 = 128;
/// The same of one receiver that answers.
const MOST: u32 = 32;
/// The same of one that was not heard of yet.
const FIRST: u32 = 2;
/// Up to so many, a receiver has not proved itself.
const UNPROVEN: u32 = 4;
/// Places that receivers never get which have not proved themselves, whatever their number.
const RESERVED: u32 = ALL / 2;
/// Receivers that are remembered while nothing is under way for them.
const MAX_KNOWN: usize = 4_096;

/// What an attempt says about its receiver that was not known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It fails.
    Fails,
    /// It answers again.
    Recovered,
}

/// Who has how many places.
#[derive(Debug, Default)]
pub(super) struct Places {
    receivers: HashMap<String, Receiver>,
    taken: u32,
    taken_by_unproven: u32,
}

#[derive(Debug)]
struct Receiver {
    limit: u32,
    taken: u32,
    /// How many of those it took while it was unproven.
    unproven: u32,
    /// Whether the latest attempt failed.
    fails: bool,
}

impl Places {
    /// How many more a receiver may have.
    pub(super) fn free(&self, target: &str) -> u32 {
        let (limit, taken) = match self.receivers.get(target) {
            Some(receiver) => (receiver.limit, receiver.taken),
            None => (FIRST, 0),
        };
        let mut free = ALL.saturating_sub(self.taken);
        if limit <= UNPROVEN {
            free = free.min((ALL - RESERVED).saturating_sub(self.taken_by_unproven));
        }
        free.min(limit.saturating_sub(taken))
    }

    /// Takes a place for a receiver.
    pub(super) fn take(&mut self, target: &str) {
        let receiver = self.receivers.entry(target.to_owned()).or_insert(Receiver {
            limit: FIRST,
            taken: 0,
            unproven: 0,
            fails: false,
        });
        receiver.taken += 1;
        self.taken += 1;
        if receiver.limit <= UNPROVEN {
            receiver.unproven += 1;
            self.taken_by_unproven += 1;
        }
    }

    /// Gives a place back; `answered` is whether the receiver took what it was told.
    pub(super) fn give_back(&mut self, target: &str, answered: bool) -> Option<Change> {
        let receiver = self.receivers.get_mut(target)?;
        let change = match (std::mem::replace(&mut receiver.fails, !answered), answered) {
            (false, false) => Some(Change::Fails),
            (true, true) => Some(Change::Recovered),
            (true, false) | (false, true) => None,
        };
        receiver.taken = receiver.taken.saturating_sub(1);
        receiver.limit = if answered {
            (receiver.limit + 1).min(MOST)
        } else {
            1
        };
        self.taken = self.taken.saturating_sub(1);
        if receiver.unproven > 0 {
            receiver.unproven -= 1;
            self.taken_by_unproven = self.taken_by_unproven.saturating_sub(1);
        }
        if self.receivers.len() > MAX_KNOWN {
            self.receivers.retain(|_, receiver| receiver.taken > 0);
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(places: &mut Places, target: &str) -> u32 {
        let free = places.free(target);
        (0..free).for_each(|_| places.take(target));
        free
    }

    #[test]
    fn a_receiver_that_answers_gets_more_and_one_that_fails_gets_one() {
        let mut places = Places::default();
        assert_eq!(take_all(&mut places, "good"), FIRST);
        for _ in 0..200 {
            places.give_back("good", true);
            take_all(&mut places, "good");
        }
        assert_eq!((places.free("good"), places.taken), (0, MOST));
        assert_eq!(places.give_back("good", false), Some(Change::Fails));
        for _ in 1..MOST {
            assert_eq!(places.give_back("good", false), None);
        }
        assert_eq!((places.free("good"), places.taken), (1, 0));
    }

    #[test]
    fn any_number_of_receivers_that_never_answer_leaves_places_for_one_that_does() {
        let mut places = Places::default();
        let mut good = take_all(&mut places, "good");
        for _ in 0..10 {
            places.give_back("good", true);
            good = take_all(&mut places, "good").max(good);
        }
        for n in 0..1_000 {
            take_all(&mut places, &format!("hangs {n}"));
        }
        assert_eq!(places.free("hangs again"), 0);
        assert!(places.taken <= ALL - RESERVED + MOST);
        for _ in 0..200 {
            places.give_back("good", true);
            take_all(&mut places, "good");
        }
        assert_eq!(places.receivers["good"].taken, MOST);
    }

    #[test]
    fn what_is_given_back_is_free_again_and_forgotten_receivers_leave_nothing_behind() {
        let mut places = Places::default();
        for n in 0..3 * MAX_KNOWN {
            let target = n.to_string();
            take_all(&mut places, &target);
            places.give_back(&target, n % 2 == 0);
            places.give_back(&target, n % 3 == 0);
        }
        assert_eq!((places.taken, places.taken_by_unproven), (0, 0));
        assert!(places.receivers.len() <= MAX_KNOWN + 1);
    }
}
