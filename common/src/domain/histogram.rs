//! A histogram of times that can be added to others: how many lie in which of about a hundred ranges.
//!
//! Each range is a fifth longer than the one before, from a millisecond to more than a day, so that a quantile read from
//! it is off by less than that, whatever the times are.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many ranges there are: the last has no end.
const SLOTS: usize = 104;

/// Where each range but the last ends, in microseconds.
pub const BOUNDS: [i64; SLOTS - 1] = bounds();

const fn bounds() -> [i64; SLOTS - 1] {
    let mut bounds = [1_000; SLOTS - 1];
    let mut slot = 1;
    while slot < bounds.len() {
        bounds[slot] = bounds[slot - 1] * 6 / 5;
        slot += 1;
    }
    bounds
}

/// How many times lie in which range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    counts: BTreeMap<u8, u64>,
}

impl Histogram {
    /// The range in which a time lies.
    #[must_use]
    pub fn slot_of(time: Duration) -> u8 {
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let slot = BOUNDS.partition_point(|bound| *bound <= micros);
        u8::try_from(slot).unwrap_or(u8::MAX)
    }

    /// Adds `count` times of the range `slot`.
    pub fn add(&mut self, slot: u8, count: u64) {
        if count > 0 {
            *self.counts.entry(slot).or_default() += count;
        }
    }

    /// Adds all times of another.
    pub fn merge(&mut self, other: &Self) {
        for (slot, count) in &other.counts {
            self.add(*slot, *count);
        }
    }

    /// How many times there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The time below which the share `share` (0 to 1) of all lies, taken to be spread evenly within their range; `None`
    /// when there is none.
    // Counts stay far below 2^53 and bounds below 2^38: both are exact in a float.
    #[allow(clippy::cast_precision_loss)]
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let wanted = share.clamp(0.0, 1.0) * self.count() as f64;
        let mut before = 0.0;
        let mut last = None;
        for (slot, count) in &self.counts {
            let (from, to) = range(usize::from(*slot));
            let count = *count as f64;
            last = Some(to);
            if before + count >= wanted {
                let within = ((wanted - before) / count).clamp(0.0, 1.0);
                let micros = from as f64 + within * (to - from) as f64;
                return Some(Duration::from_secs_f64(micros / 1e6));
            }
            before += count;
        }
        last.map(|micros| Duration::from_micros(micros.unsigned_abs()))
    }
}

/// Where a range begins and ends, in microseconds; the last is taken to be empty.
fn range(slot: usize) -> (i64, i64) {
    let bound = |slot: usize| BOUNDS.get(slot).copied();
    let from = slot.checked_sub(1).and_then(bound);
    let longest = BOUNDS[SLOTS - 2];
    match (from, bound(slot)) {
        (Some(from), Some(to)) => (from, to),
        (None, Some(to)) => (0, to),
        (_, None) => (longest, longest),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(times: &[Duration]) -> Histogram {
        let mut histogram = Histogram::default();
        for time in times {
            histogram.add(Histogram::slot_of(*time), 1);
        }
        histogram
    }

    #[test]
    fn the_ranges_reach_from_a_millisecond_to_more_than_a_day() {
        assert!(BOUNDS.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(Histogram::slot_of(Duration::ZERO), 0);
        assert_eq!(Histogram::slot_of(Duration::from_micros(1_000)), 1);
        let day = Duration::from_secs(86_400);
        assert!(usize::from(Histogram::slot_of(day)) < SLOTS - 1);
        let year = Duration::from_secs(365 * 86_400);
        assert_eq!(usize::from(Histogram::slot_of(year)), SLOTS - 1);
    }

    #[test]
    fn an_empty_histogram_has_no_quantile_and_the_longest_time_has_an_end() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        let year = Duration::from_secs(365 * 86_400);
        assert!(of(&[year]).quantile(0.5).unwrap() > Duration::from_secs(86_400));
    }

    proptest! {
        #[test]
        fn a_quantile_is_off_by_less_than_a_fifth(
            mut millis in proptest::collection::vec(1u64..80_000_000, 1..200),
            share in 0.01f64..=1.0,
        ) {
            let times: Vec<_> = millis.iter().map(|n| Duration::from_millis(*n)).collect();
            let read = of(&times).quantile(share).unwrap().as_secs_f64() * 1e3;
            millis.sort_unstable();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let rank = ((share * millis.len() as f64).ceil() as usize).clamp(1, millis.len());
            #[allow(clippy::cast_precision_loss)]
            let exact = millis[rank - 1] as f64;
            prop_assert!(read >= exact / 1.21 && read <= exact * 1.21, "{read} for {exact}");
        }

        #[test]
        fn parts_add_up_to_the_whole(
            one in proptest::collection::vec(0u64..1_000_000, 0..50),
            other in proptest::collection::vec(0u64..1_000_000, 0..50),
        ) {
            let times = |millis: &[u64]| -> Vec<_> { millis.iter().map(|n| Duration::from_millis(*n)).collect() };
            let whole = of(&times(&[one.clone(), other.clone()].concat()));
            let mut sum = of(&times(&one));
            sum.merge(&of(&times(&other)));
            prop_assert_eq!(sum, whole);
        }
    }
}
