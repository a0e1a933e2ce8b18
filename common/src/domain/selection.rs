//! Choosing the agent for a task: by what it can do, how healthy it is, and how much it has to do.

use serde_json::Value;

use super::{
    AgentId, AgentRecord, AgentStatus, DesiredState, Health, HealthEvidence, Performance, Timestamp,
};

/// The fields of a registration in which an agent declares what it can do, as lists of types of tasks.
pub const DECLARED_IN: [&str; 2] = ["task_types", "capabilities"];

/// Of 100 points, those for being able, for health, and for room.
const ABILITY: f64 = 50.0;
const HEALTH: f64 = 30.0;
const ROOM: f64 = 20.0;
/// Of the points for being able, those for saying so, for having done it well, and for nothing but the domain.
const DECLARED: f64 = 25.0;
const EXPERIENCED: f64 = 25.0;
const GENERALIST: f64 = 5.0;
/// What having to be started costs.
const START: f64 = 5.0;
/// After so many tasks, experience is worth half of what it can be.
const HALF_EXPERIENCED: f64 = 5.0;

/// How an agent did with tasks of one type so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Experience {
    /// Tasks that completed.
    pub completed: u64,
    /// Tasks that failed or timed out.
    pub failed: u64,
}

/// An agent that may be chosen.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The agent.
    pub agent: AgentRecord,
    /// How many sessions it may have at once.
    pub limit: u32,
    /// How it did lately.
    pub lately: Performance,
    /// How it did with tasks of the wanted type.
    pub experience: Experience,
}

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The type of the task.
    pub task_type: &'a str,
    /// The field in which the agent must work.
    pub domain: Option<&'a str>,
    /// How many tasks may wait for one agent.
    pub max_queue_depth: u64,
    /// Whether a task starts an agent that was never started.
    pub auto_start: bool,
    /// Now.
    pub now: Timestamp,
}

/// A candidate that fits, and how well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// The agent.
    pub agent_id: AgentId,
    /// How well it fits, 0 to 100.
    pub score: u32,
}

/// The agent that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// All that fit and take tasks, the best first: it is the one.
    pub ranked: Vec<Ranked>,
    /// Where the one stands among the candidates.
    pub place: usize,
    /// Why it fits, in words.
    pub reasons: Vec<String>,
}

/// Why nobody was chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NobodyFits {
    /// No agent works in the domain.
    #[error("no agent of this domain is registered")]
    Domain,
    /// No agent can do it.
    #[error(
        "no registered agent{} declares it (in task_types or capabilities) or has completed such a task",
        if *.in_domain { " of the domain" } else { "" }
    )]
    TaskType {
        /// Whether a domain was wanted.
        in_domain: bool,
    },
    /// Those that can take no tasks now.
    #[error("none of the {able} agents that can do it takes tasks: {why}")]
    NotNow {
        /// How many can do it.
        able: usize,
        /// What keeps the first of them.
        why: String,
    },
    /// As many tasks wait for those that can as may.
    #[error("all of the {able} agents that can do it have as many waiting tasks as they may have")]
    Full {
        /// How many can do it and take tasks.
        able: usize,
    },
}

/// Chooses among candidates, all of the wanted domain. `picked` says how many tasks were given to each since it was
/// looked at.
///
/// # Errors
/// Why nobody fits.
pub fn choose(
    wanted: &Wanted<'_>,
    candidates: &[Candidate],
    picked: impl Fn(usize) -> u32,
) -> Result<Choice, NobodyFits> {
    if candidates.is_empty() && wanted.domain.is_some() {
        return Err(NobodyFits::Domain);
    }
    let able: Vec<(usize, Ability)> = candidates
        .iter()
        .enumerate()
        .filter_map(|(place, candidate)| Some((place, Ability::of(wanted, candidate)?)))
        .collect();
    if able.is_empty() {
        let in_domain = wanted.domain.is_some();
        return Err(NobodyFits::TaskType { in_domain });
    }
    let mut kept_from = None;
    let mut taking = Vec::with_capacity(able.len());
    for (place, ability) in &able {
        match kept_back(wanted, &candidates[*place].agent) {
            None => taking.push((*place, ability)),
            Some(why) => kept_from = kept_from.or(Some(why)),
        }
    }
    if taking.is_empty() {
        return Err(NobodyFits::NotNow {
            able: able.len(),
            why: kept_from.unwrap_or_default(),
        });
    }
    let mut rated: Vec<Rated<'_>> = taking
        .iter()
        .filter(|(place, _)| {
            let waiting = u64::from(candidates[*place].agent.queued) + u64::from(picked(*place));
            waiting < wanted.max_queue_depth
        })
        .map(|(place, ability)| {
            Rated::of(wanted, *place, &candidates[*place], ability, picked(*place))
        })
        .collect();
    rated.sort_by(|one, other| {
        let by_score = other.score.total_cmp(&one.score);
        by_score.then_with(|| {
            one.candidate
                .agent
                .agent_id
                .cmp(&other.candidate.agent.agent_id)
        })
    });
    let Some(best) = rated.first() else {
        return Err(NobodyFits::Full { able: taking.len() });
    };
    Ok(Choice {
        place: best.place,
        reasons: best.reasons.clone(),
        ranked: rated
            .iter()
            .map(|rated| Ranked {
                agent_id: rated.candidate.agent.agent_id.clone(),
                score: whole(rated.score),
            })
            .collect(),
    })
}

