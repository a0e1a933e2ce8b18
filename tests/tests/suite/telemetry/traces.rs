//! Traces: whole when there is a collector, and harmless when there is none.

use std::time::{Duration, Instant};

use orchestrator_common::domain::TaskId;
use orchestrator_tests::collector::{Collector, Received};
use orchestrator_tests::counting_agents::{CountingAgents, Repetition};
use orchestrator_tests::deployment::{Deployment, Places};
use orchestrator_tests::eventually;
use orchestrator_tests::ledger::agent_id;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{CALLER, Orchestrator, PROGRAMS, TRACE, traceparent};

/// How long a process may take to stop in order, its last spans included, on a busy machine.
const STOPS: Duration = Duration::from_secs(25);

/// Asserts that the spans of a task hang together, from its caller to its agent, which got `sent`.
fn assert_chain(spans: &[Received], services: [&str; 2], task_id: &str, sent: Option<&str>) {
    let span = |name: &str| {
        let mut named = spans.iter().filter(|span| span.name == name);
        let span = named.next().unwrap_or_else(|| panic!("{name}: {spans:?}"));
        assert_eq!(named.next(), None, "{name}");
        span
    };
    let request = span("POST /orchestrator/execute-task");
    let (ingest, attempt) = (span("ingest"), span("attempt"));
    assert_eq!(request.parent_id, CALLER);
    // Between processes, the way over the broker.
    let parent = if services[0] == services[1] {
        request
    } else {
        let publish = span("publish");
        assert_eq!(publish.parent_id, request.span_id);
        assert_eq!(publish.service, services[0]);
        assert_eq!(publish.attribute("orchestrator.outcome"), Some("confirmed"));
        publish
    };
    assert_eq!(ingest.parent_id, parent.span_id);
    assert_eq!(attempt.parent_id, ingest.span_id);
    assert_eq!(sent, Some(&*format!("00-{TRACE}-{}-01", attempt.span_id)));
    assert_eq!(request.service, services[0]);
    for span in [ingest, attempt] {
        assert_eq!(span.service, services[1]);
        assert_eq!(span.attribute("orchestrator.task_id"), Some(task_id));
    }
    assert_eq!(attempt.attribute("orchestrator.outcome"), Some("completed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_goes_from_the_request_over_rabbitmq_and_the_worker_to_the_agent() {
    let collector = Collector::start().await;
    let places = Places::shared();
    let created = Deployment::create(PROGRAMS, &places, Repetition::RunsAgain).await;
    let mut deployment = created.unwrap();
    deployment.agent("a", 1).await.unwrap();
    let variables = &mut deployment.variables;
    variables.insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), collector.url());
    let (api, worker) = (
        deployment.api().await.unwrap(),
        deployment.worker(10).await.unwrap(),
    );

    let submitted = Client::new()
        .post(format!("{}/orchestrator/execute-task", api.url))
        .header("traceparent", traceparent())
        .json(&json!({"agent_id": "a", "task_type": "t", "task_data": {}}))
        .send()
        .await
        .unwrap();
    let told = submitted.headers()["traceparent"].to_str().unwrap();
    let told = told.to_owned();
    let accepted: Value = submitted.json().await.unwrap();
    let task_id = accepted["task_id"].as_str().unwrap();

    let spans = collector.spans_of(TRACE, 4).await;
    let sent = deployment
        .agents
        .traceparent_of(task_id.parse::<TaskId>().unwrap());
    let services = ["orchestrator-api", "orchestrator-worker"];
    assert_chain(&spans, services, task_id, sent.as_deref());
    let request = spans.iter().find(|span| span.parent_id == CALLER).unwrap();
    assert_eq!(told, format!("00-{TRACE}-{}-01", request.span_id));
    deployment.end(vec![api], vec![worker]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_default_exports_the_same_trace_under_the_name_it_is_given() {
    let collector = Collector::start().await;
    let agents = CountingAgents::start(Repetition::RunsAgain).await.unwrap();
    let orchestrator = Orchestrator::start(&[
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            &(collector.url() + "/v1/traces"),
        ),
        ("OTEL_SERVICE_NAME", "underwriting"),
        // Nothing is due before the end: what stops sends what is left.
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
    ])
    .await;
    orchestrator
        .register(Some(&agents.endpoint(&agent_id("a"))))
        .await;
    let task = orchestrator.run(json!({})).await;
    let task_id = task["task_id"].as_str().unwrap();
    let sent = agents.traceparent_of(task_id.parse::<TaskId>().unwrap());
    assert!(orchestrator.process.stop().await.success());
    let spans = collector.spans_of(TRACE, 3).await;
    assert_chain(&spans, ["underwriting"; 2], task_id, sent.as_deref());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_that_its_caller_does_not_sample_is_handed_on_and_not_exported() {
    let collector = Collector::start().await;
    let agents = CountingAgents::start(Repetition::RunsAgain).await.unwrap();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url())];
    let orchestrator = Orchestrator::start(&variables).await;
    orchestrator
        .register(Some(&agents.endpoint(&agent_id("a"))))
        .await;
    let body = json!({"agent_id": "a", "task_type": "t", "task_data": {}});
    let request = orchestrator
        .post("execute-task", &body)
        .header("traceparent", traceparent().replace("-01", "-00"))
        .header("prefer", "wait=30");
    let task: Value = request.send().await.unwrap().json().await.unwrap();
    let task_id = task["task_id"].as_str().unwrap().parse::<TaskId>().unwrap();
    let sent = agents.traceparent_of(task_id).unwrap();
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"));
    orchestrator.run(json!({})).await;
    assert!(orchestrator.process.stop().await.success());
    // The other one alone.
    assert_eq!(collector.spans_of(TRACE, 3).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_down_costs_nothing_but_its_traces_and_a_line_a_minute() {
    let begun = Instant::now();
    let orchestrator = Orchestrator::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ])
    .await;
    orchestrator.register(None).await;
    eventually("it says that traces are lost", async || {
        orchestrator.run(json!({})).await;
        complaints(&orchestrator) > 0
    })
    .await;
    // Each of them ends a batch that is lost too.
    for _ in 0..20 {
        assert_eq!(orchestrator.run(json!({})).await["status"], "completed");
    }
    let minutes = usize::try_from(begun.elapsed().as_secs() / 60).unwrap();
    assert!(complaints(&orchestrator) <= minutes + 1);
    let stopping = Instant::now();
    assert!(orchestrator.process.stop().await.success());
    assert!(stopping.elapsed() < STOPS);
}

fn complaints(orchestrator: &Orchestrator) -> usize {
    let said = orchestrator.process.said();
    said.matches("the collector does not take traces").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_collector_delays_no_task_and_the_end_only_a_little() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let orchestrator = Orchestrator::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        // Full at once.
        ("OTEL_BSP_MAX_QUEUE_SIZE", "4"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
    ])
    .await;
    orchestrator.register(None).await;
    let asked = tokio::spawn(async move { silent.accept().await.unwrap() });
    for _ in 0..20 {
        assert_eq!(orchestrator.run(json!({})).await["status"], "completed");
    }
    let _kept_waiting = asked.await.unwrap();
    let health = format!("{}/health", orchestrator.url);
    let health: Value = reqwest::get(health).await.unwrap().json().await.unwrap();
    assert_eq!(health["status"], "healthy");
    let stopping = Instant::now();
    assert!(orchestrator.process.stop().await.success());
    assert!(stopping.elapsed() < STOPS);
}
