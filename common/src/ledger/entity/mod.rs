//! The tables as sea-orm sees them; see the `migration` crate for what they are made of.
#![allow(
    unreachable_pub,
    reason = "sea-orm derives public items; these modules are private"
)]

pub(super) mod agent_instances;
pub(super) mod agent_profiles;
pub(super) mod agents;
pub(super) mod tasks;
pub(super) mod workers;
