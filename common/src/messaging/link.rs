//! Connections to the broker: how they are made, given up, made again, and proved to work.

use std::fmt;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use deadpool_lapin::{Config, Object, Pool, PoolConfig, PoolError, Runtime, Timeouts};
use lapin::options::QueueDeclareOptions;
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::time::timeout;
use url::Url;

use super::topology::{Source, Topology};
use crate::config::{ConfigError, RabbitMqSettings, Secret};

/// How long the TCP connection and the AMQP handshake may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a probe waits for the broker's answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long saying good-bye may take before the connection is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Seconds between heartbeats; a peer that is silent for two of them is gone.
const HEARTBEAT_SECONDS: u32 = 10;
/// The first and the longest pause between two attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A connection that held this long ended the trouble: the next pause is short again.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// Why there is no connection, or why it is not usable.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No connection could be made.
    #[error("the broker cannot be reached: {0}")]
    Unreachable(String),
    /// The broker refused something, or the connection broke.
    #[error("the broker refused or hung up: {0}")]
    Broken(#[from] lapin::Error),
    /// The broker did not answer in time.
    #[error("the broker did not answer within {0:?}")]
    Silent(Duration),
}

/// Makes connections for one purpose; publishing and consuming have one each, since an alarm of the broker stops
/// everything on a connection that publishes, acknowledgements included.
pub struct Broker {
    pool: Pool,
    purpose: &'static str,
    /// For a server that only authorities of our own vouch for: the pool's connections trust the system's alone.
    trusting: Option<Trusting>,
}

/// How to connect with authorities of our own.
struct Trusting {
    address: Secret,
    authorities: String,
}

impl Broker {
    /// Prepares for connecting; nothing is connected yet.
    ///
    /// # Errors
    /// When host, login or virtual host cannot be part of an address. Must be called within a Tokio runtime.
    pub fn new(settings: &RabbitMqSettings, purpose: &'static str) -> Result<Self, ConfigError> {
        let address = address(settings)?;
        let authorities = settings
            .tls
            .as_ref()
            .and_then(|tls| tls.authorities.clone());
        let trusting = authorities.map(|authorities| Trusting {
            address: Secret::new(address.clone()),
            authorities,
        });
        let config = Config {
            url: Some(address),
            pool: Some(PoolConfig {
                max_size: 2,
                timeouts: Timeouts {
                    wait: Some(CONNECT_TIMEOUT),
                    create: Some(CONNECT_TIMEOUT),
                    recycle: Some(CONNECT_TIMEOUT),
                },
                ..PoolConfig::default()
            }),
        };
        let pool = config
            .create_pool(move || named(purpose), Runtime::Tokio1)
            .map_err(|_| ConfigError::new("RABBITMQ_HOST", "must name a broker"))?;
        Ok(Self {
            pool,
            purpose,
            trusting,
        })
    }

    /// Connects and declares the topology.
    pub(super) async fn connect(&self, topology: &Topology) -> Result<Link, LinkError> {
        let connection = match &self.trusting {
            Some(trusting) => prompt(trusting.connect(self.purpose)).await?,
            None => self.connect_from_pool().await?,
        };
        let link = Link { connection };
        let declared = prompt(async {
            let channel = link.channel().await?;
            topology.declare(&channel).await?;
            channel.close(200, "declared".into()).await
        });
        match declared.await {
            Ok(()) => Ok(link),
            Err(error) => {
                link.give_up().await;
                Err(error)
            }
        }
    }

    /// Proves that the broker answers, over a connection made for it and given up afterwards.
    ///
    /// # Errors
    /// When it does not, within some seconds.
    pub async fn probe(&self, topology: &Topology) -> Result<Duration, LinkError> {
        let link = self.connect(topology).await?;
        let answer = link.probe(topology.queue(Source::Tasks)).await;
        link.give_up().await;
        answer
    }

    async fn connect_from_pool(&self) -> Result<Connection, LinkError> {
        let connection = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => LinkError::Broken(error),
            PoolError::Timeout(_) => LinkError::Silent(CONNECT_TIMEOUT),
            PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                LinkError::Unreachable(error.to_string())
            }
        })?;
        // Out of the pool for good: it would hand out again what is silent and not yet known to be closed.
        Ok(Object::take(connection))
    }

    /// Connects, however often it takes.
    pub(super) async fn connect_at_last(&self, topology: &Topology, pauses: &mut Pauses) -> Link {
        loop {
            pauses.pause().await;
            match self.connect(topology).await {
                Ok(link) => {
                    tracing::info!(purpose = self.purpose, "connected to the broker");
                    pauses.connected();
                    return link;
                }
                Err(error) => {
                    tracing::warn!(purpose = self.purpose, %error, "no connection to the broker");
                }
            }
        }
    }
}

