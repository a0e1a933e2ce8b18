//! Asking a process of this machine how it is: what health checks of containers run, where there is no other client.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long connecting, sending and receiving may take, each.
const PATIENCE: Duration = Duration::from_secs(4);
/// More than any report has, in bytes.
const MAX_REPORT: u64 = 65_536;

/// What a process said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it can do its job.
    pub able: bool,
    /// Its report, in JSON.
    pub report: String,
}

/// Asks the process that listens at `host` and `port` at `/health`. A host that stands for all addresses of the machine is
/// asked at its own.
///
/// # Errors
/// When nobody answers there in HTTP within a few seconds.
pub fn ask(host: &str, port: u16) -> io::Result<Answer> {
    let host = match host {
        "0.0.0.0" => "127.0.0.1",
        "::" | "[::]" => "::1",
        named => named,
    };
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return converse(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn converse(mut stream: TcpStream) -> io::Result<Answer> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_REPORT).read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP"))
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?;
    let report = body.trim();
    Some(Answer {
        able: status == "200",
        report: report.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A process that answers once.
    fn answering(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 512];
            let read = stream.read(&mut asked).unwrap();
            assert!(asked[..read].starts_with(b"GET /health HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        port
    }

    #[test]
    fn what_a_process_says_of_itself_is_told() {
        let able = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        let expected = Answer {
            able: true,
            report: "{}".to_owned(),
        };
        assert_eq!(ask("0.0.0.0", able).unwrap(), expected);
        let unable =
            answering("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"status\":\"unhealthy\"}");
        assert!(!ask("127.0.0.1", unable).unwrap().able);
    }

    #[test]
    fn silence_and_gibberish_are_errors() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = gone.local_addr().unwrap().port();
        drop(gone);
        assert!(ask("127.0.0.1", port).is_err());
        let error = ask("127.0.0.1", answering("SSH-2.0-x\r\n")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
