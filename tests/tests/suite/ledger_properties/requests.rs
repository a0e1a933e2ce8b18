//! Turns what a case says of arrivals and endings into the tasks and completions of its world.

use std::time::Duration;

use orchestrator_common::domain::{Completion, NewTask, Usage};
use orchestrator_tests::ledger::task;
use serde_json::json;

use super::operations::{Arrival, Ending, Order};
use super::world::World;

impl World<'_> {
    pub(crate) fn arrivals(&self, plans: Vec<Arrival>) -> Vec<NewTask> {
        let mut arrivals: Vec<NewTask> = Vec::new();
        for plan in plans {
            let known = self.accepted.iter().map(|id| &self.model.tasks[id].task);
            let earlier: Vec<&NewTask> = known.chain(&arrivals).collect();
            let next = match plan {
                Arrival::New(wish) => Some(self.wished(&wish)),
                Arrival::Repeat(_) | Arrival::Clash(_) if earlier.is_empty() => None,
                Arrival::Repeat(which) => Some((*which.get(&earlier)).clone()),
                Arrival::Clash(which) => {
                    let first = *which.get(&earlier);
                    let other = self.agents.iter().find(|id| **id != first.agent_id);
                    other.map(|agent_id| NewTask {
                        agent_id: agent_id.clone(),
                        ..first.clone()
                    })
                }
            };
            arrivals.extend(next);
        }
        arrivals
    }

    fn wished(&self, wish: &Order) -> NewTask {
        let mut body = json!({"priority": wish.priority, "max_attempts": wish.max_attempts});
        if let Some(seconds) = wish.delay {
            body["delay_seconds"] = seconds.into();
        }
        if let Some(seconds) = wish.expires_in {
            body["expires_in_seconds"] = seconds.into();
        }
        let submitted = self.now.minus(Duration::from_secs(wish.age));
        task(
            &self.agents[wish.agent % self.agents.len()],
            body,
            submitted,
        )
    }

    pub(crate) fn completions(&self, worker: usize, endings: Vec<Ending>) -> Vec<Completion> {
        let worker = &self.workers[worker];
        let mut completions = Vec::new();
        for ending in endings {
            let claims = if ending.stale {
                &worker.past
            } else {
                &worker.held
            };
            if claims.is_empty() {
                continue;
            }
            let completion = Completion {
                claim: ending.which.get(claims).clone(),
                outcome: ending.outcome,
                usage: Usage::default(),
            };
            if ending.twice {
                completions.push(completion.clone());
            }
            completions.push(completion);
        }
        completions
    }
}
