//! Sockets: accepts connections, speaks HTTP/1.1 on them within bounds, and stops gracefully.
//!
//! The framework's own server sets neither `TCP_NODELAY` nor a limit on how slowly a request head may arrive.

mod write_deadline;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::Addr;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::edge::Edge;
use write_deadline::WriteDeadline;

/// How long to wait after a failed accept: it fails when descriptors run out, and those come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then finishes what is in flight within `grace`.
pub(crate) async fn serve(
    listener: TcpListener,
    edge: Arc<Edge>,
    grace: Duration,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    let given_up = CancellationToken::new();
    let places = Arc::new(Semaphore::new(edge.limits.connections));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, caller, place) = accepted;
        let (edge, shutdown, given_up) = (edge.clone(), shutdown.clone(), given_up.clone());
        connections.spawn(async move {
            tokio::select! {
                () = given_up.cancelled() => {}
                () = converse(stream, caller, edge, shutdown) => {}
            }
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(grace, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "dropping connections that did not finish in time"
        );
        given_up.cancel();
        connections.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (
    TcpStream,
    SocketAddr,
    Option<tokio::sync::OwnedSemaphorePermit>,
) {
    // The semaphore is never closed, so that there is always a permit in the end.
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, caller)) => return (stream, caller, place),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, from its first request to its last.
async fn converse(
    stream: TcpStream,
    caller: SocketAddr,
    edge: Arc<Edge>,
    shutdown: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection broke before its first request");
        return;
    }
    let limits = edge.limits;
    let here = stream.local_addr().unwrap_or(caller);
    let addresses = (
        LocalAddr(Addr::SocketAddr(here)),
        RemoteAddr(Addr::SocketAddr(caller)),
    );
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let edge = edge.clone();
        let (here, caller) = addresses.clone();
        // In a box of its own: else each connection would keep room for it while it is idle or an answer is streamed.
        Box::pin(async move {
            let request = (request, here, caller, Scheme::HTTP).into();
            let response: hyper::Response<_> = edge.answer(request).await.into();
            Ok::<_, Infallible>(response)
        })
    });
    let socket = TokioIo::new(WriteDeadline::new(stream, limits.write_time));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_header_size(limits.head_bytes)
        .serve_connection(socket, service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %caller, "a connection ended early");
    }
}

#[cfg(test)]
mod tests;
