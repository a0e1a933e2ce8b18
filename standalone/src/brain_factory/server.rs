//! The server: built on a listener that is passed in, run until it is told to stop.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use poem::Server;
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::acceptor::NoDelayAcceptor;
use super::agents::Agents;
use super::flights::{Bounds, Flights};
use super::model::{Model, Usage};
use super::options::BrainFactoryOptions;
use super::routes;
use super::stats::{Counters, Stats};

/// Everything that the routes share.
pub(super) struct Factory {
    pub(super) agents: Arc<Agents>,
    pub(super) flights: Arc<Flights>,
    pub(super) counters: Arc<Counters>,
    pub(super) stats: Stats,
    /// The language model, if there is one.
    pub(super) model: Option<Model>,
    pub(super) simulation: bool,
    pub(super) max_body_bytes: usize,
    /// Where callers reach it, without a slash at the end.
    pub(super) url: String,
    /// The executions, which may outlive the connections that began them.
    pub(super) running: TaskTracker,
    /// Cancelled when executions must end.
    pub(super) stopped: CancellationToken,
}

impl Factory {
    /// The metadata of an answer: how it was made, and what that used.
    pub(super) fn metadata(&self, usage: &Usage) -> Map<String, Value> {
        if let Some(model) = &self.model {
            return model.metadata(usage);
        }
        Map::from_iter([("mode".to_owned(), "deterministic".into())])
    }
}

/// Why the server could not be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The listener has no address.
    #[error("the built-in Brain Factory has no address to listen on: {0}")]
    Address(#[from] io::Error),
    /// The client of the model and of tools could not be made.
    #[error("the built-in Brain Factory could not make its HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// The built-in Brain Factory.
pub struct BrainFactory {
    listener: TcpListener,
    address: SocketAddr,
    factory: Arc<Factory>,
    grace: Duration,
}

impl BrainFactory {
    /// Builds the server on `listener`; nothing is served before [`Self::run_until_stopped`].
    ///
    /// # Errors
    /// When the listener has no local address or the HTTP client cannot be made.
    pub fn build(listener: TcpListener, options: BrainFactoryOptions) -> Result<Self, BuildError> {
        let address = listener.local_addr()?;
        let url = options.advertised_url.map_or_else(
            || format!("http://{}", reachable(address)),
            |url| url.as_str().trim_end_matches('/').to_owned(),
        );
        let agents = Arc::new(Agents::new(options.simulation));
        let counters = Arc::new(Counters::new(options.simulation));
        let model = match options.llm {
            Some(settings) => Some(Model::new(settings, options.prices)?),
            None => None,
        };
        let factory = Factory {
            stats: Stats::new(Arc::clone(&counters), Arc::clone(&agents)),
            agents,
            counters,
            flights: Flights::new(Bounds::default()),
            model,
            simulation: options.simulation,
            max_body_bytes: options.max_body_bytes,
            url,
            running: TaskTracker::new(),
            stopped: CancellationToken::new(),
        };
        Ok(Self {
            listener,
            address,
            factory: Arc::new(factory),
            grace: options.shutdown_grace,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Where callers reach it, for example `http://127.0.0.1:8301`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.factory.url
    }

    /// A handle on its counters, which stays valid while it runs and afterwards.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.factory.stats.clone()
    }

    /// Serves until `shutdown`, then waits for running calls for the grace period, then ends what is left.
    ///
    /// # Errors
    /// When serving fails.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> io::Result<()> {
        let app = routes::app(Arc::clone(&self.factory));
        let served = Server::new_with_acceptor(NoDelayAcceptor(self.listener))
            .name("brain-factory")
            .run_with_graceful_shutdown(app, shutdown.cancelled_owned(), Some(self.grace))
            .await;
        self.factory.stopped.cancel();
        self.factory.running.close();
        self.factory.running.wait().await;
        served
    }
}

/// `address`, or this machine's own when it means every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    SocketAddr::new(ip, address.port())
}
