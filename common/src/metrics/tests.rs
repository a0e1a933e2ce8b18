//! The metric names and labels are an interface: dashboards and alerts are written against them.

use super::*;

fn families(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter(|line| line.starts_with("agent_orchestrator_"))
        .collect()
}

fn metrics_with_everything_recorded() -> Metrics {
    let metrics = Metrics::new(true).unwrap();
    let took = Duration::from_millis(20);
    metrics.request_answered("GET", "/health", 200, took);
    metrics.error("not_json");
    metrics.task_reached(TaskStatus::Completed);
    metrics.session_started();
    metrics.session_ended(took);
    metrics.queue_waited(took);
    metrics.ingested(3);
    metrics.claimed(took);
    metrics.retried(ErrorCode::AgentUnreachable);
    metrics.ingestion(&Ingested::UnknownAgent);
    metrics.recorded(2);
    metrics.redelivered();
    metrics.announcement_dropped();
    metrics.dead_lettered(Reason::NotJson);
    metrics.callback(&CallbackOutcome::Gone("status 410".to_owned()));
    metrics.audit_forwarded(8);
    metrics.deleted(Expiring::DeadLetters, 9);
    metrics.brain_called(took);
    metrics.workflows_advanced(2, took);
    metrics.workflow_reached(RunStatus::Completed);
    metrics.workflow_steps_ended(3);
    metrics.probed(&Found::Failed);
    metrics.circuit_changed(CircuitState::Open);
    metrics.snoozed(Snooze::Busy);
    metrics.set_instances(InstanceState::Healthy, 3);
    metrics.set_open_circuits(1);
    metrics.set_active_agents(4);
    metrics.set_runnable_tasks(5);
    metrics.set_running_tasks(6);
    metrics.set_task_success_rate(0.75);
    metrics.set_worker_capacity(1_000);
    metrics.set_worker_in_flight(7);
    metrics
}

#[test]
fn the_names_and_types_are_the_documented_ones() {
    let text = metrics_with_everything_recorded().render();
    assert_eq!(
        families(&text),
        [
            "agent_orchestrator_active_agents gauge",
            "agent_orchestrator_announcements_dropped_total counter",
            "agent_orchestrator_audit_forwarded_total counter",
            "agent_orchestrator_brain_call_duration_seconds histogram",
            "agent_orchestrator_callbacks_total counter",
            "agent_orchestrator_circuit_changes_total counter",
            "agent_orchestrator_claim_duration_seconds histogram",
            "agent_orchestrator_dead_letters_total counter",
            "agent_orchestrator_errors_total counter",
            "agent_orchestrator_ingest_batch_size histogram",
            "agent_orchestrator_ingested_total counter",
            "agent_orchestrator_instances gauge",
            "agent_orchestrator_open_circuits gauge",
            "agent_orchestrator_probes_total counter",
            "agent_orchestrator_queue_wait_seconds histogram",
            "agent_orchestrator_recorded_batch_size histogram",
            "agent_orchestrator_redeliveries_total counter",
            "agent_orchestrator_request_duration_seconds histogram",
            "agent_orchestrator_requests_total counter",
            "agent_orchestrator_retention_deleted_total counter",
            "agent_orchestrator_retries_total counter",
            "agent_orchestrator_runnable_tasks gauge",
            "agent_orchestrator_running_tasks gauge",
            "agent_orchestrator_session_duration_seconds histogram",
            "agent_orchestrator_snoozes_total counter",
            "agent_orchestrator_task_success_rate gauge",
            "agent_orchestrator_tasks_total counter",
            "agent_orchestrator_total_sessions counter",
            "agent_orchestrator_worker_capacity gauge",
            "agent_orchestrator_worker_in_flight gauge",
            "agent_orchestrator_workflow_advance_seconds histogram",
            "agent_orchestrator_workflow_batch_size histogram",
            "agent_orchestrator_workflow_steps_total counter",
            "agent_orchestrator_workflows_total counter",
        ]
    );
}

#[test]
fn every_recorded_value_shows_with_its_labels() {
    let text = metrics_with_everything_recorded().render();
    for line in [
        r#"agent_orchestrator_requests_total{endpoint="/health",method="GET",status="200"} 1"#,
        r#"agent_orchestrator_errors_total{type="not_json"} 1"#,
        r#"agent_orchestrator_tasks_total{status="completed"} 1"#,
        r#"agent_orchestrator_retries_total{reason="agent_unreachable"} 1"#,
        r#"agent_orchestrator_callbacks_total{outcome="gone"} 1"#,
        r#"agent_orchestrator_retention_deleted_total{kind="dead_letters"} 9"#,
        "agent_orchestrator_audit_forwarded_total 8",
        r#"agent_orchestrator_probes_total{outcome="failed"} 1"#,
        r#"agent_orchestrator_circuit_changes_total{to="open"} 1"#,
        r#"agent_orchestrator_snoozes_total{reason="busy"} 1"#,
        r#"agent_orchestrator_instances{state="healthy"} 3"#,
        "agent_orchestrator_open_circuits 1",
        "agent_orchestrator_active_agents 4",
        "agent_orchestrator_runnable_tasks 5",
        "agent_orchestrator_running_tasks 6",
        "agent_orchestrator_task_success_rate 0.75",
        "agent_orchestrator_worker_capacity 1000",
        "agent_orchestrator_worker_in_flight 7",
        "agent_orchestrator_total_sessions 1",
        r#"agent_orchestrator_dead_letters_total{reason="not_json"} 1"#,
        r#"agent_orchestrator_dead_letters_total{reason="unauthorized"} 0"#,
        r#"agent_orchestrator_ingested_total{outcome="unknown_agent"} 1"#,
        "agent_orchestrator_recorded_batch_size_sum 2",
        "agent_orchestrator_redeliveries_total 1",
        "agent_orchestrator_announcements_dropped_total 1",
        "agent_orchestrator_ingest_batch_size_sum 3",
        "agent_orchestrator_session_duration_seconds_count 1",
        "agent_orchestrator_queue_wait_seconds_count 1",
        "agent_orchestrator_claim_duration_seconds_count 1",
        "agent_orchestrator_brain_call_duration_seconds_count 1",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
    }
}

#[test]
fn the_process_is_measured_too() {
    assert!(
        Metrics::new(true)
            .unwrap()
            .render()
            .contains("process_resident_memory_bytes")
    );
}

#[test]
fn metrics_that_are_off_record_nothing_and_say_so() {
    let metrics = Metrics::new(false).unwrap();
    metrics.session_started();
    metrics.set_active_agents(4);
    assert_eq!(metrics.render(), TURNED_OFF);
}

#[test]
fn two_sets_of_metrics_in_one_process_do_not_share_counters() {
    let (one, other) = (Metrics::new(true).unwrap(), Metrics::new(true).unwrap());
    one.session_started();
    assert!(
        other
            .render()
            .contains("\nagent_orchestrator_total_sessions 0\n")
    );
}

#[test]
fn a_status_code_is_written_in_decimal() {
    for number in [0, 7, 200, 503, 65_535] {
        assert_eq!(decimal(number, &mut [0; 5]), number.to_string());
    }
}
