//! Who could do a task: the agents with what they can do, how they do and what they have to do, remembered for a moment;
//! for longer while the ledger does not answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use moka::future::Cache;
use orchestrator_common::domain::{
    AgentId, Candidate, Choice, Experience, NobodyFits, Timestamp, Wanted, choose,
};
use orchestrator_common::ledger::{AgentQuery, Ledger, LedgerError};

use crate::problem::ApiError;
use crate::rest::Rest;
use crate::service::patiently;

/// How long candidates are as they were.
const FRESH: Duration = Duration::from_secs(2);
/// For how long they will do while the ledger does not answer.
const STALE: Duration = Duration::from_secs(600);
/// For how many domains and types of tasks candidates are remembered.
const CAPACITY: u64 = 200;
/// Agents that are read at once, and that are looked at at all.
const PAGE: u32 = 1_000;
const MOST: usize = 10_000;

/// A domain, if one is wanted, and a type of tasks.
type Field = (Option<String>, String);

/// The agents that may be chosen for a field.
#[derive(Debug)]
pub(crate) struct Candidates {
    all: Vec<Candidate>,
    /// How many tasks each was given since it was read.
    picked: Vec<AtomicU32>,
}

impl Candidates {
    /// Chooses one, which counts as work of it from then on.
    pub(crate) fn choose(&self, wanted: &Wanted<'_>) -> Result<Choice, NobodyFits> {
        let picked = |place: usize| {
            let picked = self.picked.get(place);
            picked.map_or(0, |picked| picked.load(Ordering::Relaxed))
        };
        let choice = choose(wanted, &self.all, picked)?;
        if let Some(picked) = self.picked.get(choice.place) {
            picked.fetch_add(1, Ordering::Relaxed);
        }
        Ok(choice)
    }
}

/// Looks candidates up.
#[derive(Debug)]
pub(crate) struct AgentCatalogue {
    ledger: Ledger,
    default_limit: u32,
    fresh: Cache<Field, Arc<Candidates>>,
    stale: Cache<Field, Arc<Candidates>>,
    rest: Rest,
}

impl AgentCatalogue {
    pub(crate) fn new(ledger: Ledger, default_limit: u32) -> Self {
        let cache = |life| {
            Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(life)
                .build()
        };
        Self {
            ledger,
            default_limit,
            fresh: cache(FRESH),
            stale: cache(STALE),
            rest: Rest::default(),
        }
    }

    /// Who could do tasks of `task_type`, as of a moment ago, or of minutes ago while the ledger does not answer.
    /// Callers who ask for the same at the same time share one read.
    ///
    /// # Errors
    /// When the ledger does not answer and nobody asked for the same lately.
    pub(crate) async fn candidates(
        &self,
        domain: Option<&str>,
        task_type: &str,
    ) -> Result<Arc<Candidates>, ApiError> {
        let field = (domain.map(str::to_owned), task_type.to_owned());
        if let Some(candidates) = self.fresh.get(&field).await {
            return Ok(candidates);
        }
        let remembered = self.stale.get(&field).await;
        if self.rest.is_on()
            && let Some(candidates) = remembered
        {
            return Ok(candidates);
        }
        let reading = self.fresh.try_get_with_by_ref(&field, self.read(&field));
        match (Box::pin(reading).await, remembered) {
            (Ok(candidates), _) => {
                self.stale.insert(field, Arc::clone(&candidates)).await;
                Ok(candidates)
            }
            (Err(_noted), Some(candidates)) => {
                self.rest.begin();
                Ok(candidates)
            }
            (Err(_noted), None) => Err(ApiError::Unavailable(
                orchestrator_common::commands::RETRY_AFTER,
            )),
        }
    }

    async fn read(&self, field: &Field) -> Result<Arc<Candidates>, ApiError> {
        patiently(self.look_up(field)).await
    }

    async fn look_up(&self, (domain, task_type): &Field) -> Result<Arc<Candidates>, LedgerError> {
        let experience = self.ledger.experience(task_type).await?;
        let experience: BTreeMap<AgentId, Experience> = experience.into_iter().collect();
        let mut lately = self.ledger.lately(Timestamp::now()).await?;
        let mut all = Vec::new();
        let mut query = AgentQuery {
            domain: domain.clone(),
            limit: PAGE,
            ..AgentQuery::default()
        };
        loop {
            let page = self.ledger.agents(&query).await?;
            let is_last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            for mut agent in page {
                agent.brain_config = None;
                query.after = Some(agent.agent_id.clone());
                all.push(Candidate {
                    limit: agent.max_concurrent_sessions.unwrap_or(self.default_limit),
                    lately: lately.remove(&agent.agent_id).unwrap_or_default(),
                    experience: experience.get(&agent.agent_id).copied().unwrap_or_default(),
                    agent,
                });
            }
            if is_last || all.len() >= MOST {
                break;
            }
        }
        Ok(Arc::new(Candidates {
            picked: all.iter().map(|_| AtomicU32::new(0)).collect(),
            all,
        }))
    }
}
