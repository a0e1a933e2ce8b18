//! How agents do: sessions summed up by minute and by hour, and what has not been summed up yet.
//!
//! A minute is summed up once, when nothing more can end in it; an hour from its minutes. Readers add the sessions since
//! to that. Completing a task writes nothing for it: the sums are made from the sessions by whichever worker comes first.

mod read;
mod roll_up;
mod sums;

pub use read::{AgentPerformance, WindowPerformance};
pub use roll_up::RolledUp;

/// A minute and an hour, in microseconds.
const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;

/// The beginning of the minute or hour (`unit`) in which `micros` lies.
const fn floor(micros: i64, unit: i64) -> i64 {
    micros - micros.rem_euclid(unit)
}
