//! A receiver of callbacks: checks each signature by the specification, not with our code, and answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A `WEBHOOK_SECRET`: the key below in base64.
pub const SECRET: &str = "whsec_Y2FsbGJhY2tzIGFyZSBzaWduZWQgd2l0aCB0aGlzIGtleQ==";
const KEY: &[u8] = b"callbacks are signed with this key";

/// What a receiver answers.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// With this status, and these header lines, each ending with CRLF.
    Answers(u16, String),
    /// Not at all, and keeps the connection.
    Hangs,
}

impl Behaviour {
    /// It has the callback.
    #[must_use]
    pub fn accepts() -> Self {
        Self::status(204)
    }

    /// Answers with a status and nothing else.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Answers(status, String::new())
    }
}

/// A callback that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Where it was posted to.
    pub path: String,
    /// `webhook-id`.
    pub id: String,
    /// The document.
    pub document: Value,
    /// The same, byte for byte.
    pub bytes: Vec<u8>,
}

/// A receiver; it goes away when dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    behaviour: Behaviour,
    received: Vec<Received>,
    wrong: Vec<String>,
}

impl Receiver {
    /// Starts one on 127.0.0.1.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(behaviour: Behaviour) -> std::io::Result<Self> {
        Self::start_at("127.0.0.1", behaviour).await
    }

    /// Starts one on an address of this machine.
    ///
    /// # Errors
    /// When no port is free there.
    pub async fn start_at(host: &str, behaviour: Behaviour) -> std::io::Result<Self> {
        let listener = TcpListener::bind((host, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            behaviour,
            received: Vec::new(),
            wrong: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(serve(caller, Arc::clone(&shared)));
            }
        });
        Ok(Self {
            address,
            state,
            accepting,
        })
    }

    /// Its address, with a path that begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Answers otherwise from now on.
    pub fn set(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
    }

    /// Every callback so far, whatever the answer was.
    ///
    /// # Panics
    /// When one of them was not signed as it must be.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        let state = self.state();
        assert!(state.wrong.is_empty(), "{:?}", state.wrong);
        state.received.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut caller: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    loop {
        let (head, body) = read(&mut caller).await?;
        let behaviour = {
            let mut state = lock(&state);
            match verified(&head, &body) {
                Ok(received) => state.received.push(received),
                Err(wrong) => state.wrong.push(wrong),
            }
            state.behaviour.clone()
        };
        match behaviour {
            Behaviour::Answers(status, headers) => {
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n{headers}\r\n");
                caller.write_all(answer.as_bytes()).await.ok()?;
            }
            Behaviour::Hangs => {
                // Until the caller has gone.
                caller.read_buf(&mut Vec::new()).await.ok()?;
                return None;
            }
        }
    }
}

/// Head and body of the next request; `None` when the caller has gone.
async fn read(caller: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if caller.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = header(&head, "content-length")?.parse().ok()?;
        let body = &bytes[end + 4..];
        if body.len() >= length {
            return Some((head, body[..length].to_vec()));
        }
    }
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case(wanted).then_some(value)
    })
}

/// The callback, when it is signed as the specification says.
fn verified(head: &str, body: &[u8]) -> Result<Received, String> {
    let wrong = |what: &str| format!("{what}: {head}");
    let named = |name: &str| header(head, name).ok_or_else(|| wrong(name));
    if named("content-type")? != "application/json" {
        return Err(wrong("no JSON"));
    }
    let (id, timestamp) = (named("webhook-id")?, named("webhook-timestamp")?);
    let sent_at: u64 = timestamp.parse().map_err(|_| wrong("no time"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(|_| wrong("no clock"))?;
    if now.abs_diff(Duration::from_secs(sent_at)) > Duration::from_secs(60) {
        return Err(wrong("an old one"));
    }
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let expected = format!("v1,{}", base64(&hmac_sha256(KEY, &signed)));
    if named("webhook-signature")? != expected {
        return Err(wrong("a signature that is not ours"));
    }
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(Received {
        path,
        id: id.to_owned(),
        document: serde_json::from_slice(body).map_err(|_| wrong("no JSON"))?,
        bytes: body.to_vec(),
    })
}

/// RFC 2104 by hand, for keys of up to a block.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        block
            .iter_mut()
            .zip(key)
            .for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::digest([&padded(0x36)[..], message].concat());
    Sha256::digest([&padded(0x5c)[..], &inner[..]].concat()).into()
}

/// RFC 4648 by hand.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let mut bits = [0; 3];
        bits[..group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes([0, bits[0], bits[1], bits[2]]);
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) & 0x3f;
            let used = place <= group.len();
            text.push(if used {
                DIGITS[digit as usize].into()
            } else {
                '='
            });
        }
    }
    text
}
