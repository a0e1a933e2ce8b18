//! What must hold once all is done: one outcome for every accepted task, nothing left over, no limit exceeded.

use std::collections::BTreeSet;

use orchestrator_common::domain::TaskId;
use sea_orm::{ConnectionTrait, DatabaseBackend, Statement};

use super::Deployment;
use super::load::Submitted;
use crate::eventually;

impl Deployment {
    /// Waits until nothing waits or runs any more, then looks at every task, session and slot in the ledger, and at
    /// what the agents counted.
    ///
    /// # Panics
    /// When a promise is broken.
    pub async fn audit(&self, submitted: &Submitted) {
        let open = "SELECT count(*) FROM tasks WHERE completed_at IS NULL";
        eventually("nothing waits or runs any more", async || {
            self.count(open).await == 0
        })
        .await;
        let accepted: BTreeSet<TaskId> = submitted.accepted.iter().copied().collect();
        let expected = accepted.len();
        assert_eq!(expected, submitted.accepted.len(), "accepted twice");
        eventually("every accepted task has an outcome", async || {
            let unfinished = self.unfinished(&submitted.accepted).await;
            unfinished.is_ok_and(|unfinished| unfinished.is_empty())
        })
        .await;

        let number = async |sql: &str| {
            let number = self.count(sql).await;
            usize::try_from(number).expect("a number of rows")
        };
        let all = number("SELECT count(*) FROM tasks").await;
        assert!(
            (expected..=expected + submitted.unanswered).contains(&all),
            "{expected} accepted, {} unanswered, {all} in the ledger",
            submitted.unanswered
        );
        let completed = number("SELECT count(*) FROM tasks WHERE status = 'completed'").await;
        assert_eq!(completed, all, "every task is completed");
        let outcomes = number("SELECT count(*) FROM sessions WHERE outcome = 'completed'").await;
        let ended =
            number("SELECT count(DISTINCT task_id) FROM sessions WHERE outcome = 'completed'")
                .await;
        assert_eq!((outcomes, ended), (all, all), "one outcome for every task");
        let totals = number("SELECT sum(completed)::bigint FROM agents").await;
        assert_eq!(totals, all, "the agents' totals");
        let slots = "SELECT (SELECT sum(running + queued) FROM agents)::bigint \
                     + (SELECT sum(running) FROM agent_instances)::bigint";
        assert_eq!(number(slots).await, 0, "slots that nobody uses");
        let again = number("SELECT count(*) FROM sessions WHERE outcome <> 'completed'").await;
        eprintln!(
            "AUDITED {all} tasks, {again} attempts without outcome, {} submissions refused",
            submitted.refused
        );
        self.assert_limits();
    }

    /// # Panics
    /// When an agent was given more tasks at the same time than its limit allows.
    pub fn assert_limits(&self) {
        for (agent_id, limit) in &self.limits {
            let most = self.agents.most(agent_id);
            assert!(
                most <= *limit,
                "{most} tasks at once on {agent_id}, of {limit}"
            );
        }
    }

    /// The one number that a query gives; waits for a ledger that does not answer.
    ///
    /// # Panics
    /// When it does not answer for long, or not with a number.
    pub async fn count(&self, sql: &str) -> i64 {
        let mut answer = None;
        eventually(&format!("the ledger answers to {sql}"), async || {
            let statement = Statement::from_string(DatabaseBackend::Postgres, sql);
            let row = self.ledger.connection().query_one_raw(statement).await;
            answer = row.ok().flatten();
            answer.is_some()
        })
        .await;
        let row = answer.expect("a row");
        row.try_get_by_index(0).expect("a number")
    }
}
