//! The server on a real socket, against callers who are slow, loud, or in the middle of something.

use std::io;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::Limits;
use crate::testing::{Fate, TestApi, impatient};

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
}

impl Running {
    async fn start(api: &TestApi, grace: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(serve(listener, api.edge.clone(), grace, shutdown.clone()));
        Self {
            address,
            shutdown,
            served,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

const LIVE: &[u8] = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n";

/// Reads until `end` has come, or the connection has ended.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(end) {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            break;
        }
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    text
}

async fn assert_closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let closing = stream.read_to_end(&mut rest);
    tokio::time::timeout(Duration::from_secs(10), closing)
        .await
        .expect("the connection stayed open")
        .unwrap_or_default();
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let api = TestApi::new().await;
    let server = Running::start(&api, Duration::ZERO).await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(LIVE).await.unwrap();
        let answer = read_until(&mut stream, "alive").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
}

#[tokio::test]
async fn a_caller_who_never_finishes_the_head_is_dropped() {
    let api = TestApi::with(&[], impatient(), vec![]).await;
    let server = Running::start(&api, Duration::ZERO).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /health/live HTTP/1.1\r\nhos")
        .await
        .unwrap();
    assert_closed(stream).await;
    assert_closed(server.connect().await).await;
}

#[tokio::test]
async fn an_oversized_head_is_refused() {
    let api = TestApi::new().await;
    let server = Running::start(&api, Duration::ZERO).await;
    let mut stream = server.connect().await;
    let head = format!(
        "GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
        "x".repeat(40_000)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn what_is_in_flight_is_finished_and_nothing_new_is_taken() {
    let api = TestApi::new().await;
    let server = Running::start(&api, Duration::from_secs(60)).await;
    let idle = server.connect().await;
    let mut busy = server.connect().await;
    let body = json!({"agent_id": "a", "task_type": "t", "task_data": {}}).to_string();
    let head = format!(
        "POST /orchestrator/execute-task HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body only from within the handler: the request is in flight.
    assert!(
        read_until(&mut busy, "\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 100")
    );

    server.shutdown.cancel();
    assert_closed(idle).await;
    let mut refused = false;
    for _ in 0..1_000 {
        if TcpStream::connect(server.address).await.is_err() {
            refused = true;
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(refused, "connections are still taken");

    busy.write_all(body.as_bytes()).await.unwrap();
    let answer = read_until(&mut busy, "task_status_endpoint").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    server.served.await.unwrap();
}

#[tokio::test]
async fn what_does_not_finish_within_the_grace_is_dropped() {
    let api = TestApi::new().await.fate(Fate::Stuck);
    let server = Running::start(&api, Duration::from_millis(50)).await;
    let mut stuck = server.connect().await;
    let body = json!({"agent_id": "a", "task_type": "t", "task_data": {}}).to_string();
    let request = format!(
        "POST /orchestrator/execute-task HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stuck.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stuck, "\r\n\r\n").await;
    stuck.write_all(body.as_bytes()).await.unwrap();
    server.shutdown.cancel();
    server.served.await.unwrap();
    assert_closed(stuck).await;
}

#[tokio::test]
async fn connections_over_the_limit_wait_their_turn() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let api = TestApi::with(&[], limits, vec![]).await;
    let server = Running::start(&api, Duration::ZERO).await;
    let mut first = server.connect().await;
    first.write_all(LIVE).await.unwrap();
    read_until(&mut first, "alive").await;
    let mut second = server.connect().await;
    second.write_all(LIVE).await.unwrap();
    drop(first);
    let answer = read_until(&mut second, "alive").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn a_peer_who_does_not_read_is_given_up() {
    let (ours, theirs) = tokio::io::duplex(16);
    let mut writer = WriteDeadline::new(ours, Duration::from_millis(50));
    let error = writer.write_all(&[0; 1_000]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop(theirs);
}

#[tokio::test]
async fn a_peer_who_reads_slowly_is_not_given_up() {
    let (ours, mut theirs) = tokio::io::duplex(16);
    let mut writer = WriteDeadline::new(ours, Duration::from_secs(5));
    let reading = tokio::spawn(async move {
        let mut got = vec![0; 1_000];
        theirs.read_exact(&mut got).await
    });
    writer.write_all(&[0; 1_000]).await.unwrap();
    assert_eq!(reading.await.unwrap().unwrap(), 1_000);
}
