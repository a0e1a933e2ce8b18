//! A network that fails on demand: forwards TCP connections, and can cut, refuse, or silently hold them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the network does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weather {
    /// Connections made before the latest cut are dead.
    cuts: u64,
    /// New connections are closed at once.
    refusing: bool,
    /// Nothing reaches the server.
    requests_held: bool,
    /// Nothing comes back from the server.
    answers_held: bool,
    /// Connections that were made before are silent in both directions.
    established_held: bool,
}

/// A proxy in front of one server; it ends when dropped.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    connections: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl TcpProxy {
    /// Listens on a free port in front of the PostgreSQL server of `url`, which leads there then.
    ///
    /// # Errors
    /// When `url` names no server, or no port can be bound.
    pub async fn in_front_of_postgres(url: &mut Url) -> anyhow::Result<Self> {
        let host = url.host_str().context("an address without a host")?;
        let proxy = Self::in_front_of(&format!("{host}:{}", url.port().unwrap_or(5432))).await?;
        url.set_ip_host(proxy.address.ip())
            .and_then(|()| url.set_port(Some(proxy.address.port())))
            .map_err(|()| anyhow::anyhow!("an address that cannot lead elsewhere"))?;
        Ok(proxy)
    }

    /// Listens on a free port and forwards to `server`, for example `127.0.0.1:5672`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn in_front_of(server: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (weather, _) = watch::channel(Weather::default());
        let connections = Arc::default();
        let accepting = accept(
            listener,
            server.to_owned(),
            weather.clone(),
            Arc::clone(&connections),
        );
        let accepting = tokio::spawn(accepting);
        Ok(Self {
            address,
            weather,
            connections,
            accepting,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often somebody has connected, refused or not.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Breaks every connection that there is; new ones are accepted.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// Breaks every connection and accepts no more until [`Self::restore`].
    pub fn take_down(&self) {
        self.weather.send_modify(|weather| {
            weather.cuts += 1;
            weather.refusing = true;
        });
    }

    /// Holds everything in both directions, as a network does whose cable was pulled.
    pub fn pause(&self) {
        self.weather.send_modify(|weather| {
            weather.requests_held = true;
            weather.answers_held = true;
        });
    }

    /// Holds what the server answers; requests still reach it.
    pub fn hold_answers(&self) {
        self.weather
            .send_modify(|weather| weather.answers_held = true);
    }

    /// Silences every connection that there is; new ones work.
    pub fn hold_established(&self) {
        self.weather
            .send_modify(|weather| weather.established_held = true);
    }

    /// Good weather again; what was held flows on.
    pub fn restore(&self) {
        self.weather.send_modify(|weather| {
            *weather = Weather {
                cuts: weather.cuts,
                ..Weather::default()
            };
        });
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(
    listener: TcpListener,
    server: String,
    weather: watch::Sender<Weather>,
    connections: Arc<AtomicU64>,
) {
    while let Ok((client, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::Relaxed);
        if weather.borrow().refusing {
            continue;
        }
        let watched = weather.subscribe();
        let server = server.clone();
        tokio::spawn(async move {
            if let Ok(server) = TcpStream::connect(&server).await {
                forward(client, server, watched).await;
            }
        });
    }
}

async fn forward(client: TcpStream, server: TcpStream, mut weather: watch::Receiver<Weather>) {
    let (cuts, is_newer) = {
        let weather = weather.borrow();
        (weather.cuts, weather.established_held)
    };
    let _nodelay = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let held = move |weather: &Weather| weather.established_held && !is_newer;
    let requests = pump(from_client, to_server, weather.clone(), |weather| {
        weather.requests_held || held(weather)
    });
    let answers = pump(from_server, to_client, weather.clone(), |weather| {
        weather.answers_held || held(weather)
    });
    tokio::select! {
        () = requests => {}
        () = answers => {}
        _ = weather.wait_for(|weather| weather.cuts != cuts) => {}
    }
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut weather: watch::Receiver<Weather>,
    held: impl Fn(&Weather) -> bool,
) {
    let mut buffer = vec![0; 16_384];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 || weather.wait_for(|weather| !held(weather)).await.is_err() {
            return;
        }
        if to
            .write_all(buffer.get(..read).unwrap_or_default())
            .await
            .is_err()
        {
            return;
        }
    }
}
