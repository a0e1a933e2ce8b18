//! `GET /orchestrator/cluster/status`, `GET /orchestrator/metrics/tasks` and `GET /orchestrator/metrics/creations`.

use std::sync::Arc;

use orchestrator_common::domain::Timestamp;
use poem_openapi::OpenApi;

use super::Tag;
use crate::auth::{Caller, Read};
use crate::problem::{Reading, Refusal};
use crate::service::{Service, patiently};
use crate::views::{Answer, ClusterStatus, Counts, TaskCounts, Wire};

pub(super) struct Cluster(pub(super) Arc<Service>);

#[OpenApi(tag = "Tag::Operations")]
impl Cluster {
    /// Get the state of the cluster
    ///
    /// Its workers, how many agents are in which state, and how many tasks wait and run.
    #[oai(
        path = "/orchestrator/cluster/status",
        method = "get",
        operation_id = "cluster_status"
    )]
    async fn status(
        &self,
        _caller: Caller<Read>,
    ) -> Result<Answer<ClusterStatus>, Refusal<Reading>> {
        let ledger = &self.0.ledger;
        let cluster = patiently(ledger.cluster()).await?;
        let load = patiently(ledger.load()).await?;
        Ok(Answer(ClusterStatus::new(cluster, load)))
    }

    /// Get counts of tasks
    ///
    /// For monitoring that adds up: `running_tasks`, `completed_tasks` and `failed_tasks` are totals; `completions_by_type`
    /// and `errors_by_type` count what ended since the last call, whoever called, up to five seconds ago.
    #[oai(
        path = "/orchestrator/metrics/tasks",
        method = "get",
        operation_id = "task_metrics"
    )]
    async fn tasks(&self, _caller: Caller<Read>) -> Result<Answer<TaskCounts>, Refusal<Reading>> {
        let ledger = &self.0.ledger;
        let load = patiently(ledger.load()).await?;
        let tally = patiently(ledger.tally_tasks(Timestamp::now())).await?;
        Ok(Answer(TaskCounts::new(&load, tally)))
    }

    /// Get counts of new agents
    ///
    /// For monitoring that adds up: how many agents were first registered since the last call, whoever called, up to five
    /// seconds ago, by the `template_type` that they were registered with, else by their domain.
    #[oai(
        path = "/orchestrator/metrics/creations",
        method = "get",
        operation_id = "creation_metrics"
    )]
    async fn creations(
        &self,
        _caller: Caller<Read>,
    ) -> Result<Answer<Wire<Counts>>, Refusal<Reading>> {
        let tally = self.0.ledger.tally_creations(Timestamp::now());
        Ok(Answer(Wire(patiently(tally).await?)))
    }
}
