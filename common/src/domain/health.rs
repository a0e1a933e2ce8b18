//! How healthy an agent is, with the reasons: from what is wanted and observed of it, and how it did lately.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::agent::named_states;
use super::{AgentRecord, AgentStatus, DesiredState, InstanceState, Performance, Timestamp};

named_states! {
    /// How healthy an agent is.
    HealthStatus {
        /// It does what is wanted of it.
        Healthy = "healthy",
        /// It does, but not as well as it should, or not all of it.
        Degraded = "degraded",
        /// Tasks for it wait or fail.
        Unhealthy = "unhealthy",
    }
}

/// The least score of a healthy agent, and of a degraded one.
const HEALTHY: u32 = 80;
const DEGRADED: u32 = 40;
/// The score of an agent at which nothing is wrong.
const BEST: u32 = 100;
/// The least number of sessions from which a rate or a quantile says something.
const ENOUGH: u64 = 5;
/// The share of failing sessions that is normal.
const NORMAL_FAILURES: f64 = 0.05;
/// Waits for a slot that are long, and too long.
const LONG_WAIT: Duration = Duration::from_secs(30);
const TOO_LONG_WAIT: Duration = Duration::from_secs(300);
/// How old the last answer to a probe may be.
const STALE_CHECK: Duration = Duration::from_secs(900);

/// What an agent's health is judged by.
#[derive(Clone, Copy, Debug)]
pub struct HealthEvidence<'a> {
    /// The agent.
    pub agent: &'a AgentRecord,
    /// How many sessions it may have at once.
    pub limit: u32,
    /// How it did in the last quarter of an hour.
    pub lately: &'a Performance,
    /// How it does usually: in the last 24 hours.
    pub usually: &'a Performance,
    /// Now.
    pub now: Timestamp,
}

/// How healthy an agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The score in a word.
    pub status: HealthStatus,
    /// 100 when nothing is wrong, 0 when nothing works.
    pub score: u32,
    /// What takes from the score, in words, the gravest first; empty when nothing does.
    pub reasons: Vec<String>,
}

/// Something that is wrong: what it takes from the score, and what it is.
type Fault = (u32, String);

impl Health {
    /// Judges an agent.
    #[must_use]
    pub fn of(evidence: &HealthEvidence<'_>) -> Self {
        let mut faults: Vec<Fault> = [
            standing(evidence.agent),
            instances(evidence.agent),
            failures(evidence.lately),
            response_times(evidence),
            waits(evidence.lately),
            backlog(evidence),
            last_check(evidence),
        ]
        .into_iter()
        .flatten()
        .collect();
        faults.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let taken = faults.iter().map(|(weight, _)| *weight).sum();
        let score = BEST.saturating_sub(taken);
        Self {
            status: match score {
                HEALTHY.. => HealthStatus::Healthy,
                DEGRADED.. => HealthStatus::Degraded,
                _ => HealthStatus::Unhealthy,
            },
            score,
            reasons: faults.into_iter().map(|(_, reason)| reason).collect(),
        }
    }
}

/// What is wanted and observed of it. An agent that was never started is well: its first task starts it.
fn standing(agent: &AgentRecord) -> Option<Fault> {
    let wanted = match agent.desired {
        DesiredState::Idle => return None,
        DesiredState::Running => agent.desired,
        DesiredState::Paused => {
            return Some((50, "it is paused: tasks for it wait".to_owned()));
        }
        DesiredState::Stopped | DesiredState::Removed => {
            return Some((100, format!("it is to be {}", agent.desired)));
        }
    };
    match agent.status {
        AgentStatus::Active => None,
        AgentStatus::Registered | AgentStatus::Starting => {
            Some((30, "it is being started".to_owned()))
        }
        AgentStatus::Failed => {
            let why = agent
                .status_reason
                .as_deref()
                .unwrap_or("no reason is known");
            Some((100, format!("it could not be started: {why}")))
        }
        AgentStatus::Paused | AgentStatus::Stopping | AgentStatus::Stopped => {
            let status = agent.status;
            Some((30, format!("it is {status} and is to be {wanted}")))
        }
    }
}

