//! The endpoints, one file each, and the one place where they are put together.

mod agent_metrics;
mod audit;
mod change_agent;
mod change_task;
mod change_workflow;
mod cluster;
mod dead_letters;
mod execute_intelligent;
mod execute_task;
mod execute_tasks;
mod get_agent;
mod get_task;
mod health;
mod list_agents;
mod list_tasks;
mod metrics;
mod pages;
mod register_agent;
mod sessions;
mod start_agent;
mod stop_agent;
mod task_events;
mod unregister_agent;
mod workflow_definitions;
mod workflows;

use std::collections::HashMap;
use std::sync::Arc;

use poem::IntoEndpoint;
use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem_openapi::registry::{MetaApi, MetaOperation, Registry};
use poem_openapi::{ExtraHeader, LicenseObject, OpenApi, OpenApiService, Tags};

use crate::document;
use crate::edge::RouteTable;
use crate::service::Service;

const DESCRIPTION: &str = "Control plane for AI agents: registers and starts them, takes tasks for them, and tells \
what became of each task.\n\nEvery error is an `application/problem+json` document (RFC 9457). Every answer carries \
`X-Request-Id` (a caller's own is kept when it is 1 to 128 characters of `[A-Za-z0-9._-]`) and W3C `traceparent` (a \
valid one is kept; while traces are exported, the answer names the request's own span in it).";

/// The groups that the document shows.
#[derive(Tags)]
pub(crate) enum Tag {
    /// Registering, starting, stopping and watching agents.
    Agents,
    /// Submitting tasks and asking for their outcome.
    Tasks,
    /// Graphs of tasks and approvals: definitions, runs, decisions.
    Workflows,
    /// Health and metrics of the service itself.
    Operations,
}

/// Every documented endpoint. The framework takes tuples of at most 16, so that each group is its own.
type Endpoints = (
    AgentEndpoints,
    TaskEndpoints,
    WorkflowEndpoints,
    OperationEndpoints,
);

type AgentEndpoints = (
    register_agent::RegisterAgent,
    unregister_agent::UnregisterAgent,
    list_agents::ListAgents,
    get_agent::GetAgent,
    start_agent::StartAgent,
    stop_agent::StopAgent,
    change_agent::ChangeAgent,
    sessions::Sessions,
    agent_metrics::GetAgentMetrics,
);

type TaskEndpoints = (
    execute_task::ExecuteTask,
    execute_tasks::ExecuteTasks,
    execute_intelligent::ExecuteIntelligent,
    list_tasks::ListTasks,
    get_task::GetTask,
    change_task::ChangeTask,
    task_events::TaskEvents,
);

type WorkflowEndpoints = (
    workflows::Workflows,
    change_workflow::ChangeWorkflow,
    workflow_definitions::WorkflowDefinitions,
);

type OperationEndpoints = (
    health::HealthEndpoints,
    metrics::MetricsEndpoint,
    cluster::Cluster,
    dead_letters::DeadLetters,
    audit::Audit,
);

fn endpoints(service: &Arc<Service>) -> Endpoints {
    let service = || service.clone();
    (
        (
            register_agent::RegisterAgent(service()),
            unregister_agent::UnregisterAgent(service()),
            list_agents::ListAgents(service()),
            get_agent::GetAgent(service()),
            start_agent::StartAgent(service()),
            stop_agent::StopAgent(service()),
            change_agent::ChangeAgent(service()),
            sessions::Sessions(service()),
            agent_metrics::GetAgentMetrics(service()),
        ),
        (
            execute_task::ExecuteTask(service()),
            execute_tasks::ExecuteTasks(service()),
            execute_intelligent::ExecuteIntelligent(service()),
            list_tasks::ListTasks(service()),
            get_task::GetTask(service()),
            change_task::ChangeTask(service()),
            task_events::TaskEvents(service()),
        ),
        (
            workflows::Workflows(service()),
            change_workflow::ChangeWorkflow(service()),
            workflow_definitions::WorkflowDefinitions(service()),
        ),
        (
            health::HealthEndpoints(service()),
            metrics::MetricsEndpoint(service()),
            cluster::Cluster(service()),
            dead_letters::DeadLetters(service()),
            audit::Audit(service()),
        ),
    )
}

fn documented<A: OpenApi>(api: A) -> OpenApiService<A, ()> {
    OpenApiService::new(api, "Agent Orchestrator", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .license(LicenseObject::new("Apache-2.0"))
        .extra_response_header::<String, _>(
            ExtraHeader::new("X-Request-Id").description("Finds the request in the logs."),
        )
        .extra_response_header::<String, _>(
            ExtraHeader::new("traceparent").description("W3C trace context of the request."),
        )
}

/// What the document says of every endpoint, without anything behind them.
struct DocumentOnly;

impl OpenApi for DocumentOnly {
    fn meta() -> Vec<MetaApi> {
        let mut apis = Endpoints::meta();
        gather_paths(&mut apis);
        apis
    }

    fn register(registry: &mut Registry) {
        Endpoints::register(registry);
    }

    fn add_routes(self, _routes: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {}
}

/// Brings the operations of each path together at its first place: the framework writes a path once for each group of
/// endpoints, and of several under one name readers see only the last.
fn gather_paths(apis: &mut [MetaApi]) {
    let mut gathered = HashMap::<String, Vec<MetaOperation>>::new();
    for path in apis.iter_mut().flat_map(|api| &mut api.paths) {
        let operations = gathered.entry(path.path.clone()).or_default();
        operations.append(&mut path.operations);
    }
    for api in apis {
        api.paths.retain_mut(|path| {
            let first = gathered.remove(&path.path);
            path.operations = first.unwrap_or_default();
            !path.operations.is_empty()
        });
    }
}

/// The OpenAPI document of the API, as JSON.
#[must_use]
pub fn openapi_document() -> String {
    document::completed(&documented(DocumentOnly).spec())
}

/// Every endpoint, ready to be called, and what is known of the routes.
pub(crate) fn assemble(service: &Arc<Service>) -> (BoxEndpoint<'static>, RouteTable) {
    let pages = pages::Pages::of(&documented(DocumentOnly));
    let api = documented((endpoints(service), pages)).into_endpoint();
    (api, RouteTable::of::<Endpoints>())
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod agents_tests;
