//! Every metric name of the project, once.

/// Agents that take tasks now.
pub const ACTIVE_AGENTS: &str = "agent_orchestrator_active_agents";
/// Sessions (attempts) started since this process began.
pub const TOTAL_SESSIONS: &str = "agent_orchestrator_total_sessions";
/// How long a session took.
pub const SESSION_DURATION_SECONDS: &str = "agent_orchestrator_session_duration_seconds";
/// Completed tasks among those that completed or failed.
pub const TASK_SUCCESS_RATE: &str = "agent_orchestrator_task_success_rate";
/// Answered HTTP requests.
pub const REQUESTS_TOTAL: &str = "agent_orchestrator_requests_total";
/// Errors, by type.
pub const ERRORS_TOTAL: &str = "agent_orchestrator_errors_total";
/// How long an HTTP request took.
pub const REQUEST_DURATION_SECONDS: &str = "agent_orchestrator_request_duration_seconds";
/// Tasks that reached a status in this process.
pub const TASKS_TOTAL: &str = "agent_orchestrator_tasks_total";
/// How long a task waited for its first attempt.
pub const QUEUE_WAIT_SECONDS: &str = "agent_orchestrator_queue_wait_seconds";
/// Tasks that wait for a slot, in the whole cluster.
pub const RUNNABLE_TASKS: &str = "agent_orchestrator_runnable_tasks";
/// Tasks that run, in the whole cluster.
pub const RUNNING_TASKS: &str = "agent_orchestrator_running_tasks";
/// Tasks written in one ingest transaction.
pub const INGEST_BATCH_SIZE: &str = "agent_orchestrator_ingest_batch_size";
/// How long one transaction of a worker took, from its beginning to its commit.
pub const CLAIM_DURATION_SECONDS: &str = "agent_orchestrator_claim_duration_seconds";
/// Tasks that this worker may run at once.
pub const WORKER_CAPACITY: &str = "agent_orchestrator_worker_capacity";
/// Tasks that this worker runs now.
pub const WORKER_IN_FLIGHT: &str = "agent_orchestrator_worker_in_flight";
/// Attempts that will be repeated, by reason.
pub const RETRIES_TOTAL: &str = "agent_orchestrator_retries_total";
/// Tasks brought to the ledger by this process, by what became of them.
pub const INGESTED_TOTAL: &str = "agent_orchestrator_ingested_total";
/// Claims settled in one transaction.
pub const RECORDED_BATCH_SIZE: &str = "agent_orchestrator_recorded_batch_size";
/// Commands that the broker brought although somebody may have had them before.
pub const REDELIVERIES_TOTAL: &str = "agent_orchestrator_redeliveries_total";
/// Announcements that were left out because too many waited, or because what they tell could not be read.
pub const ANNOUNCEMENTS_DROPPED_TOTAL: &str = "agent_orchestrator_announcements_dropped_total";
/// Messages put aside in the dead-letter queue, by reason.
pub const DEAD_LETTERS_TOTAL: &str = "agent_orchestrator_dead_letters_total";
/// Attempts at callbacks by this process, by what came of them.
pub const CALLBACKS_TOTAL: &str = "agent_orchestrator_callbacks_total";
/// Entries of the audit log that this process forwarded.
pub const AUDIT_FORWARDED_TOTAL: &str = "agent_orchestrator_audit_forwarded_total";
/// What ended long ago and was deleted by this process.
pub const RETENTION_DELETED_TOTAL: &str = "agent_orchestrator_retention_deleted_total";
/// Instances in the whole cluster, by what they are observed to be.
pub const INSTANCES: &str = "agent_orchestrator_instances";
/// Instances in the whole cluster whose circuit is not closed.
pub const OPEN_CIRCUITS: &str = "agent_orchestrator_open_circuits";
/// Circuits that came to stand elsewhere, as this process noted it, by where they stand.
pub const CIRCUIT_CHANGES_TOTAL: &str = "agent_orchestrator_circuit_changes_total";
/// Probes of instances by this process, by what they found.
pub const PROBES_TOTAL: &str = "agent_orchestrator_probes_total";
/// Tasks that could not be tried now and cost no attempt, by reason.
pub const SNOOZES_TOTAL: &str = "agent_orchestrator_snoozes_total";
/// How long one call of an agent or the Brain Factory took.
pub const BRAIN_CALL_DURATION_SECONDS: &str = "agent_orchestrator_brain_call_duration_seconds";
/// Workflows that reached a status in this process.
pub const WORKFLOWS_TOTAL: &str = "agent_orchestrator_workflows_total";
/// Steps of workflows that ended in this process.
pub const WORKFLOW_STEPS_TOTAL: &str = "agent_orchestrator_workflow_steps_total";
/// Workflows advanced in one transaction.
pub const WORKFLOW_BATCH_SIZE: &str = "agent_orchestrator_workflow_batch_size";
/// How long one transaction took that advanced workflows.
pub const WORKFLOW_ADVANCE_SECONDS: &str = "agent_orchestrator_workflow_advance_seconds";
