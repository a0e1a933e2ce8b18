//! A measurement that overlooks a lost task would flatter the orchestrator: what it counts is tested here.

#[cfg(test)]
mod fake;

use std::time::Duration;

use fake::{Fake, Fault};
use orchestrator_benches::latency::{self, Waiting};
use orchestrator_benches::throughput::{self, Plan, Throughput};

async fn throughput_of(fake: &Fake) -> anyhow::Result<Throughput> {
    let plan = Plan {
        agents: vec!["a".to_owned(), "b".to_owned()],
        tasks: 25,
        clients: 4,
        payload_bytes: 10,
        deadline: Duration::from_secs(1),
        pids: vec![std::process::id()],
        server_pids: Vec::new(),
    };
    throughput::measure(&fake.target, &plan).await
}

fn message(result: anyhow::Result<Throughput>) -> String {
    result.map_or_else(|error| format!("{error:#}"), |_| "no error".to_owned())
}

#[tokio::test]
async fn every_task_is_submitted_once_and_asked_for_until_its_outcome() {
    let fake = Fake::start(Fault::None).await;
    let throughput = throughput_of(&fake).await.unwrap();
    assert!(throughput.all_completed());
    let seen = fake.seen.lock().unwrap();
    assert_eq!((throughput.tasks, seen.agents.len()), (25, 25));
    // Until its outcome, and the last of each client once more with all the others.
    let asked = |times| seen.asked.values().filter(|asked| **asked == times).count();
    assert_eq!((asked(2), asked(3)), (21, 4));
    let for_b = seen.agents.iter().filter(|agent| *agent == "b").count();
    assert_eq!(for_b, 12, "the agents share the tasks evenly");
}

#[tokio::test]
async fn a_task_that_never_ends_fails_the_measurement() {
    let fake = Fake::start(Fault::NeverEnds(13)).await;
    let message = message(throughput_of(&fake).await);
    assert_eq!(message, "task 13 is still running at the deadline");
}

#[tokio::test]
async fn a_failed_task_is_not_counted_as_completed() {
    let fake = Fake::start(Fault::Fails(7)).await;
    let throughput = throughput_of(&fake).await.unwrap();
    assert!(!throughput.all_completed());
    assert_eq!(throughput.outcomes["failed"], 1);
    assert_eq!(throughput.outcomes["completed"], 24);
}

#[tokio::test]
async fn a_refused_task_fails_the_measurement_with_the_reason() {
    let fake = Fake::start(Fault::IsRefused(20)).await;
    let message = message(throughput_of(&fake).await);
    assert!(message.contains("503"), "{message}");
    assert!(message.contains("nothing durable can take it"), "{message}");
}

#[tokio::test]
async fn latency_runs_one_task_after_the_other() {
    let fake = Fake::start(Fault::None).await;
    let latency = latency::measure(&fake.target, "a", 10, Waiting::Polling).await;
    let latency = latency.unwrap();
    assert!(latency.p50_ms <= latency.p99_ms && latency.p99_ms <= latency.max_ms);
    assert_eq!(fake.seen.lock().unwrap().agents.len(), 10);
    let failing = Fake::start(Fault::Fails(3)).await;
    assert!(
        latency::measure(&failing.target, "a", 10, Waiting::Polling)
            .await
            .is_err()
    );
}

#[test]
fn a_program_that_does_not_start_leaves_no_folder_behind() {
    let temporary = std::env::temp_dir().join(format!("no-start-{}", std::process::id()));
    std::fs::create_dir(&temporary).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_embedded"))
        .args(["--program", "/does/not/exist", "--runs", "1"])
        .env("TMPDIR", &temporary)
        .output()
        .unwrap();
    let left = std::fs::read_dir(&temporary).unwrap().count();
    std::fs::remove_dir_all(&temporary).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("/does/not/exist does not start"), "{said}");
    assert_eq!(left, 0);
}
