//! How a worker is: alive while its own loops turn, ready while it can run tasks; over HTTP, with its metrics.
//!
//! Alive is judged by round trips and nothing else. A server that is away takes none of them away: a restart would not
//! bring it back. A loop that no longer turns does, and so does a subscription that stays dead while the broker answers.

mod proofs;
mod pulse;
mod readiness;
mod server;
mod vitals;

pub(crate) use proofs::{prove_dispatching, prove_subscription};
pub(crate) use pulse::Pulse;
pub(crate) use readiness::Readiness;
pub(crate) use server::{Doors, serve};
pub(crate) use vitals::Vitals;
