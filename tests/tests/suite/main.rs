//! The tests on real servers, in one program: what they share is built and linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may panic, in its helpers too"
)]

mod agent_changes;
mod agent_insight;
mod api_commands;
mod api_outages;
mod audit;
mod audit_forwarding;
mod audit_messages;
mod authentication;
mod cache;
mod callbacks;
mod conversations;
mod dead_letters;
mod deployments;
mod instances;
mod ledger_accepting;
mod ledger_agents;
mod ledger_attempts;
mod ledger_callbacks;
mod ledger_concurrency;
mod ledger_instances;
mod ledger_list;
mod ledger_patience;
mod ledger_performance;
mod ledger_plans;
mod ledger_properties;
mod ledger_reprioritise;
mod ledger_retry;
mod ledger_sessions;
mod messaging_batch;
mod messaging_consumer;
mod messaging_contract;
mod messaging_decoder;
mod messaging_publisher;
mod messaging_settle;
mod presence;
mod retention;
mod scaling;
mod schema;
mod task_batches;
mod task_changes;
mod task_waiting;
mod telemetry;
mod tls;
mod worker_cluster;
mod worker_health;
mod worker_lifecycle;
mod worker_sign_on;
mod worker_tasks;
mod workflow_ledger;
mod workflow_messages;
mod workflow_properties;
mod workflows;
