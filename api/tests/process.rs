//! The built binary: it starts with nothing behind it, says so, and stops in order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may panic, in its helpers too"
)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};

/// No answer may take longer while nothing is there.
const BOUND: Duration = Duration::from_secs(8);

struct Running {
    child: Child,
    address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port at which connections are refused.
fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator-api"));
    command
        .env_clear()
        .env("AGENT_ORCHESTRATOR_HOST", "127.0.0.1");
    for server in ["POSTGRES", "REDIS", "RABBITMQ"] {
        command
            .env(format!("{server}_HOST"), "127.0.0.1")
            .env(format!("{server}_PORT"), closed_port());
    }
    command
        .env("AGENT_ORCHESTRATOR_PORT", "0")
        .env("LOG_FORMAT", "json")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn start() -> Running {
    let mut child = command().spawn().unwrap();
    let mut logs = BufReader::new(child.stderr.take().unwrap()).lines();
    let listening = logs.find_map(|line| {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let fields = line.get("fields").unwrap_or(&line);
        fields["address"].as_str().map(str::to_owned)
    });
    // A full pipe would stop the process.
    std::thread::spawn(move || logs.for_each(drop));
    Running {
        child,
        address: listening.expect("it says where it listens"),
    }
}

#[tokio::test]
async fn with_every_server_refusing_it_lives_refuses_soon_and_stops_with_status_0() {
    let mut running = start();
    let url = |path: &str| format!("http://{}{path}", running.address);
    let http = Client::new();
    let status = async |path: &str| http.get(url(path)).send().await.unwrap().status();
    assert_eq!(status("/health/live").await, 200);
    assert_eq!(status("/health/ready").await, 503);
    let asked = Instant::now();
    let task = json!({"agent_id": "a", "task_type": "t", "task_data": {}});
    let submitted = http.post(url("/orchestrator/execute-task")).json(&task);
    let submitted = submitted.send().await.unwrap();
    assert_eq!(submitted.status(), 503);
    assert_eq!(submitted.headers()["retry-after"], "2");
    assert!(asked.elapsed() < BOUND, "{:?}", asked.elapsed());

    let pid = running.child.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    let ended = running.child.wait().unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn a_bad_setting_stops_it_with_one_line_that_names_the_variable() {
    let output = command().env("RABBITMQ_PORT", "x").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "orchestrator-api: RABBITMQ_PORT must be a whole number from 1 to 65535\n"
    );
}

#[tokio::test]
async fn it_can_be_asked_how_it_is_with_the_same_binary() {
    let api = start();
    let port = api.address.rsplit(':').next().unwrap().to_owned();
    let asked = async |port: String| {
        let mut ask = command();
        ask.env("AGENT_ORCHESTRATOR_PORT", port).arg("health");
        tokio::task::spawn_blocking(move || ask.output().unwrap())
            .await
            .unwrap()
    };
    // Nothing is behind it, so that it can do nothing.
    let unable = asked(port).await;
    assert_eq!(unable.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&unable.stdout).unwrap();
    assert_eq!(report["status"], "unhealthy");
    let gone = asked(closed_port()).await;
    assert_eq!(gone.status.code(), Some(1));
    let said = String::from_utf8(gone.stderr).unwrap();
    assert!(
        said.starts_with("orchestrator-api: no API answers at port"),
        "{said}"
    );
}
