//! How many tasks an instance can really run at once, learnt from how it answers.
//!
//! An agent may take fewer tasks than it is configured for, and says so only by refusing them ("busy"). The limit that is
//! learnt follows the rule that TCP uses for its window: lower it by a share when told that there is too much, raise it by
//! a little while all of it is used and all goes well (additive increase, multiplicative decrease). That rule finds the
//! place and follows it when it moves, with no more knowledge than these answers.
//!
//! - A refusal lowers the limit below what ran when it came, and by a tenth at least; refusals of tasks that were sent
//!   before the latest change belong to it and lower only to what the instance holds: else the forty refusals that a burst
//!   of fifty gets from an agent of ten would lower its limit to one.
//! - A task that succeeds while the limit is used up raises it by a fiftieth of a slot. So of a limit that is found, one task
//!   in fifty looks whether there is more by now: at most about 2 % are refused.
//! - Latency that rises markedly, its short average to twice the long one, lowers the limit by a tenth, once for what was
//!   sent since the latest change, and never below half of what is configured. Averages are of logarithms, since calls
//!   of language models vary widely: one that takes a hundred times as long counts like seven that take twice as long. The
//!   long average follows in time, so what has become slower for good gets its limit back.

use super::Timestamp;

/// Limits are counted in thousandths of a slot.
const SLOT: u32 = 1_000;
/// What a success at the limit adds, in thousandths.
const RAISE: u32 = 20;
/// What a decrease leaves, in tenths.
const LEFT: u32 = 9;
/// How much one call moves the short average of the latency.
const SHORT_STEP: f64 = 0.1;
/// How much one call moves the long average.
const LONG_STEP: f64 = 0.01;
/// So many calls are averaged before anything is concluded from them.
const SAMPLES: u32 = 50;
/// The short average is markedly above the long one from this ratio on.
const MARKED: f64 = 2.0;
/// Up to this ratio all goes well.
const CALM: f64 = 1.5;
/// Shorter latencies are taken for this long, in seconds: what is lost in the noise of measuring says nothing.
const SHORTEST: f64 = 0.001;

/// What was learnt of one instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// Thousandths of slots; nothing while it takes all that is configured.
    pub learnt: Option<u32>,
    /// When it was last lowered.
    pub lowered_at: Timestamp,
    /// Latency of the latest calls, in seconds.
    pub short: f64,
    /// Latency over a longer time, in seconds.
    pub long: f64,
    /// How many calls the averages are of, counted up to a bound.
    pub samples: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            learnt: None,
            lowered_at: Timestamp::from_micros(0),
            short: 0.0,
            long: 0.0,
            samples: 0,
        }
    }
}

impl Capacity {
    /// How many tasks may run, of which `configured` is the most.
    #[must_use]
    pub fn limit(&self, configured: u32) -> u32 {
        self.learnt.map_or(configured, |learnt| {
            (learnt / SLOT).clamp(1, configured.max(1))
        })
    }

    /// Whole slots that were learnt, if they are fewer than `configured`.
    #[must_use]
    pub fn learnt_slots(&self, configured: u32) -> Option<u32> {
        self.learnt.map(|_| self.limit(configured))
    }

    /// A task that was sent at `sent_at` was refused while `running` ran, itself included.
    pub fn refused(&mut self, configured: u32, running: u32, sent_at: Timestamp, now: Timestamp) {
        let current = self.thousandths(configured);
        let held = running.saturating_sub(1).saturating_mul(SLOT);
        let lowered = if sent_at >= self.lowered_at {
            self.lowered_at = now;
            held.min(current / 10 * LEFT)
        } else {
            held.min(current)
        };
        self.learnt = Some(lowered.max(SLOT));
    }

    /// A task that was sent at `sent_at` succeeded after `seconds`, while `running` ran, itself included.
    pub fn succeeded(
        &mut self,
        configured: u32,
        running: u32,
        seconds: f64,
        sent_at: Timestamp,
        now: Timestamp,
    ) {
        self.measure(seconds);
        let ratio = if self.samples < SAMPLES {
            1.0
        } else {
            self.short / self.long
        };
        let current = self.thousandths(configured);
        if ratio >= MARKED && sent_at >= self.lowered_at && running > 1 {
            let least = configured.saturating_mul(SLOT / 2).max(SLOT);
            if current > least {
                self.learnt = Some((current / 10 * LEFT).max(least));
                self.lowered_at = now;
            }
        } else if self.learnt.is_some() && ratio <= CALM && running >= self.limit(configured) {
            let raised = current.saturating_add(RAISE);
            self.learnt = Some(raised).filter(|raised| *raised < configured.saturating_mul(SLOT));
        }
    }

    /// What is learnt, else what is configured, in thousandths.
    fn thousandths(&self, configured: u32) -> u32 {
        let most = configured.max(1).saturating_mul(SLOT);
        self.learnt.map_or(most, |learnt| learnt.clamp(SLOT, most))
    }

    fn measure(&mut self, seconds: f64) {
        let seconds = seconds.max(SHORTEST);
        if self.samples == 0 {
            (self.short, self.long) = (seconds, seconds);
        }
        self.samples = self.samples.saturating_add(1).min(SAMPLES * 2);
        // A new average is the mean of what there is, so that the first call does not weigh on it for hundreds.
        let young = 1.0 / f64::from(self.samples);
        let moved = |average: f64, step: f64| average * (seconds / average).powf(step);
        self.short = moved(self.short, SHORT_STEP.max(young));
        self.long = moved(self.long, LONG_STEP.max(young));
    }
}

#[cfg(test)]
#[path = "capacity_tests.rs"]
mod tests;
