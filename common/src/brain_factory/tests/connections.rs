//! What happens on the connection itself: reuse, refusal, breaks, deadlines and answers that never end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wiremock::matchers::header;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{call_with, client_of, raw};
use crate::brain_factory::transport;
use crate::brain_factory::{ExecuteError, Execution, MAX_ANSWER_BYTES, ProbeError};

const COMPLETED: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 34\r\n\r\n{\"status\":\"completed\",\"result\":42}";

/// A server that answers every request with the same bytes and counts its connections.
struct Server {
    endpoint: String,
    accepted: Arc<AtomicUsize>,
}

async fn server(answer: &'static [u8], then: Then) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/agents/a", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let accepting = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            accepting.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                while request(&mut stream).await {
                    let written = stream.write_all(answer).await;
                    if written.is_err() || then == Then::HangUp {
                        return;
                    }
                }
            });
        }
    });
    Server { endpoint, accepted }
}

/// What the server does after an answer.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    AwaitTheNext,
    HangUp,
}

/// Reads one request up to the end of its JSON body; `false` when the client has gone.
async fn request(stream: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    let mut buffer = [0; 4_096];
    while !read.ends_with(b"}") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return false,
            Ok(count) => read.extend_from_slice(&buffer[..count]),
        }
    }
    true
}

async fn executed(endpoint: &str) -> Result<Execution, ExecuteError> {
    let input = raw("{}");
    client_of("http://127.0.0.1:1")
        .execute(endpoint, &call_with(&input))
        .await
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let server = server(COMPLETED, Then::AwaitTheNext).await;
    let client = client_of("http://127.0.0.1:1");
    let input = raw("{}");
    for _ in 0..50 {
        let clone = client.clone();
        let execution = clone
            .execute(&server.endpoint, &call_with(&input))
            .await
            .unwrap();
        assert_eq!(execution.result.get(), "42");
    }
    assert_eq!(server.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refused_connection_is_unreachable_and_nothing_runs() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!(
        "http://bob:s3cret@{}/agents/a",
        listener.local_addr().unwrap()
    );
    drop(listener);
    let error = executed(&endpoint).await.unwrap_err();
    assert!(
        matches!(
            error,
            ExecuteError::Unreachable {
                may_be_running: false,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        !error.to_string().contains("s3cret") && error.to_string().contains("refused"),
        "{error}"
    );
    let probed = client_of(&endpoint).health().await.unwrap_err();
    assert!(matches!(probed, ProbeError::Unreachable(_)), "{probed:?}");
}

#[tokio::test]
async fn an_address_that_is_none_is_unreachable() {
    for endpoint in ["", "nowhere", "ftp://host/agents/a"] {
        let error = executed(endpoint).await.unwrap_err();
        assert!(
            matches!(
                error,
                ExecuteError::Unreachable {
                    may_be_running: false,
                    ..
                }
            ),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn an_agent_that_hangs_up_instead_of_answering_may_still_run_the_task() {
    let server = server(b"", Then::HangUp).await;
    let error = executed(&server.endpoint).await.unwrap_err();
    assert!(
        matches!(
            error,
            ExecuteError::Unreachable {
                may_be_running: true,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(
        server.accepted.load(Ordering::SeqCst),
        1,
        "a task is never sent twice by itself"
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_unreachable() {
    let server = server(
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"status\":\"comp",
        Then::HangUp,
    )
    .await;
    let error = executed(&server.endpoint).await.unwrap_err();
    assert!(
        matches!(
            error,
            ExecuteError::Unreachable {
                may_be_running: true,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_error_is_told_by_its_status_even_when_its_body_breaks_off() {
    let server = server(
        b"HTTP/1.1 503 Busy\r\ncontent-length: 99\r\n\r\nhalf",
        Then::HangUp,
    )
    .await;
    let error = executed(&server.endpoint).await.unwrap_err();
    assert!(
        matches!(error, ExecuteError::Unavailable { status: 503, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_answer_announced_as_too_large_is_not_read() {
    let server = server(
        b"HTTP/1.1 200 OK\r\ncontent-length: 17179869184\r\n\r\n{",
        Then::AwaitTheNext,
    )
    .await;
    let error = executed(&server.endpoint).await.unwrap_err();
    assert!(matches!(error, ExecuteError::InvalidAnswer(_)), "{error:?}");
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    const ENDLESS: &[u8; 65_536] = &[b' '; 65_536];
    // Without a length the body lasts until the connection closes, and this server would write 64 GiB.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/agents/a", listener.local_addr().unwrap());
    let writing = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut written = 0;
        while written < 64 * 1024 * MAX_ANSWER_BYTES && stream.write_all(ENDLESS).await.is_ok() {
            written += ENDLESS.len();
        }
        written
    });
    let error = executed(&endpoint).await.unwrap_err();
    assert!(matches!(error, ExecuteError::InvalidAnswer(_)), "{error:?}");
    // What the sockets hold between the two comes on top of what was read.
    assert!(writing.await.unwrap() < 4 * MAX_ANSWER_BYTES);
}

#[tokio::test]
async fn a_login_in_an_address_goes_into_a_header() {
    let agent = MockServer::start().await;
    let basic = "Basic Ym9iOnAvdzpA";
    Mock::given(header("authorization", basic))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!({"status": {"state": "ready"}})),
        )
        .expect(1)
        .mount(&agent)
        .await;
    let endpoint = agent.uri().replace("http://", "http://bob:p%2Fw%3A%40@");
    let health = client_of("http://127.0.0.1:1")
        .status(&endpoint)
        .await
        .unwrap();
    assert_eq!(health.state, "ready");
}

#[tokio::test]
async fn a_silent_agent_times_out_and_may_still_run_the_task() {
    let server = server(b"", Then::AwaitTheNext).await;
    let request = transport::request(Method::POST, &server.endpoint, "/execute");
    let Ok(request) = request else {
        panic!("the address is refused");
    };
    let client = transport::http_client().unwrap();
    let Err(broken) = transport::call(&client, request, Duration::from_secs(1)).await else {
        panic!("a silent agent has answered");
    };
    let expected = ExecuteError::TimedOut {
        message: "the agent did not answer within 1 seconds".to_owned(),
        may_be_running: true,
    };
    assert_eq!(ExecuteError::from(broken), expected);
}
