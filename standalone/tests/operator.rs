//! Operators' commands: the built binary against a running orchestrator, and against an API that answers as it is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step is a failed test"
)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use uuid::Uuid;
use wiremock::matchers::{header, method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// What a command came to.
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Done {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}{}", self.out, self.err))
    }

    /// The cells of the line that begins with `first`.
    fn line(&self, first: &str) -> Vec<&str> {
        let found = self.out.lines().find(|line| line.starts_with(first));
        found
            .unwrap_or_else(|| panic!("{}{}", self.out, self.err))
            .split_whitespace()
            .collect()
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-orchestrator"));
    command.env_clear().stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Done {
    let output = command.output().unwrap();
    Done {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// An orchestrator of this test's own.
struct Orchestrator {
    child: Child,
    url: String,
    data: PathBuf,
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

impl Orchestrator {
    fn start() -> Self {
        let data = std::env::temp_dir().join(format!("orchestrator-{}", Uuid::new_v4().simple()));
        let mut child = program()
            .env("AGENT_ORCHESTRATOR_HOST", "127.0.0.1")
            .env("AGENT_ORCHESTRATOR_PORT", "0")
            .env("ORCHESTRATOR_DATA_DIR", &data)
            .env("BRAIN_FACTORY_SIMULATION", "true")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.map_while(Result::ok).find_map(|line| {
            let url = line.trim().strip_prefix("API ")?;
            Some(url.trim().to_owned())
        });
        Self {
            child,
            url: url.unwrap(),
            data,
        }
    }

    fn ask(&self, arguments: &[&str]) -> Done {
        run(program().args(["--url", &self.url]).args(arguments))
    }

    /// What has to succeed.
    fn get(&self, arguments: &[&str]) -> Done {
        let done = self.ask(arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {}{}", done.out, done.err);
        done
    }
}

#[test]
fn agents_are_registered_looked_at_changed_and_removed() {
    let orchestrator = Orchestrator::start();
    let registration =
        r#"{"agent_id": "team:a", "domain": "underwriting", "max_concurrent_sessions": 3}"#;
    let said = orchestrator.get(&["agents", "register", registration]);
    assert!(said.out.starts_with("team:a: "), "{}", said.out);
    assert_eq!(
        orchestrator.get(&["agents", "list"]).line("team:a")[3..5],
        ["0", "3"]
    );
    let listed = orchestrator
        .get(&["agents", "list", "--domain", "none", "--json"])
        .json();
    assert_eq!(listed, json!({"count": 0, "agents": []}));
    orchestrator.get(&["agents", "scale", "team:a", "--sessions", "7"]);
    orchestrator.get(&["agents", "start", "team:a"]);
    orchestrator.get(&["agents", "pause", "team:a"]);
    assert_eq!(
        orchestrator.get(&["agents", "list"]).line("team:a")[2],
        "paused"
    );
    orchestrator.get(&["agents", "resume", "team:a"]);
    let shown = orchestrator
        .get(&["--json", "agents", "show", "team:a"])
        .json();
    assert_eq!(shown["limits"]["max_concurrent_sessions"], 7);
    assert_eq!(shown["desired_state"], "running");
    assert!(
        orchestrator
            .get(&["agents", "show", "team:a"])
            .out
            .contains("agent id")
    );
    orchestrator.get(&["agents", "stop", "team:a", "--no-drain"]);
    orchestrator.get(&["agents", "remove", "team:a"]);
    let gone = orchestrator.ask(&["agents", "show", "../agents"]);
    assert_eq!((gone.code, gone.out.as_str()), (4, ""));
    assert!(
        gone.err.starts_with("agent-orchestrator: ") && gone.err.contains("(status 4"),
        "{}",
        gone.err
    );
}

#[test]
fn tasks_are_submitted_followed_listed_and_tried_again() {
    let orchestrator = Orchestrator::start();
    orchestrator.get(&["agents", "register", r#"{"agent_id": "a"}"#]);
    let done = orchestrator.get(&[
        "tasks",
        "submit",
        "a",
        "--type",
        "t",
        "--data",
        r#"{"x": 1}"#,
        "--wait",
        "--json",
    ]);
    assert_eq!(done.json()["status"], "completed");
    let failing = r#"{"_simulate": {"fail": "no"}}"#;
    let failed = orchestrator.ask(&[
        "tasks", "submit", "a", "--type", "broken", "--data", failing, "--wait",
    ]);
    assert_eq!(failed.code, 5, "{}{}", failed.out, failed.err);
    assert_eq!(failed.line("status"), ["status", "failed"]);
    let task = failed.line("task id")[2].to_owned();
    assert!(
        failed.err.ends_with("the task is failed\n"),
        "{}",
        failed.err
    );
    let listed = orchestrator.get(&["tasks", "list", "--agent", "a", "--status", "failed"]);
    assert_eq!(listed.line(&task)[1..4], ["a", "broken", "failed"]);
    assert_eq!(listed.out.lines().count(), 2);
    assert_eq!(
        orchestrator
            .get(&["tasks", "list", "--limit", "1", "--json"])
            .json()["count"],
        1
    );
    orchestrator.get(&["tasks", "retry", &task]);
    assert_eq!(orchestrator.ask(&["tasks", "watch", &task]).code, 5);

    orchestrator.get(&["agents", "pause", "a"]);
    let submit = [
        "tasks",
        "submit",
        "a",
        "--type",
        "t",
        "--priority",
        "9",
        "--idempotency-key",
        "k",
    ];
    let first = orchestrator.get(&submit).out;
    assert_eq!(orchestrator.get(&submit).out, first);
    let waiting = first.trim();
    assert_eq!(
        orchestrator
            .get(&["tasks", "show", waiting])
            .line("priority"),
        ["priority", "9"]
    );
    let cancelled = orchestrator.ask(&[
        "tasks",
        "cancel",
        waiting,
        "019a0000-0000-7000-8000-000000000000",
    ]);
    assert_eq!(cancelled.code, 4, "one of the two is not there");
    assert!(
        cancelled.err.ends_with("1 of 2 were refused\n"),
        "{}",
        cancelled.err
    );
    assert_eq!(
        orchestrator.get(&["tasks", "show", waiting]).line("status"),
        ["status", "cancelled"]
    );
    let status = orchestrator.get(&["status"]);
    assert_eq!(status.line("completed tasks")[2], "1");
    assert_eq!(status.line("WORKER")[..2], ["WORKER", "HOST"]);
}

#[tokio::test]
async fn letters_are_replayed_page_after_page_and_refusals_counted() {
    let api = MockServer::start().await;
    let list = "/orchestrator/dead-letters";
    let page = |ids: &[&str], next: Option<&str>| {
        let letters: Vec<_> = ids
            .iter()
            .map(|id| json!({"letter_id": id, "reason": "unknown_agent"}))
            .collect();
        ResponseTemplate::new(200)
            .set_body_json(json!({"dead_letters": letters, "next_cursor": next}))
    };
    let first = Mock::given(method("GET"))
        .and(path(list))
        .and(query_param("reason", "unknown_agent"));
    let first = first
        .and(header("authorization", "Bearer s3cret"))
        .and(query_param_is_missing("cursor"));
    first
        .respond_with(page(&["1", "2"], Some("c")))
        .mount(&api)
        .await;
    let second = Mock::given(method("GET"))
        .and(path(list))
        .and(query_param("cursor", "c"));
    second.respond_with(page(&["3"], None)).mount(&api).await;
    for (id, status) in [("1", 200), ("2", 409), ("3", 200)] {
        let body =
            json!({"message": "sent again", "title": "Conflict", "detail": "it is on its way"});
        let answer = ResponseTemplate::new(status).set_body_json(body);
        let replay = Mock::given(method("POST")).and(path(format!("{list}/{id}/replay")));
        replay.respond_with(answer).expect(1).mount(&api).await;
    }
    let mut command = program();
    command
        .env("ORCHESTRATOR_URL", api.uri())
        .env("ORCHESTRATOR_TOKEN", "s3cret");
    command.args([
        "dead-letters",
        "replay",
        "--all",
        "--reason",
        "unknown_agent",
    ]);
    let done = tokio::task::spawn_blocking(move || run(&mut command))
        .await
        .unwrap();
    assert_eq!(done.code, 4, "{}", done.err);
    let expected = "1: sent again\n2: Conflict: it is on its way (status 409)\n3: sent again\n";
    assert_eq!(done.out, expected);
    assert_eq!(done.err, "agent-orchestrator: 1 of 3 were refused\n");
}

#[tokio::test]
async fn what_goes_wrong_has_its_own_exit_code_and_one_paragraph() {
    let api = MockServer::start().await;
    let refusal = ResponseTemplate::new(401).set_body_json(json!({"title": "A token is needed"}));
    Mock::given(path("/orchestrator/agents"))
        .respond_with(refusal)
        .mount(&api)
        .await;
    let page = ResponseTemplate::new(200).set_body_string("<html>");
    Mock::given(path("/orchestrator/tasks"))
        .respond_with(page)
        .mount(&api)
        .await;
    let url = api.uri();
    for (arguments, url, code, said) in [
        (
            &["agents", "list"][..],
            url.as_str(),
            4,
            "A token is needed (status 401)\n  give a token with --token",
        ),
        (&["tasks", "list"], &url, 1, "what answers at"),
        (
            &["status"],
            "http://127.0.0.1:9",
            3,
            "no API answers at http://127.0.0.1:9/: ",
        ),
        (&["agents", "register", "{"], &url, 2, "must be JSON"),
        (&["agents", "register", "@/nowhere"], &url, 2, "/nowhere: "),
    ] {
        let mut command = program();
        command.args(["--url", url]).args(arguments);
        let done = tokio::task::spawn_blocking(move || run(&mut command))
            .await
            .unwrap();
        assert_eq!(
            (done.code, done.out.as_str()),
            (code, ""),
            "{arguments:?}: {}",
            done.err
        );
        assert!(
            done.err.starts_with(&format!("agent-orchestrator: {said}")),
            "{}",
            done.err
        );
    }
    let wrong = run(program()
        .env("ORCHESTRATOR_URL", "agents.example")
        .arg("status"));
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.err.contains("ORCHESTRATOR_URL must be an address"),
        "{}",
        wrong.err
    );
    assert_eq!(run(program().args(["agents", "scale", "a"])).code, 2);
    assert_eq!(run(program().args(["dead-letters", "discard"])).code, 2);
}

#[test]
fn completions_manual_pages_and_the_document_are_printed() {
    let completions = run(program().args(["completions", "bash"]));
    assert!(
        completions.out.contains("dead-letters"),
        "{}",
        completions.err
    );
    let folder = std::env::temp_dir().join(format!("man-{}", Uuid::new_v4().simple()));
    assert_eq!(run(program().arg("man").arg(&folder)).code, 0);
    let page = std::fs::read_to_string(folder.join("agent-orchestrator-tasks-submit.1")).unwrap();
    assert!(page.contains("idempotency"), "{page}");
    std::fs::remove_dir_all(&folder).unwrap();
    let orchestrator = Orchestrator::start();
    assert_eq!(orchestrator.get(&["openapi"]).json()["openapi"], "3.0.0");
}
