//! The built binary, started, killed and started again as its user would.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step is a failed test"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, Database, Statement};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

/// How long anything may take before the test fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// A data folder of this test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("orchestrator-{}", Uuid::new_v4().simple())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-orchestrator"));
    command
        .env_clear()
        .env("AGENT_ORCHESTRATOR_HOST", "127.0.0.1")
        .env("AGENT_ORCHESTRATOR_PORT", "0")
        .env("ORCHESTRATOR_DATA_DIR", data)
        .env("BRAIN_FACTORY_SIMULATION", "true")
        .env("MAX_CONCURRENT_AGENT_SESSIONS", "5")
        .env("LOG_FORMAT", "text")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A running orchestrator.
struct Running {
    child: Child,
    url: String,
    greeting: String,
    http: reqwest::Client,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    fn start_with(data: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = command(data);
        let mut child = command
            .envs(environment.iter().copied())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        let mut url = None;
        for line in stdout.lines() {
            let line = line.unwrap();
            url = url.or(line
                .trim()
                .strip_prefix("API ")
                .map(|url| url.trim().to_owned()));
            greeting.push_str(&line);
            greeting.push('\n');
            if line.starts_with("Ctrl-C") {
                break;
            }
        }
        let url = url.expect("the greeting names the API's address");
        Self {
            child,
            url,
            greeting,
            http: reqwest::Client::new(),
        }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self
            .http
            .post(format!("{}{path}", self.url))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        self.http
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    async fn submit(&self, simulate: Value) -> String {
        let body = json!({"agent_id": "a", "task_type": "t", "task_data": {"_simulate": simulate}});
        self.post("/orchestrator/execute-task", body).await["task_id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn until(&self, task_id: &str, status: &str) -> Value {
        let start = Instant::now();
        loop {
            let task = self.get(&format!("/orchestrator/tasks/{task_id}")).await;
            if task["status"] == status {
                return task;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "{task} does not become {status}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn interrupt(mut self) -> bool {
        assert!(
            Command::new("kill")
                .args(["-INT", &self.child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap().success()
    }
}

/// What the ledger's file says, without the program.
async fn rows(data: &Path, sql: &str) -> Vec<(String, i64)> {
    let ledger = Database::connect(format!("sqlite://{}", data.join("ledger.db").display()))
        .await
        .unwrap();
    let rows = ledger
        .query_all_raw(Statement::from_string(ledger.get_database_backend(), sql))
        .await
        .unwrap();
    rows.iter()
        .map(|row| {
            (
                row.try_get_by_index(0).unwrap(),
                row.try_get_by_index(1).unwrap(),
            )
        })
        .collect()
}

#[tokio::test]
async fn the_three_calls_of_the_greeting_do_the_main_job() {
    let data = Folder::new();
    let running = Running::start(&data.0);
    let calls: Vec<&str> = running
        .greeting
        .lines()
        .filter(|line| line.contains("curl"))
        .collect();
    assert_eq!(calls.len(), 3, "{}", running.greeting);
    let script = format!(
        "{}\n{}\nuntil {} | grep -q '\"status\":\"completed\"'; do sleep 0.1; done\n{}",
        calls[0], calls[1], calls[2], calls[2]
    );
    let output = tokio::task::spawn_blocking(move || {
        Command::new("timeout")
            .args(["60", "bash", "-c", &script])
            .output()
            .unwrap()
    });
    let printed = String::from_utf8(output.await.unwrap().stdout).unwrap();
    assert!(
        printed.contains(r#""status":"completed""#) && printed.contains("underwriting_agent_01"),
        "{printed}"
    );
}

#[tokio::test]
async fn after_a_sigkill_every_accepted_task_is_finished_exactly_once() {
    let data = Folder::new();
    let first = Running::start(&data.0);
    first
        .post("/orchestrator/register", json!({"agent_id": "a"}))
        .await;
    let mut tasks = vec![first.submit(json!({})).await];
    first.until(&tasks[0], "completed").await;
    // Five run at once, the rest waits.
    for _ in 0..15 {
        tasks.push(first.submit(json!({"delay_ms": 2_000})).await);
    }
    first.kill();
    let at_the_kill = rows(
        &data.0,
        "SELECT status, COUNT(*) FROM tasks GROUP BY status ORDER BY status",
    )
    .await;
    let running = at_the_kill.iter().find(|(status, _)| status == "running");
    let running = running.expect("something runs when it is killed").1;
    assert_eq!(at_the_kill.iter().map(|(_, tasks)| tasks).sum::<i64>(), 16);

    let second = Running::start(&data.0);
    for task in &tasks {
        second.until(task, "completed").await;
    }
    second.kill();
    let statuses = rows(
        &data.0,
        "SELECT status, COUNT(*) FROM tasks GROUP BY status",
    )
    .await;
    assert_eq!(statuses, [("completed".to_owned(), 16)]);
    let outcomes = "SELECT outcome, COUNT(*) FROM sessions GROUP BY outcome ORDER BY outcome";
    assert_eq!(
        rows(&data.0, outcomes).await,
        [
            ("completed".to_owned(), 16),
            ("worker_lost".to_owned(), running)
        ],
        "one outcome each, and one lost attempt for each that ran"
    );
    let slots = rows(&data.0, "SELECT agent_id, running + queued FROM agents").await;
    assert_eq!(slots, [("a".to_owned(), 0)]);
}

#[tokio::test]
async fn a_callback_that_was_under_way_at_a_sigkill_is_made_after_the_next_start() {
    let data = Folder::new();
    let receiver = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", receiver.local_addr().unwrap());
    let environment = [
        ("WEBHOOK_SECRET", "0123456789abcdefghijklmnopqrstuv"),
        ("CALLBACK_ALLOWED_HOSTS", "127.0.0.1"),
    ];
    let first = Running::start_with(&data.0, &environment);
    first
        .post("/orchestrator/register", json!({"agent_id": "a"}))
        .await;
    let task =
        json!({"agent_id": "a", "task_type": "t", "task_data": {}, "callback_url": url.as_str()});
    let accepted = first.post("/orchestrator/execute-task", task).await;
    let task_id = accepted["task_id"].as_str().unwrap();
    // Called, the receiver says nothing.
    let _hanging = receiver.accept().await.unwrap();
    first.kill();

    let second = Running::start_with(&data.0, &environment);
    let (mut caller, _) = tokio::time::timeout(DEADLINE, receiver.accept())
        .await
        .expect("the callback is made again")
        .unwrap();
    // An answer that comes before its question is none.
    let mut asked = Vec::new();
    while !asked.ends_with(b"}") {
        let read = caller.read_buf(&mut asked).await.unwrap();
        assert_ne!(read, 0, "the callback breaks off");
    }
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    caller.write_all(answer).await.unwrap();
    let start = Instant::now();
    loop {
        let task = second.get(&format!("/orchestrator/tasks/{task_id}")).await;
        if task["callback"]["status"] == "delivered" {
            assert_eq!(task["callback"]["attempts"], 2);
            break;
        }
        assert!(start.elapsed() < DEADLINE, "{task} is not delivered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn ctrl_c_finishes_what_runs_and_keeps_what_waits() {
    let data = Folder::new();
    let first = Running::start(&data.0);
    first
        .post("/orchestrator/register", json!({"agent_id": "a"}))
        .await;
    let mut tasks = Vec::new();
    for _ in 0..10 {
        tasks.push(first.submit(json!({"delay_ms": 1_500})).await);
    }
    let busy = first.get("/orchestrator/agents/a").await;
    assert!(busy["queue_depth"].as_u64().unwrap() > 0, "{busy}");
    assert!(first.interrupt(), "an orderly stop exits with 0");
    let statuses = rows(
        &data.0,
        "SELECT status, COUNT(*) FROM tasks GROUP BY status ORDER BY status",
    )
    .await;
    let named: Vec<&str> = statuses.iter().map(|(status, _)| status.as_str()).collect();
    assert_eq!(named, ["completed", "queued"], "nothing is left running");
    let second = Running::start(&data.0);
    for task in &tasks {
        assert_eq!(second.until(task, "completed").await["attempt"], 1);
    }
}

#[tokio::test]
async fn a_task_that_outlasts_the_grace_period_is_handed_back_without_costing_an_attempt() {
    let data = Folder::new();
    let first = Running::start_with(&data.0, &[("SHUTDOWN_GRACE_SECONDS", "0")]);
    first
        .post("/orchestrator/register", json!({"agent_id": "a"}))
        .await;
    let task = first.submit(json!({"delay_ms": 2_000})).await;
    first.until(&task, "running").await;
    assert!(first.interrupt());
    assert_eq!(
        rows(&data.0, "SELECT status, attempt FROM tasks").await,
        [("queued".to_owned(), 0)]
    );
    let second = Running::start(&data.0);
    assert_eq!(second.until(&task, "completed").await["attempt"], 1);
}

#[tokio::test]
async fn it_can_be_asked_how_it_is_with_the_same_binary() {
    let data = Folder::new();
    let running = Running::start(&data.0);
    let ask = |url: &str| {
        let mut ask = command(&data.0);
        ask.args(["health", "--json", "--url", url])
            .output()
            .unwrap()
    };
    let able = ask(&running.url);
    let report: Value = serde_json::from_slice(&able.stdout).unwrap();
    assert!(able.status.success(), "{report}");
    assert_eq!(report["status"], "healthy");
    let url = running.url.clone();
    drop(running);
    let gone = ask(&url);
    assert_eq!(gone.status.code(), Some(3));
    let said = String::from_utf8(gone.stderr).unwrap();
    assert!(
        said.starts_with("agent-orchestrator: no API answers at"),
        "{said}"
    );
}

#[tokio::test]
async fn it_works_on_what_a_later_version_has_added_and_not_on_what_it_has_taken_from() {
    let data = Folder::new();
    let first = Running::start(&data.0);
    assert!(first.interrupt());
    let apply_later = async |name: &str| {
        let file = data.0.join("ledger.db");
        let ledger = Database::connect(format!("sqlite://{}", file.display()));
        let ledger = ledger.await.unwrap();
        let sql =
            format!("INSERT INTO seaql_migrations (version, applied_at) VALUES ('{name}', 0)");
        ledger.execute_unprepared(&sql).await.unwrap();
        ledger.close().await.unwrap();
    };
    apply_later("m9000_added").await;
    let second = Running::start(&data.0);
    assert!(second.interrupt());
    apply_later("m9001_dropped_needs_9000").await;
    let (started, said) = output_of(command(&data.0));
    assert!(
        !started && said.contains("m9001_dropped_needs_9000"),
        "{said}"
    );
}

fn output_of(mut command: Command) -> (bool, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.success(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused_with_a_reason() {
    let data = Folder::new();
    let _first = Running::start(&data.0);
    let (started, said) = output_of(command(&data.0));
    assert!(
        !started && said.contains("is in use by another agent-orchestrator"),
        "{said}"
    );
}

#[test]
fn a_bad_setting_stops_the_process_with_one_line_that_names_it() {
    let data = Folder::new();
    for (name, value) in [
        ("AGENT_ORCHESTRATOR_PORT", "http"),
        ("REQUIRE_AUTH", "true"),
        ("LLM_BASE_URL", "ollama"),
    ] {
        let mut command = command(&data.0);
        command.env(name, value);
        let (started, said) = output_of(command);
        assert!(!started && said.lines().count() == 1, "{said}");
        let named = if name == "REQUIRE_AUTH" {
            "JWT_SECRET must"
        } else {
            name
        };
        assert!(said.contains(named), "{said}");
    }
}
