//! The agents, in memory: after a restart there are none, as on the platform.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::blueprint::Blueprint;
use super::live::Live;

/// One agent.
pub(super) struct Agent {
    pub(super) blueprint: Blueprint,
    pub(super) live: Arc<Live>,
}

#[derive(Default)]
pub(super) struct Agents {
    table: RwLock<Table>,
    incarnations: AtomicU64,
    /// Whether the activity of removed agents is kept, for tests that look at it afterwards.
    keep_activity: bool,
}

#[derive(Default)]
struct Table {
    agents: HashMap<String, Arc<Agent>>,
    lives: HashMap<String, Arc<Live>>,
}

impl Agents {
    pub(super) fn new(keep_activity: bool) -> Self {
        Self {
            keep_activity,
            ..Self::default()
        }
    }

    /// Makes an agent, or gives the one of this id a new configuration; what runs goes on as it began.
    pub(super) fn put(&self, blueprint: Blueprint) {
        let id = blueprint.agent_id.clone();
        let mut table = self.write();
        let incarnation = || self.incarnations.fetch_add(1, Ordering::Relaxed);
        let live = Arc::clone(
            table
                .lives
                .entry(id.clone())
                .or_insert_with(|| Arc::new(Live::new(incarnation()))),
        );
        table.agents.insert(id, Arc::new(Agent { blueprint, live }));
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Agent>> {
        self.read().agents.get(id).cloned()
    }

    /// Forgets an agent; what runs goes on. Whether there was one.
    pub(super) fn remove(&self, id: &str) -> bool {
        let mut table = self.write();
        if !self.keep_activity {
            table.lives.remove(id);
        }
        table.agents.remove(id).is_some()
    }

    /// All agents by id.
    pub(super) fn all(&self) -> Vec<Arc<Agent>> {
        let mut all: Vec<_> = self.read().agents.values().cloned().collect();
        all.sort_by(|one, other| one.blueprint.agent_id.cmp(&other.blueprint.agent_id));
        all
    }

    pub(super) fn count(&self) -> usize {
        self.read().agents.len()
    }

    /// The activity of an agent.
    pub(super) fn live(&self, id: &str) -> Option<Arc<Live>> {
        self.read().lives.get(id).cloned()
    }

    /// The activity of every agent.
    pub(super) fn lives(&self) -> Vec<(String, Arc<Live>)> {
        let table = self.read();
        let lives = table.lives.iter();
        lives
            .map(|(id, live)| (id.clone(), Arc::clone(live)))
            .collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}
