//! Lines of JSON that say which request, task and trace they are about.

use std::collections::BTreeMap;
use std::path::Path;

use orchestrator_tests::eventually;
use orchestrator_tests::process::Process;
use reqwest::Client;
use serde_json::{Value, json};

use super::{Orchestrator, PROGRAMS, TRACE, traceparent};

/// The line with this message; every other one must be whole JSON, too, and no field may stand in it twice.
fn line(process: &Process, message: &str) -> Option<Value> {
    let said = process.said();
    // The last one may be half written.
    let (said, _) = said.rsplit_once('\n')?;
    let lines = said.lines().filter(|line| line.starts_with('{'));
    let parsed = lines.map(|line| {
        for field in ["request_id", "task_id", "trace_id"] {
            let times = line.matches(&format!("\"{field}\":")).count();
            assert!(times <= 1, "{line}");
        }
        serde_json::from_str::<Value>(line).unwrap()
    });
    parsed
        .filter(|line| line["message"] == message)
        .find(|line| line["trace_id"] == TRACE)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_about_a_task_and_about_its_request_name_them_and_their_trace() {
    let orchestrator = Orchestrator::start(&[
        ("LOG_FORMAT", "json"),
        ("BRAIN_FACTORY_SIMULATION", "true"),
        (
            "RUST_LOG",
            "info,orchestrator_api=debug,orchestrator_worker=debug",
        ),
    ])
    .await;
    orchestrator.register(None).await;
    let task = orchestrator
        .run(json!({"_simulate": {"fail": "no luck"}}))
        .await;
    assert_eq!(task["status"], "failed", "{task}");
    let process = &orchestrator.process;
    eventually("both lines are there", async || {
        line(process, "answered").is_some() && line(process, "an attempt failed").is_some()
    })
    .await;
    let answered = line(process, "answered").unwrap();
    assert_eq!(answered["request_id"], "request-1");
    let failed = line(process, "an attempt failed").unwrap();
    assert_eq!(failed["task_id"], task["task_id"]);
    assert_eq!(failed["agent_id"], "a");
    assert!(orchestrator.process.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_deep_inside_a_request_is_said_with_its_id() {
    let variables = [
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing"),
        ("RABBITMQ_HOST", "127.0.0.1"),
        ("RABBITMQ_PORT", "1"),
        ("RABBITMQ_PASSWORD", "x"),
        ("REDIS_HOST", "127.0.0.1"),
        ("REDIS_PORT", "1"),
        ("AGENT_ORCHESTRATOR_HOST", "127.0.0.1"),
        ("AGENT_ORCHESTRATOR_PORT", "0"),
        ("LOG_FORMAT", "json"),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let variables: BTreeMap<_, _> = variables.into_iter().map(owned).collect();
    let process = Process::start(Path::new(PROGRAMS.api), &variables).unwrap();
    let mut address = None;
    eventually("the API listens", async || {
        let said = process.said();
        let mut lines = said
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        address = lines.find_map(|line| line["address"].as_str().map(str::to_owned));
        address.is_some()
    })
    .await;
    let refused = Client::new()
        .get(format!("http://{}/orchestrator/agents", address.unwrap()))
        .header("x-request-id", "request-2")
        .header("traceparent", traceparent())
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 503);
    let said = line(&process, "the ledger does not answer").unwrap();
    assert_eq!(said["request_id"], "request-2");
    assert_eq!(said.get("task_id"), None);
    assert!(process.stop().await.success());
}
