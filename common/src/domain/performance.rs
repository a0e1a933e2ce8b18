//! How an agent did over a time: counts and histograms that add up over any times.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Histogram;

/// How many sessions came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutcomeCounts {
    /// The agent answered with a result.
    pub completed: u64,
    /// The task failed.
    pub failed: u64,
    /// The agent did not answer in time.
    pub timed_out: u64,
    /// Somebody cancelled the task.
    pub cancelled: u64,
    /// They failed, and the task was to be tried again.
    pub retried: u64,
}

impl OutcomeCounts {
    /// Sessions, whatever they came to.
    #[must_use]
    pub const fn sessions(&self) -> u64 {
        self.tasks() + self.retried
    }

    /// Tasks that had their outcome.
    #[must_use]
    pub const fn tasks(&self) -> u64 {
        self.completed + self.failed + self.timed_out + self.cancelled
    }

    /// The completed among the tasks that nobody cancelled; `None` without any.
    #[must_use]
    pub fn success_rate(&self) -> Option<f64> {
        share(
            self.completed,
            self.completed + self.failed + self.timed_out,
        )
    }

    fn merge(&mut self, other: &Self) {
        self.completed += other.completed;
        self.failed += other.failed;
        self.timed_out += other.timed_out;
        self.cancelled += other.cancelled;
        self.retried += other.retried;
    }
}

/// How an agent did over a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Performance {
    /// How many sessions came to what.
    pub outcomes: OutcomeCounts,
    /// What all sessions took together, in microseconds.
    pub busy_micros: u64,
    /// What each of them took.
    pub response_time: Histogram,
    /// What the tasks waited together before their first session, in microseconds.
    pub waited_micros: u64,
    /// What each of them waited.
    pub queue_wait: Histogram,
    /// Tokens reported.
    pub tokens: u64,
    /// Cost reported, in US dollars.
    pub cost: f64,
    /// Sessions that failed, by the code of the error.
    pub errors: BTreeMap<String, u64>,
}

impl Performance {
    /// Adds what was done in another time.
    pub fn merge(&mut self, other: &Self) {
        self.outcomes.merge(&other.outcomes);
        self.busy_micros += other.busy_micros;
        self.response_time.merge(&other.response_time);
        self.waited_micros += other.waited_micros;
        self.queue_wait.merge(&other.queue_wait);
        self.tokens += other.tokens;
        self.cost += other.cost;
        for (code, number) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += number;
        }
    }

    /// What a session took on average; `None` without any.
    #[must_use]
    pub fn mean_response_time(&self) -> Option<Duration> {
        mean(self.busy_micros, self.response_time.count())
    }

    /// What a task waited on average; `None` without any.
    #[must_use]
    pub fn mean_queue_wait(&self) -> Option<Duration> {
        mean(self.waited_micros, self.queue_wait.count())
    }
}

fn mean(micros: u64, count: u64) -> Option<Duration> {
    micros.checked_div(count).map(Duration::from_micros)
}

// Counts stay far below 2^53, where every whole number is still exact.
#[allow(clippy::cast_precision_loss)]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_times_add_up_and_what_was_written_reads_back() {
        let mut first = Performance {
            outcomes: OutcomeCounts {
                completed: 3,
                failed: 1,
                retried: 2,
                ..OutcomeCounts::default()
            },
            busy_micros: 6_000,
            errors: BTreeMap::from([("agent_failed".to_owned(), 1)]),
            ..Performance::default()
        };
        first.response_time.add(1, 6);
        let mut sum = first.clone();
        sum.merge(&first);
        assert_eq!((sum.outcomes.tasks(), sum.outcomes.sessions()), (8, 12));
        assert_eq!(sum.outcomes.success_rate(), Some(0.75));
        assert_eq!(sum.mean_response_time(), Some(Duration::from_millis(1)));
        assert_eq!(sum.mean_queue_wait(), None);
        assert_eq!(sum.errors["agent_failed"], 2);
        let text = serde_json::to_string(&sum).unwrap();
        assert_eq!(serde_json::from_str::<Performance>(&text).unwrap(), sum);
        let older: Performance = serde_json::from_str("{}").unwrap();
        assert_eq!(older, Performance::default());
    }
}
