//! Reading runs, and who is there to work for them.

use std::collections::{BTreeMap, HashSet};

use sea_orm::Value;

use super::super::convert::agent_id;
use super::super::rows::in_list;
use super::super::{Ledger, LedgerError};
use super::rows::{SUMMARY, WHOLE, summary, whole};
use crate::domain::workflow::{DefinitionName, RunId, RunRecord, RunStatus, RunSummary};
use crate::domain::{AgentId, Timestamp};

/// How many runs one page looks at: with a filter that few runs pass, a page would else read them all.
const MAX_LOOKED_AT: u32 = 10_000;

/// A place between two runs in their order: by time of creation, then by identifier.
pub type RunPlace = (Timestamp, RunId);

/// Which runs to list.
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// Only runs that stand here.
    pub status: Option<RunStatus>,
    /// Only runs of this stored definition.
    pub name: Option<DefinitionName>,
    /// Only runs older than this one.
    pub before: Option<RunPlace>,
    /// At most this many.
    pub limit: u32,
}

/// A page of runs.
#[derive(Clone, Debug)]
pub struct RunPage {
    /// Newest first.
    pub runs: Vec<RunSummary>,
    /// Where the next page begins; `None` on the last one. A page may hold fewer runs than its limit, or none, and not be
    /// the last: it looks at 10,000 runs at most.
    pub next: Option<RunPlace>,
}

impl Ledger {
    /// A run with the state of its steps.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn run(&self, run_id: RunId) -> Result<Option<RunRecord>, LedgerError> {
        let sql = format!("SELECT {SUMMARY}, {WHOLE} FROM workflow_runs WHERE run_id = $1");
        let rows = self
            .within(|db| db.query(&sql, [run_id.uuid().into()]))
            .await?;
        rows.first().map(whole).transpose()
    }

    /// The runs that `query` asks for.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn run_page(&self, query: &RunQuery) -> Result<RunPage, LedgerError> {
        let mut values: Vec<Value> = Vec::new();
        let inside = query
            .before
            .map_or_else(String::new, |(created_at, run_id)| {
                values.push(created_at.as_micros().into());
                values.push(run_id.uuid().into());
                "WHERE (created_at, run_id) < ($1, $2)".to_owned()
            });
        let order = "ORDER BY created_at DESC, run_id DESC";
        let looked_at =
            format!("SELECT {SUMMARY} FROM workflow_runs {inside} {order} LIMIT {MAX_LOOKED_AT}");
        let mut outside = Vec::new();
        if let Some(status) = query.status {
            values.push(status.as_str().into());
            outside.push(format!("status = ${}", values.len()));
        }
        if let Some(name) = &query.name {
            values.push(name.as_str().into());
            outside.push(format!("name = ${}", values.len()));
        }
        let filter = if outside.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", outside.join(" AND "))
        };
        // One more than is shown tells whether there is a next page.
        let limit = query.limit.saturating_add(1);
        let sql =
            format!("SELECT {SUMMARY} FROM ({looked_at}) looked_at {filter} {order} LIMIT {limit}");
        let rows = self.within(|db| db.query(&sql, values)).await?;
        let mut runs: Vec<RunSummary> = rows.iter().map(summary).collect::<Result<_, _>>()?;
        let shown = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let next = if runs.len() > shown {
            runs.truncate(shown);
            runs.last().map(|run| (run.created_at, run.run_id))
        } else if filter.is_empty() {
            None
        } else {
            self.last_run_looked_at(query.before).await?
        };
        Ok(RunPage { runs, next })
    }

    /// The last run that a page looked at, when there are more behind it.
    async fn last_run_looked_at(
        &self,
        before: Option<RunPlace>,
    ) -> Result<Option<RunPlace>, LedgerError> {
        let mut values: Vec<Value> = Vec::new();
        let inside = before.map_or("", |(created_at, run_id)| {
            values.push(created_at.as_micros().into());
            values.push(run_id.uuid().into());
            "WHERE (created_at, run_id) < ($1, $2)"
        });
        let offset = MAX_LOOKED_AT - 1;
        let sql = format!(
            "SELECT {SUMMARY} FROM workflow_runs {inside} ORDER BY created_at DESC, run_id DESC LIMIT 1 OFFSET {offset}"
        );
        let rows = self.within(|db| db.query(&sql, values)).await?;
        let last = rows.first().map(summary).transpose()?;
        Ok(last.map(|run| (run.created_at, run.run_id)))
    }

    /// Which of these agents are registered, and are not on their way out.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn registered_among(
        &self,
        agent_ids: impl IntoIterator<Item = &AgentId>,
    ) -> Result<HashSet<AgentId>, LedgerError> {
        let ids: HashSet<&AgentId> = agent_ids.into_iter().collect();
        let mut known = HashSet::with_capacity(ids.len());
        if ids.is_empty() {
            return Ok(known);
        }
        let (list, values) = in_list(ids.into_iter().map(|id| id.as_str().into()).collect());
        let sql = format!(
            "SELECT agent_id FROM agents WHERE agent_id IN {list} AND desired <> 'removed'"
        );
        for row in self.within(|db| db.query(&sql, values)).await? {
            known.insert(agent_id(&row.try_get_by_index::<String>(0)?)?);
        }
        Ok(known)
    }

    /// The agents of each of these domains, those with the least to do first.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn agents_of_domains(
        &self,
        domains: impl IntoIterator<Item = &str>,
    ) -> Result<BTreeMap<String, Vec<AgentId>>, LedgerError> {
        let domains: HashSet<&str> = domains.into_iter().collect();
        let mut found = BTreeMap::<String, Vec<AgentId>>::new();
        if domains.is_empty() {
            return Ok(found);
        }
        let (list, values) = in_list(domains.into_iter().map(Value::from).collect());
        let sql = format!(
            "SELECT p.domain, a.agent_id FROM agent_profiles p JOIN agents a ON a.agent_id = p.agent_id \
             WHERE p.domain IN {list} AND a.desired IN ('idle', 'running') \
             ORDER BY a.queued + a.running, a.agent_id"
        );
        for row in self.within(|db| db.query(&sql, values)).await? {
            let domain = row.try_get_by_index(0)?;
            let agent = agent_id(&row.try_get_by_index::<String>(1)?)?;
            found.entry(domain).or_default().push(agent);
        }
        Ok(found)
    }
}
