//! Percentiles and medians, by nearest rank: every figure is one that was measured.

use std::time::Duration;

use crate::report::Figure;

/// How long something took, many times over; in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Half took no longer.
    pub p50_ms: f64,
    /// 99 in 100 took no longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Latency {
    /// Summarises `samples`; `None` when there are none.
    #[must_use]
    pub fn of(mut samples: Vec<Duration>) -> Option<Self> {
        samples.sort_unstable();
        let at = |percent| Some(milliseconds(*nearest_rank(&samples, percent)?));
        Some(Self {
            p50_ms: at(50)?,
            p99_ms: at(99)?,
            max_ms: at(100)?,
        })
    }

    /// The median, the 99th percentile and the longest, under these names.
    #[must_use]
    pub fn figures(self, [p50, p99, max]: [&'static str; 3]) -> Vec<Figure> {
        vec![
            Figure::new(p50, self.p50_ms),
            Figure::new(p99, self.p99_ms),
            Figure::new(max, self.max_ms),
        ]
    }
}

/// The middle one of several runs, with the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Of an even number of runs, the lower one of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Summarises `values`; `None` when there are none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        Some(Self {
            median: *nearest_rank(&values, 50)?,
            min: *values.first()?,
            max: *values.last()?,
        })
    }
}

/// A duration in milliseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// The smallest value that at least `percent` in 100 of the sorted values do not exceed.
fn nearest_rank<T>(sorted: &[T], percent: usize) -> Option<&T> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values_whatever_the_order() {
        let samples = (1..=200).rev().map(Duration::from_millis).collect();
        let latency = Latency::of(samples).unwrap();
        assert_eq!(
            (latency.p50_ms, latency.p99_ms, latency.max_ms),
            (100.0, 198.0, 200.0)
        );
    }

    #[test]
    fn nothing_measured_gives_no_figure() {
        assert_eq!(Latency::of(Vec::new()), None);
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn a_spread_names_the_middle_run_and_both_ends() {
        let spread = Spread::of(vec![30.0, 10.0, 20.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (20.0, 10.0, 30.0));
    }
}
