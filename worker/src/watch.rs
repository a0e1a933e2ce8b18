//! Telling which of the other workers are lost, from looking at them again and again.
//!
//! Time is measured by this worker's own clock, from look to look: clocks of different hosts never meet, and a time in
//! which nobody could look, because the ledger was away, counts against nobody.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use orchestrator_common::domain::{Timestamp, WorkerId};
use orchestrator_common::ledger::Sighting;

/// How long a worker may be without its lock while it gives no sign of life: a broken session is made again sooner.
pub(crate) const LOCK_GRACE: Duration = Duration::from_millis(1_500);
/// The longest pause between two looks that counts as having watched all the time.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// What was seen of the others so far.
#[derive(Debug)]
pub(crate) struct Watch {
    silence: Duration,
    seen: HashMap<WorkerId, Seen>,
    looked_at: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    heartbeat_at: Option<Timestamp>,
    silent_since: Instant,
    unlocked_since: Option<Instant>,
}

impl Watch {
    /// Workers are lost after `silence`.
    pub(crate) fn new(silence: Duration) -> Self {
        Self {
            silence,
            seen: HashMap::new(),
            looked_at: None,
        }
    }

    /// Takes in what a look from `begun` to `ended` showed, and returns who is lost.
    ///
    /// What is new is dated by the end of the look, and what is old is judged by its beginning, so that a slow look
    /// makes nobody seem lost.
    pub(crate) fn look(
        &mut self,
        sightings: &[Sighting],
        begun: Instant,
        ended: Instant,
    ) -> Vec<WorkerId> {
        let pause = self.looked_at.replace(ended).map(|before| ended - before);
        if pause.is_some_and(|pause| pause > MAX_PAUSE) {
            self.seen.clear();
        }
        let mut before = std::mem::take(&mut self.seen);
        let mut lost = Vec::new();
        for sighting in sightings {
            let quiet = before
                .remove(&sighting.worker_id)
                .filter(|seen| seen.heartbeat_at == sighting.heartbeat_at);
            let silent_since = quiet.as_ref().map_or(ended, |seen| seen.silent_since);
            let unlocked_since = (!sighting.locked)
                .then(|| quiet.and_then(|seen| seen.unlocked_since).unwrap_or(ended));
            let for_so_long = |since| begun.saturating_duration_since(since);
            if unlocked_since.is_some_and(|since| for_so_long(since) >= LOCK_GRACE)
                || for_so_long(silent_since) >= self.silence
            {
                lost.push(sighting.worker_id);
            }
            let seen = Seen {
                heartbeat_at: sighting.heartbeat_at,
                silent_since,
                unlocked_since,
            };
            self.seen.insert(sighting.worker_id, seen);
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(250);

    /// Looks every quarter of a second at one worker that beats at `beats` (in steps) and is locked as `locked` says;
    /// returns the step at which it is lost.
    fn lost_at(beats: &[u32], locked: impl Fn(u32) -> bool, looks: &[u32]) -> Option<u32> {
        let start = Instant::now();
        let worker_id = WorkerId::generate();
        let mut watch = Watch::new(Duration::from_secs(15));
        looks.iter().copied().find(|step| {
            let beat = beats.iter().rev().find(|beat| *beat <= step);
            let sighting = Sighting {
                worker_id,
                heartbeat_at: beat.map(|beat| Timestamp::from_micros((*beat).into())),
                locked: locked(*step),
            };
            let at = start + STEP * *step;
            !watch.look(&[sighting], at, at).is_empty()
        })
    }

    #[test]
    fn a_worker_without_its_lock_that_says_nothing_is_lost_after_the_grace() {
        let looks: Vec<u32> = (0..100).collect();
        assert_eq!(lost_at(&[0], |step| step < 10, &looks), Some(16));
    }

    #[test]
    fn a_worker_that_takes_its_lock_again_or_gives_a_sign_of_life_is_not_lost() {
        let looks: Vec<u32> = (0..50).collect();
        assert_eq!(
            lost_at(&[0], |step| !(10..15).contains(&step), &looks),
            None
        );
        let beats: Vec<u32> = (0..50).step_by(5).collect();
        assert_eq!(lost_at(&beats, |_| false, &looks), None);
    }

    #[test]
    fn a_worker_that_holds_its_lock_and_says_nothing_is_lost_after_the_silence() {
        let looks: Vec<u32> = (0..100).collect();
        assert_eq!(lost_at(&[0, 4], |_| true, &looks), Some(64));
    }

    #[test]
    fn a_time_without_a_look_counts_against_nobody() {
        let looks: Vec<u32> = (0..3).chain(200..240).collect();
        assert_eq!(lost_at(&[0], |_| true, &looks), None);
        assert_eq!(lost_at(&[0], |step| step < 2, &looks), Some(206));
    }
}
