//! Accepts connections with TCP_NODELAY, which poem does not set: small answers are not held back.

use std::io;
use std::time::Duration;

use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use tokio::net::{TcpListener, TcpStream};

/// How long accepting rests after a failure (such as no free file descriptor) instead of spinning.
const REST: Duration = Duration::from_millis(50);

pub(super) struct NoDelayAcceptor(pub(super) TcpListener);

impl Acceptor for NoDelayAcceptor {
    type Io = TcpStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        let address = self.0.local_addr().ok();
        address
            .map(|address| LocalAddr(address.into()))
            .into_iter()
            .collect()
    }

    async fn accept(&mut self) -> io::Result<(TcpStream, LocalAddr, RemoteAddr, Scheme)> {
        loop {
            match self.0.accept().await {
                Ok((stream, peer)) => {
                    // A connection that is already gone refuses options; serving it ends by itself.
                    let _ = stream.set_nodelay(true);
                    let local = stream.local_addr().unwrap_or(peer);
                    return Ok((
                        stream,
                        LocalAddr(local.into()),
                        RemoteAddr(peer.into()),
                        Scheme::HTTP,
                    ));
                }
                Err(error) => {
                    tracing::warn!(%error, "brain factory could not accept a connection");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }
}
