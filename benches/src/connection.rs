//! One keep-alive HTTP/1.1 connection that carries one request at a time.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The longest that one answer may take; longer than any wait that is asked of the server.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// Whom to call, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where the API listens.
    pub address: SocketAddr,
    /// A token for its `Authorization: Bearer` header, when it wants one.
    pub token: Option<String>,
}

/// A connection to the orchestrator's API.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    authorization: Option<String>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn open(target: &Target) -> Result<Self> {
        let address = target.address;
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("nobody listens on {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        // The driver ends with the connection; what went wrong on it is told by the request that it interrupts.
        tokio::spawn(driver);
        Ok(Self {
            sender,
            host: address.to_string(),
            authorization: target.token.as_ref().map(|token| format!("Bearer {token}")),
        })
    }

    /// Sends one request and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks or the answer takes longer than 90 s.
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<(StatusCode, Bytes)> {
        self.call_with(method, path, body, &[]).await
    }

    /// The same as [`Self::call`], with headers of the caller's own.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_with(
        &mut self,
        method: Method,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Result<(StatusCode, Bytes)> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.host);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.unwrap_or_default()))?;
        let exchange = async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(request).await?;
            let status = answer.status();
            Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
        };
        match tokio::time::timeout(ANSWER_WITHIN, exchange).await {
            Ok(answer) => answer.with_context(|| format!("no answer to {path}")),
            Err(_) => bail!("no answer to {path} within {ANSWER_WITHIN:?}"),
        }
    }

    /// Sends one request whose answer must be a 200, as the platform's own clients demand.
    ///
    /// # Errors
    /// When it is not, with the beginning of what came instead.
    pub async fn call_ok(
        &mut self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Bytes> {
        let (status, bytes) = self.call(method, path, body).await?;
        if status != StatusCode::OK {
            let text: String = String::from_utf8_lossy(&bytes).chars().take(300).collect();
            bail!("{path} answered {status}: {text}");
        }
        Ok(bytes)
    }
}
