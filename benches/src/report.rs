//! Figures as a table for people or as JSON for programs, over one run or several.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::distribution::Spread;

/// One measured number; its name says what it is and ends with the unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// For example `submit_p99_ms`.
    pub name: &'static str,
    /// The number.
    pub value: f64,
}

impl Figure {
    /// A number with its name.
    #[must_use]
    pub const fn new(name: &'static str, value: f64) -> Self {
        Self { name, value }
    }
}

/// Figures of one or more runs of the same measurement.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rows: Vec<(&'static str, Vec<f64>)>,
}

impl Report {
    /// Adds the figures of a run.
    pub fn add(&mut self, figures: &[Figure]) {
        for figure in figures {
            match self.rows.iter_mut().find(|(name, _)| *name == figure.name) {
                Some((_, values)) => values.push(figure.value),
                None => self.rows.push((figure.name, vec![figure.value])),
            }
        }
    }

    /// One line a figure: the median and, of several runs, the least and the greatest.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (name, spread) in self.spreads() {
            let median = short(spread.median);
            // Writing to a string cannot fail.
            let _ = if spread.min < spread.max {
                let (min, max) = (short(spread.min), short(spread.max));
                writeln!(text, "{name:<28}{median:>12}   ({min} – {max})")
            } else {
                writeln!(text, "{name:<28}{median:>12}")
            };
        }
        text
    }

    /// `{"name": {"median", "min", "max"}, …}`.
    #[must_use]
    pub fn json(&self) -> Value {
        let rows = self.spreads().map(|(name, spread)| {
            let Spread { median, min, max } = spread;
            (
                name.to_owned(),
                json!({"median": median, "min": min, "max": max}),
            )
        });
        Value::Object(Map::from_iter(rows))
    }

    fn spreads(&self) -> impl Iterator<Item = (&'static str, Spread)> {
        self.rows
            .iter()
            .filter_map(|(name, values)| Some((*name, Spread::of(values.clone())?)))
    }
}

/// Three digits or so: more would pretend to a precision that no run repeats.
fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_runs_show_their_median_and_both_ends() {
        let mut report = Report::default();
        for value in [2.0, 300.4, 10.0] {
            report.add(&[Figure::new("a_ms", value)]);
        }
        assert_eq!(
            report.table().split_whitespace().collect::<Vec<_>>(),
            ["a_ms", "10.0", "(2.00", "–", "300)"]
        );
        assert_eq!(
            report.json(),
            json!({"a_ms": {"median": 10.0, "min": 2.0, "max": 300.4}})
        );
    }

    #[test]
    fn a_single_run_shows_no_spread() {
        let mut report = Report::default();
        report.add(&[Figure::new("a_ms", 1.0), Figure::new("b_ms", 2.0)]);
        assert_eq!(
            report.table().split_whitespace().collect::<Vec<_>>(),
            ["a_ms", "1.00", "b_ms", "2.00"]
        );
    }
}