/// That a candidate can do it.
struct Ability {
    declared: bool,
    /// It declares nothing at all and works in the wanted domain.
    generalist: bool,
}

impl Ability {
    fn of(wanted: &Wanted<'_>, candidate: &Candidate) -> Option<Self> {
        let mut declares_any = false;
        let mut declared = false;
        for text in declarations(&candidate.agent) {
            declares_any = true;
            declared |= text.eq_ignore_ascii_case(wanted.task_type);
        }
        let generalist = !declares_any && wanted.domain.is_some();
        let proven = candidate.experience.completed > 0;
        (declared || generalist || proven).then_some(Self {
            declared,
            generalist,
        })
    }
}

/// What an agent declares that it can do.
fn declarations(agent: &AgentRecord) -> impl Iterator<Item = &str> {
    DECLARED_IN
        .iter()
        .filter_map(|field| agent.extra.get(*field)?.as_array())
        .flatten()
        .filter_map(Value::as_str)
}

/// What keeps an agent from taking tasks now.
fn kept_back(wanted: &Wanted<'_>, agent: &AgentRecord) -> Option<String> {
    let agent_id = &agent.agent_id;
    match agent.desired {
        DesiredState::Running if agent.status == AgentStatus::Failed => {
            Some(format!("agent {agent_id} could not be started"))
        }
        DesiredState::Running => None,
        DesiredState::Idle if wanted.auto_start => None,
        DesiredState::Idle => Some(format!("agent {agent_id} was never started")),
        DesiredState::Paused | DesiredState::Stopped | DesiredState::Removed => {
            Some(format!("agent {agent_id} is {}", agent.desired))
        }
    }
}

/// A candidate with its points.
struct Rated<'a> {
    place: usize,
    candidate: &'a Candidate,
    score: f64,
    reasons: Vec<String>,
}

impl<'a> Rated<'a> {
    fn of(
        wanted: &Wanted<'_>,
        place: usize,
        candidate: &'a Candidate,
        ability: &Ability,
        picked: u32,
    ) -> Self {
        let mut rated = Self {
            place,
            candidate,
            score: 0.0,
            reasons: Vec::new(),
        };
        rated.add_ability(wanted, ability);
        rated.add_health(wanted.now);
        rated.add_room(picked);
        rated.score = rated.score.clamp(0.0, ABILITY + HEALTH + ROOM);
        rated
    }

    fn add_ability(&mut self, wanted: &Wanted<'_>, ability: &Ability) {
        let task_type = wanted.task_type;
        if ability.declared {
            self.score += DECLARED;
            self.reasons.push(format!("it declares {task_type}"));
        } else if ability.generalist {
            self.score += GENERALIST;
            let domain = wanted.domain.unwrap_or_default();
            self.reasons.push(format!(
                "it works in the domain {domain} and declares no types of tasks"
            ));
        }
        let Experience { completed, failed } = self.candidate.experience;
        let all = completed + failed;
        if all > 0 {
            let certainty = float(all) / (float(all) + HALF_EXPERIENCED);
            // Failing as often as not is worth nothing, and failing more often counts against it.
            let skill = 2.0 * float(completed) / float(all) - 1.0;
            self.score += EXPERIENCED * skill * certainty;
            self.reasons.push(format!(
                "it completed {completed} of its {all} tasks of this type"
            ));
        }
    }

    fn add_health(&mut self, now: Timestamp) {
        let usually = Performance::default();
        let health = Health::of(&HealthEvidence {
            agent: &self.candidate.agent,
            limit: self.candidate.limit,
            lately: &self.candidate.lately,
            usually: &usually,
            now,
        });
        self.score += HEALTH * f64::from(health.score) / 100.0;
        let mut reason = format!("its health is {} of 100", health.score);
        if let Some(fault) = health.reasons.first() {
            reason.push_str(&format!(" ({fault})"));
        }
        self.reasons.push(reason);
    }

    fn add_room(&mut self, picked: u32) {
        let agent = &self.candidate.agent;
        let limit = self.candidate.limit.max(1);
        let to_do = f64::from(agent.running) + f64::from(agent.queued) + f64::from(picked);
        self.score += ROOM / (1.0 + to_do / f64::from(limit));
        let (running, waiting) = (agent.running, agent.queued.saturating_add(picked));
        self.reasons.push(format!(
            "{running} of its {limit} slots are taken, {waiting} tasks wait for it"
        ));
        if agent.status != AgentStatus::Active {
            self.score -= START;
            self.reasons.push("it has to be started first".to_owned());
        }
    }
}

// Counts stay far below 2^53, where every whole number is still exact.
#[allow(clippy::cast_precision_loss)]
fn float(number: u64) -> f64 {
    number as f64
}

/// A score without its fraction.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is bounded before"
)]
fn whole(score: f64) -> u32 {
    score.round().clamp(0.0, 100.0) as u32
}

#[cfg(test)]
#[path = "selection_tests.rs"]
mod tests;