fn instances(agent: &AgentRecord) -> Option<Fault> {
    let all = agent.instances.len();
    let well = agent
        .instances
        .iter()
        .filter(|instance| instance.state == InstanceState::Healthy)
        .count();
    let is_up = agent.desired == DesiredState::Running && agent.status == AgentStatus::Active;
    match (all, well) {
        (_, 0) if is_up => Some((100, "none of its instances takes tasks".to_owned())),
        (all, well) if well < all && well > 0 => {
            let weight = 60.0 * share(all - well, all);
            Some((
                whole(weight),
                format!("{well} of its {all} instances take tasks"),
            ))
        }
        _ => None,
    }
}

fn failures(lately: &Performance) -> Option<Fault> {
    let rate = failure_rate(lately)?;
    if rate <= NORMAL_FAILURES {
        return None;
    }
    let percent = whole(100.0 * rate);
    let mut reason = format!("{percent} % of its sessions of the last 15 minutes failed");
    if let Some((code, _)) = lately.errors.iter().max_by_key(|(_, number)| **number) {
        reason.push_str(&format!(", most of them with {code}"));
    }
    Some((whole(80.0 * rate), reason))
}

/// The share of sessions that failed, when there were enough of them.
#[must_use]
pub fn failure_rate(lately: &Performance) -> Option<f64> {
    let outcomes = &lately.outcomes;
    let failed = outcomes.failed + outcomes.timed_out + outcomes.retried;
    let all = failed + outcomes.completed;
    (all >= ENOUGH).then(|| share_of(failed, all))
}

fn response_times(evidence: &HealthEvidence<'_>) -> Option<Fault> {
    let enough = |performance: &Performance, least| {
        let times = &performance.response_time;
        (times.count() >= least)
            .then(|| times.quantile(0.95))
            .flatten()
    };
    let now = enough(evidence.lately, ENOUGH)?.as_secs_f64();
    let usual = enough(evidence.usually, 10 * ENOUGH)?.as_secs_f64();
    let times = now / usual;
    let weight = match times {
        times if times >= 5.0 => 30,
        times if times >= 2.0 => 15,
        _ => return None,
    };
    Some((
        weight,
        format!(
            "its sessions take {times:.1} times as long as in the last 24 hours (95 of 100 at most {now:.1} s)"
        ),
    ))
}

fn waits(lately: &Performance) -> Option<Fault> {
    let waits = &lately.queue_wait;
    let wait = (waits.count() >= ENOUGH)
        .then(|| waits.quantile(0.95))
        .flatten()?;
    let weight = if wait >= TOO_LONG_WAIT {
        25
    } else if wait >= LONG_WAIT {
        10
    } else {
        return None;
    };
    let seconds = wait.as_secs();
    Some((
        weight,
        format!("tasks wait for it, 5 of 100 longer than {seconds} s"),
    ))
}

fn backlog(evidence: &HealthEvidence<'_>) -> Option<Fault> {
    let (waiting, limit) = (evidence.agent.queued, evidence.limit);
    let much = waiting > limit.saturating_mul(10);
    much.then(|| (10, format!("{waiting} tasks wait for its {limit} slots")))
}

/// A probe that was not answered for long tells something only of an agent whose tasks tell nothing.
fn last_check(evidence: &HealthEvidence<'_>) -> Option<Fault> {
    let checks = evidence.agent.instances.iter();
    let latest = checks
        .filter_map(|instance| instance.last_health_check)
        .max()?;
    let age = evidence.now.since(latest);
    let is_stale = age > STALE_CHECK && evidence.lately.outcomes.completed == 0;
    let minutes = age.as_secs() / 60;
    is_stale.then(|| {
        (
            10,
            format!("it was last seen to be well {minutes} minutes ago"),
        )
    })
}

fn share(part: usize, all: usize) -> f64 {
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    share_of(number(part), number(all))
}

// Counts stay far below 2^53, where every whole number is still exact.
#[allow(clippy::cast_precision_loss)]
fn share_of(part: u64, all: u64) -> f64 {
    part as f64 / all as f64
}

/// A number from 0 to 100, without its fraction.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is bounded before"
)]
fn whole(number: f64) -> u32 {
    number.round().clamp(0.0, 100.0) as u32
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
