//! The built binary: it waits for servers that are not there, says so over HTTP, and stops in order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may panic, in its helpers too"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A free port, below those that the system gives to clients.
fn free_port() -> u16 {
    std::iter::repeat_with(|| fastrand::u16(20_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

fn command(health_port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orchestrator-worker"));
    command.env_clear();
    for server in ["POSTGRES", "REDIS", "RABBITMQ", "BRAIN_FACTORY"] {
        command
            .env(format!("{server}_HOST"), "127.0.0.1")
            .env(format!("{server}_PORT"), free_port().to_string());
    }
    command
        .env("WORKER_HEALTH_HOST", "127.0.0.1")
        .env("WORKER_HEALTH_PORT", health_port.to_string())
        .env("LOG_LEVEL", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// The status of an answer and its body, if anybody answers.
fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: worker\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn without_any_server_it_is_alive_and_not_ready_and_stops_in_order() {
    let port = free_port();
    let mut running = Running(command(port).spawn().unwrap());
    let (status, live) = eventually("it answers", || get(port, "/health/live"));
    assert_eq!(status, 200, "{live}");
    let (status, ready) = get(port, "/health/ready").unwrap();
    assert_eq!(status, 503, "{ready}");
    assert!(ready.contains(r#""status":"starting""#), "{ready}");
    let mut ask = command(port);
    let asked = ask.arg("health").stdout(Stdio::piped()).output().unwrap();
    let report = String::from_utf8(asked.stdout).unwrap();
    assert_eq!(asked.status.code(), Some(1), "{report}");
    assert!(report.contains(r#""status":"starting""#), "{report}");
    let pid = running.0.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    let ended = eventually("it stops", || running.0.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn a_health_port_that_was_named_and_is_taken_stops_it_with_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = command(port).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let line =
        "orchestrator-worker: WORKER_HEALTH_HOST and WORKER_HEALTH_PORT must name an address";
    assert!(
        said.starts_with(line) && said.lines().count() == 1,
        "{said}"
    );
}
