//! One attempt at a callback, on receivers that misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;
use uuid::Uuid;

use super::resolver::Screened;
use super::{CallbackClient, SigningKey, Told};
use crate::domain::{CallbackTargets, NotAllowed};

const DOCUMENT: &[u8] = br#"{"event":"task.completed"}"#;

fn key() -> SigningKey {
    SigningKey::parse("0123456789abcdefghijklmnopqrstuv").unwrap()
}

fn client(allowed: &str) -> CallbackClient {
    CallbackClient::new(key(), CallbackTargets::parse(allowed).unwrap()).unwrap()
}

async fn tell(client: &CallbackClient, url: &str) -> Told {
    let url: Url = url.parse().unwrap();
    client.tell(&url, Uuid::nil(), DOCUMENT.into()).await
}

fn failed(reason: &str) -> Told {
    Told::Failed {
        reason: reason.to_owned(),
        retry_after: None,
    }
}

/// Answers every connection on `host` with the same bytes, and counts them.
async fn receiver(host: &str, answer: String) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((host, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let request = read(&mut stream).await;
            assert!(request.ends_with(DOCUMENT));
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, asked)
}

/// Reads until the document is there.
async fn read(stream: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    while !request.ends_with(DOCUMENT) && stream.read_buf(&mut request).await.unwrap() > 0 {}
    request
}

fn answer(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n{headers}\r\n")
}

#[tokio::test]
async fn the_status_says_what_became_of_it() {
    let busy = |retry_after| Told::Failed {
        reason: "status 503".to_owned(),
        retry_after,
    };
    for (status, headers, expected) in [
        ("200 OK", "", Told::Delivered),
        ("204 No Content", "", Told::Delivered),
        ("410 Gone", "", Told::Gone),
        ("404 Not Found", "", failed("status 404")),
        ("302 Found", "location: /x\r\n", failed("status 302")),
        ("500 Oops", "retry-after: 7\r\n", failed("status 500")),
        ("503 Busy", "", busy(None)),
        (
            "503 Busy",
            "retry-after: 7\r\n",
            busy(Some(Duration::from_secs(7))),
        ),
    ] {
        let (port, _) = receiver("127.0.0.1", answer(status, headers)).await;
        let told = tell(
            &client("127.0.0.1"),
            &format!("http://127.0.0.1:{port}/?a=1"),
        )
        .await;
        assert_eq!(told, expected, "{status}");
    }
}

#[tokio::test]
async fn an_address_that_may_not_be_called_is_not_called() {
    let refused = Told::NotAllowed(NotAllowed::NotPublic);
    let (port, asked) = receiver("127.0.0.1", answer("200 OK", "")).await;
    let strict = client("192.168.77.0/24");
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let told = tell(&strict, &format!("http://{host}:{port}/")).await;
        assert_eq!(told, refused, "{host}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    // The name resolves to addresses of which only one may be called.
    let told = tell(&client("127.0.0.1"), &format!("http://localhost:{port}/")).await;
    assert_eq!(told, Told::Delivered);
}

/// Names that mean the machine itself are refused unresolved, and which others do differs from machine to machine; so
/// the text of this one is allowed, and what it resolves to is not.
#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_not_called() {
    let (port, asked) = receiver("127.0.0.1", answer("200 OK", "")).await;
    let named = Arc::new(CallbackTargets::parse("localhost").unwrap());
    let strict = Screened(Arc::default());
    let client = CallbackClient::resolving(key(), named, strict).unwrap();
    let told = tell(&client, &format!("http://localhost:{port}/")).await;
    assert_eq!(told, Told::NotAllowed(NotAllowed::NotPublic));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_redirect_is_followed_only_to_where_callbacks_may_go() {
    let (inside, asked_inside) = receiver("127.0.0.2", answer("200 OK", "")).await;
    let (allowed, asked_allowed) = receiver("127.0.0.1", answer("200 OK", "")).await;
    let client = client("127.0.0.1");
    for (status, location, expected) in [
        (
            "307 Temporary Redirect",
            format!("http://127.0.0.1:{allowed}/hook"),
            Told::Delivered,
        ),
        (
            "308 Permanent Redirect",
            format!("//127.0.0.1:{allowed}/hook"),
            Told::Delivered,
        ),
        (
            "307 Temporary Redirect",
            format!("http://127.0.0.2:{inside}/"),
            Told::NotAllowed(NotAllowed::NotPublic),
        ),
        (
            "307 Temporary Redirect",
            "http://169.254.169.254/latest/".to_owned(),
            Told::NotAllowed(NotAllowed::NotPublic),
        ),
        (
            "307 Temporary Redirect",
            format!("http://u:p@127.0.0.1:{allowed}/"),
            Told::NotAllowed(NotAllowed::Login),
        ),
        (
            "307 Temporary Redirect",
            "file:///etc/passwd".to_owned(),
            Told::NotAllowed(NotAllowed::NoAddress),
        ),
        (
            "307 Temporary Redirect",
            "/again".to_owned(),
            failed("more than 3 redirects"),
        ),
        (
            "303 See Other",
            format!("http://127.0.0.1:{allowed}/hook"),
            failed("status 303"),
        ),
    ] {
        let redirecting = answer(status, &format!("location: {location}\r\n"));
        let (port, _) = receiver("127.0.0.1", redirecting).await;
        let told = tell(&client, &format!("http://127.0.0.1:{port}/")).await;
        assert_eq!(told, expected, "{status} {location}");
    }
    assert_eq!(asked_inside.load(Ordering::Relaxed), 0);
    assert_eq!(asked_allowed.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let writing = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        // Ends when nobody reads it any more.
        let chunk = [b"1000\r\n".as_slice(), &[b'x'; 0x1000], b"\r\n"].concat();
        while stream.write_all(&chunk).await.is_ok() {}
    });
    let told = tell(&client("127.0.0.1"), &format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(told, Told::Delivered);
    writing.await.unwrap();
}

#[tokio::test]
async fn garbage_and_nobody_are_failures_that_give_nothing_away() {
    let (port, _) = receiver("127.0.0.1", "no HTTP at all, secret\r\n\r\n".to_owned()).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = nobody.local_addr().unwrap().port();
    drop(nobody);
    let client = client("127.0.0.1,there-is-no-such-host.invalid");
    for url in [
        format!("http://127.0.0.1:{port}/?token=secret"),
        format!("http://127.0.0.1:{closed}/?token=secret"),
        format!("https://127.0.0.1:{closed}/?token=secret"),
        "http://there-is-no-such-host.invalid/?token=secret".to_owned(),
    ] {
        let Told::Failed { reason, .. } = tell(&client, &url).await else {
            panic!("{url} is no receiver");
        };
        assert!(
            !reason.is_empty() && !reason.contains("secret"),
            "{url}: {reason}"
        );
    }
}