impl Trusting {
    async fn connect(&self, purpose: &str) -> lapin::Result<Connection> {
        let tls = OwnedTLSConfig {
            identity: None,
            cert_chain: Some(self.authorities.clone()),
        };
        let runtime = lapin::runtime::default_runtime()?;
        Connection::connect_with_config(self.address.expose(), named(purpose), tls, runtime).await
    }
}

fn named(purpose: &str) -> ConnectionProperties {
    let name = format!("agent-orchestrator {purpose}");
    ConnectionProperties::default().with_connection_name(name.as_str().into())
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The pool would show the address, and with it the password.
        f.debug_struct("Broker")
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

/// Bounds what only waits for an answer of the broker: a connection can be silent long before it is known to be dead.
pub(super) async fn prompt<T>(
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, LinkError> {
    match timeout(CONNECT_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(LinkError::Broken),
        Err(_) => Err(LinkError::Silent(CONNECT_TIMEOUT)),
    }
}

/// One connection, with the topology declared. Dropping it closes it.
pub(super) struct Link {
    connection: Connection,
}

impl Link {
    /// A new channel.
    pub(super) async fn channel(&self) -> lapin::Result<Channel> {
        self.connection.create_channel().await
    }

    /// Whether the connection is open, as far as is known without asking.
    pub(super) fn is_up(&self) -> bool {
        self.connection.status().connected()
    }

    /// Whether the broker takes no publishes because it runs out of memory or disk.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Returns when the connection is gone.
    pub(super) async fn wait_down(&self) {
        while self.is_up() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks the broker about a queue and returns how long the answer took.
    pub(super) async fn probe(&self, queue: &ShortString) -> Result<Duration, LinkError> {
        let asked = Instant::now();
        let passive = QueueDeclareOptions::durable().passive();
        let answer = timeout(PROBE_TIMEOUT, async {
            let channel = self.channel().await?;
            channel
                .queue_declare(queue.clone(), passive, FieldTable::default())
                .await?;
            channel.close(200, "probed".into()).await
        });
        match answer.await {
            Ok(answer) => answer.map(|()| asked.elapsed()).map_err(LinkError::Broken),
            Err(_) => Err(LinkError::Silent(PROBE_TIMEOUT)),
        }
    }

    /// Closes the connection, within a bound.
    pub(super) async fn give_up(&self) {
        let closed = self.connection.close(200, "done".into());
        if timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::debug!("the broker did not say good-bye in time");
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("up", &self.is_up()).finish()
    }
}

/// The growing, jittered pauses between attempts to connect: none before the first.
pub(super) struct Pauses {
    backoff: ExponentialBackoff,
    first: bool,
    connected_at: Option<Instant>,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self {
            backoff: growing(),
            first: true,
            connected_at: None,
        }
    }

    async fn pause(&mut self) {
        // A connection that broke soon after it was made counts as one more failure.
        if self
            .connected_at
            .take()
            .is_some_and(|at| at.elapsed() > STEADY_AFTER)
        {
            self.backoff = growing();
        }
        if !std::mem::take(&mut self.first) {
            tokio::time::sleep(self.backoff.next().unwrap_or(PAUSES.1)).await;
        }
    }

    fn connected(&mut self) {
        self.connected_at = Some(Instant::now());
    }
}

fn growing() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(PAUSES.0)
        .with_max_delay(PAUSES.1)
        .without_max_times()
        .with_jitter()
        .build()
}

fn address(settings: &RabbitMqSettings) -> Result<String, ConfigError> {
    let host = &settings.host;
    let scheme = if settings.tls.is_some() {
        "amqps"
    } else {
        "amqp"
    };
    let bad_host = || ConfigError::new("RABBITMQ_HOST", "must be a host name");
    let mut url =
        Url::parse(&format!("{scheme}://{host}:{}", settings.port)).map_err(|_| bad_host())?;
    url.set_username(&settings.user)
        .and_then(|()| url.set_password(Some(settings.password.expose())))
        .map_err(|()| bad_host())?;
    url.path_segments_mut()
        .map_err(|()| bad_host())?
        .push(&settings.vhost);
    url.query_pairs_mut()
        .append_pair("heartbeat", &HEARTBEAT_SECONDS.to_string());
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn login_and_virtual_host_may_hold_any_character() {
        let settings = RabbitMqSettings {
            host: "broker".to_owned(),
            port: 5672,
            user: "us/er@x".to_owned(),
            password: Secret::new("p:w/d?#%".to_owned()),
            vhost: "/a b/%".to_owned(),
            prefix: String::new(),
            quorum: true,
            tls: None,
        };
        let uri: lapin::uri::AMQPUri = address(&settings).unwrap().parse().unwrap();
        assert_eq!(uri.authority.userinfo.username, settings.user);
        assert_eq!(uri.authority.userinfo.password, settings.password.expose());
        assert_eq!(uri.vhost, settings.vhost);
        assert_eq!(uri.query.heartbeat, Some(10));
    }
}
