//! The API put together: a context and a listener in, a running server out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use orchestrator_common::commands::CommandSink;
use orchestrator_common::config::Settings;
use orchestrator_common::ledger::Ledger;
use orchestrator_common::metrics::Metrics;
use orchestrator_common::waiting::WaitingReaders;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::agent_catalogue::AgentCatalogue;
use crate::agent_directory::AgentDirectory;
use crate::auth::Authenticator;
use crate::edge::{Edge, RateLimiter};
use crate::health::{Dependency, HealthBoard};
use crate::refusal_log::{RefusalLog, Unwritten};
use crate::service::Service;
use crate::task_reader::{BesideLedger, TaskReader};
use crate::task_waiting::look_after;
use crate::{routes, server};

/// Everything that the API needs.
#[derive(Clone, Debug)]
pub struct ApiContext {
    /// Where agents and tasks are read, and agents are written.
    pub ledger: Ledger,
    /// Where commands go.
    pub commands: Arc<dyn CommandSink>,
    /// The settings of the process.
    pub settings: Arc<Settings>,
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
    /// What `/health` asks; the ledger is the least.
    pub dependencies: Vec<Dependency>,
    /// Readers who wait for tasks; whoever hears of news wakes them.
    pub readers: WaitingReaders,
    /// What bounds requests and connections.
    pub limits: Limits,
}

/// What bounds requests and connections, so that neither slow nor many callers can exhaust the process.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections; further ones wait in the listen queue.
    pub connections: usize,
    /// Requests being handled at once; further ones are answered 503. Health probes do not count.
    pub concurrent_requests: usize,
    /// Readers who wait for a task at once, beside the requests being handled; further ones are answered 503.
    pub waiting_readers: usize,
    /// How long a connection may stay without a complete request head: idle between requests, or sending it slowly.
    pub head_time: Duration,
    /// How long a request body may take to arrive (408).
    pub body_time: Duration,
    /// How long a handler may take until its answer begins (503), beside the time that its caller asked it to wait.
    pub request_time: Duration,
    /// How long a caller may leave an answer unread before the connection is dropped.
    pub write_time: Duration,
    /// The longest address, in bytes: path and query (414).
    pub uri_bytes: usize,
    /// The most headers (431).
    pub headers: usize,
    /// The largest headers, in bytes: names and values together (431).
    pub header_bytes: usize,
    /// The largest request head at all, in bytes; beyond it the connection ends with a bare 431.
    pub head_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            concurrent_requests: 8_192,
            waiting_readers: 8_192,
            head_time: Duration::from_secs(75),
            body_time: Duration::from_secs(20),
            request_time: Duration::from_secs(30),
            write_time: Duration::from_secs(30),
            uri_bytes: 8 * 1024,
            headers: 64,
            header_bytes: 16 * 1024,
            head_bytes: 32 * 1024,
        }
    }
}

/// The API, bound to its address and not yet serving.
pub struct Application {
    edge: Arc<Edge>,
    listener: TcpListener,
    address: SocketAddr,
    grace: Duration,
    ledger: Ledger,
    readers: WaitingReaders,
    unwritten: Unwritten,
}

impl std::fmt::Debug for Application {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Application")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Application {
    /// Puts the API together behind `listener`.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn build(context: ApiContext, listener: TcpListener) -> io::Result<Self> {
        Self::build_reading(context, None, listener)
    }

    /// As [`Self::build`], reading tasks also from `beside`.
    pub(crate) fn build_reading(
        context: ApiContext,
        beside: Option<BesideLedger>,
        listener: TcpListener,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let grace = context.settings.shutdown_grace;
        let (ledger, readers) = (context.ledger.clone(), context.readers.clone());
        let (edge, unwritten) = edge(context, beside);
        Ok(Self {
            edge: Arc::new(edge),
            unwritten,
            listener,
            address,
            grace,
            ledger,
            readers,
        })
    }

    /// The address that it listens on.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is cancelled; then takes no further connection, lets waiting readers go, finishes the requests in flight, and
    /// after the settings' `shutdown_grace` drops those that are left.
    ///
    /// # Errors
    /// None at present: accepting is tried again for as long as it fails.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> io::Result<()> {
        let readers = self.readers;
        let metrics = Arc::clone(&self.edge.metrics);
        let writing = self
            .unwritten
            .write(self.ledger.clone(), metrics, shutdown.clone());
        let looking = look_after(readers.clone(), self.ledger, shutdown.clone());
        let closing = async {
            shutdown.cancelled().await;
            readers.close();
        };
        let serving = server::serve(self.listener, self.edge, self.grace, shutdown.clone());
        tokio::join!(serving, looking, writing, closing);
        Ok(())
    }
}

/// Everything behind the sockets.
pub(crate) fn edge(context: ApiContext, beside: Option<BesideLedger>) -> (Edge, Unwritten) {
    let ApiContext {
        ledger,
        commands,
        settings,
        metrics,
        dependencies,
        readers,
        limits,
    } = context;
    let waiting = Arc::new(Semaphore::new(limits.waiting_readers));
    let authenticator = Authenticator::new(&settings.auth);
    let service = Arc::new(Service {
        agents: AgentDirectory::new(ledger.clone(), settings.agents.max_queue_depth),
        catalogue: AgentCatalogue::new(ledger.clone(), settings.agents.max_concurrent_sessions),
        health: HealthBoard::new(dependencies, authenticator.key_set().cloned()),
        tasks: TaskReader::new(ledger.clone(), beside),
        ledger,
        commands,
        settings: settings.clone(),
        metrics: metrics.clone(),
        readers,
        waiting: waiting.clone(),
    });
    let (api, routes) = routes::assemble(&service);
    let (refusals, unwritten) = RefusalLog::new();
    let edge = Edge {
        api,
        routes,
        authenticator,
        metrics,
        limits,
        places: Semaphore::new(limits.concurrent_requests),
        waiting,
        max_body_bytes: settings.http.max_body_bytes,
        rate_limiter: settings.http.rate_limit.map(RateLimiter::new),
        allowed_origins: settings.http.allowed_origins.clone(),
        refusals,
    };
    (edge, unwritten)
}
