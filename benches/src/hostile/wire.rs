//! Bytes over a socket, and the answers to them as far as they matter: their statuses.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// How long an answer may take; an overloaded orchestrator is to say so before that.
const ANSWER_WITHIN: Duration = Duration::from_secs(100);
/// The most that is read of one answer.
const MAX_ANSWER: usize = 1_048_576;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Answers with these statuses, at least one.
    Answered(Vec<u16>),
    /// The connection was closed without an answer.
    Closed,
    /// Nothing within the time.
    Silence,
}

impl Fate {
    /// Whether this is how hostile bytes are to be treated.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Answered(statuses) => statuses.iter().all(|status| (400..500).contains(status)),
            Self::Closed => true,
            Self::Silence => false,
        }
    }

    /// For counting.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Answered(statuses) => statuses
                .iter()
                .map(u16::to_string)
                .collect::<Vec<_>>()
                .join("+"),
            Self::Closed => "closed".to_owned(),
            Self::Silence => "silence".to_owned(),
        }
    }
}

/// A caller who uses a connection for as long as it is left open.
#[derive(Debug)]
pub struct Caller {
    address: SocketAddr,
    /// Loopback has many addresses, each with ports of its own: closed connections occupy theirs for a minute.
    from: Ipv4Addr,
    open: Option<TcpStream>,
}

impl Caller {
    /// The caller number `number` of the API at `address`.
    #[must_use]
    pub fn new(address: SocketAddr, number: u8) -> Self {
        Self {
            address,
            from: Ipv4Addr::new(127, 0, 1, number.max(1)),
            open: None,
        }
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::V4(SocketAddrV4::new(self.from, 0)))?;
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Sends bytes on a connection of their own, says that there is no more, and reads to the end.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn send_alone(&self, bytes: &[u8]) -> std::io::Result<Fate> {
        let mut stream = self.connect().await?;
        // It may be closed before all is written.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let mut limited = (&mut stream).take(MAX_ANSWER as u64);
        // A reset after the answer loses nothing of what was read before.
        let read = timeout(ANSWER_WITHIN, limited.read_to_end(&mut answer)).await;
        Ok(match (statuses(&answer), read) {
            (statuses, _) if !statuses.is_empty() => Fate::Answered(statuses),
            (_, Ok(_)) => Fate::Closed,
            (_, Err(_)) => Fate::Silence,
        })
    }

    /// Sends one whole request and reads the answer; keeps the connection when it is left open.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn send(&mut self, bytes: &[u8]) -> std::io::Result<Fate> {
        let mut stream = match self.open.take() {
            Some(open) => open,
            None => self.connect().await?,
        };
        if stream.write_all(bytes).await.is_err() {
            // It was closed since the last answer, or before all was written.
            return self.send_alone(bytes).await;
        }
        match timeout(ANSWER_WITHIN, answer(&mut stream)).await {
            Err(_) => Ok(Fate::Silence),
            Ok(None) => Ok(Fate::Closed),
            Ok(Some((status, stays))) => {
                self.open = stays.then_some(stream);
                Ok(Fate::Answered(vec![status]))
            }
        }
    }
}

/// The status of the answer, and whether the connection stays open; `None` when it was closed before.
async fn answer(stream: &mut TcpStream) -> Option<(u16, bool)> {
    let mut bytes = Vec::with_capacity(1_024);
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if bytes.len() > MAX_ANSWER || stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let status = *statuses(&bytes).first()?;
    let header = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start_matches(':').trim().to_owned())
    };
    let Some(length) = header("content-length").and_then(|length| length.parse::<usize>().ok())
    else {
        return Some((status, status == 204));
    };
    while bytes.len() < head + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return Some((status, false));
        }
    }
    let closes = header("connection").is_some_and(|said| said == "close");
    Some((status, !closes))
}

/// The statuses of all answers in what came.
fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.match_indices("HTTP/1.");
    let status = |(at, _): (usize, &str)| {
        let digits = text.get(at + 9..at + 12)?;
        // A body may speak of HTTP, too, but not at the beginning of a line of an answer's head.
        let begins = at == 0 || text.as_bytes().get(at - 1) != Some(&b' ');
        digits.parse().ok().filter(|_| begins)
    };
    lines.filter_map(status).collect()
}

/// Dribbles a head, a byte a second, until the connection is closed or `patience` is over; returns after how long it was
/// closed.
///
/// # Errors
/// When nobody listens.
pub async fn dribble(
    address: SocketAddr,
    number: u8,
    patience: Duration,
) -> std::io::Result<Option<Duration>> {
    let mut stream = Caller::new(address, number).connect().await?;
    let begun = std::time::Instant::now();
    let head = format!("GET / HTTP/1.1\r\nX-Slow: {}", "s".repeat(4_096));
    let mut buffer = [0; 512];
    for byte in head.as_bytes() {
        if begun.elapsed() > patience {
            break;
        }
        if stream.write_all(&[*byte]).await.is_err() {
            return Ok(Some(begun.elapsed()));
        }
        let read = timeout(Duration::from_secs(1), stream.read(&mut buffer)).await;
        if matches!(read, Ok(Ok(0) | Err(_))) {
            return Ok(Some(begun.elapsed()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_a_connection_is_seen_and_no_other() {
        let bytes = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 13\r\n\r\nsee HTTP/1.1 HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(statuses(bytes), [401]);
        let bytes =
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(statuses(bytes), [400, 200]);
        assert!(!Fate::Answered(vec![400, 200]).is_refusal());
        assert!(Fate::Answered(vec![404]).is_refusal() && Fate::Closed.is_refusal());
    }
}
