//! Redis: the status of tasks for polling, agents for checking, and wake-ups for waiting readers.
//!
//! Everything here can be rebuilt from the ledger and may be erased at any time. Every failure is soft and quick: callers
//! fall back to the ledger, whatever went wrong here.

mod agents;
mod changed;
mod circuit;
mod keys;
mod names;
mod status;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{
    Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, TlsCertificates,
};

use crate::config::{RedisSettings, Tls};
use circuit::Circuit;
use keys::Keys;

pub use agents::CachedAgent;
pub use status::CachedStatus;

/// How long one command may take, connecting included.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);

/// The cache cannot be used now: ask the ledger, and do not wait.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache is not available: {0}")]
pub struct CacheUnavailable(String);

/// The cache of one deployment; cheap to clone.
#[derive(Clone)]
pub struct Cache {
    client: Client,
    connection: Arc<ArcSwap<ConnectionManager>>,
    circuit: Arc<Circuit>,
    keys: Keys,
}

impl Cache {
    /// Prepares for connecting; the first use connects. `prefix` tells deployments in one database apart. Must be called
    /// within a Tokio runtime.
    ///
    /// # Errors
    /// When the settings make no address.
    pub fn new(settings: &RedisSettings, prefix: &str) -> Result<Self, CacheUnavailable> {
        let client = client(settings).map_err(said)?;
        let connection = connect(&client).map_err(said)?;
        Ok(Self {
            client,
            connection: Arc::new(ArcSwap::from_pointee(connection)),
            circuit: Arc::new(Circuit::new()),
            keys: Keys::new(prefix),
        })
    }

    /// Proves that Redis answers, whatever happened before.
    ///
    /// # Errors
    /// When it does not, within about a second.
    pub async fn ping(&self) -> Result<(), CacheUnavailable> {
        let ping = redis::cmd("PING");
        let answer = self.attempt(|connection| query(&ping, connection)).await;
        self.judge::<()>(answer)
    }

    /// Runs one command; see [`Self::run`].
    async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CacheUnavailable> {
        self.run(|connection| query(command, connection)).await
    }

    /// Runs commands over the connection, unless it has just failed for somebody else.
    async fn run<T, F: Future<Output = RedisResult<T>>>(
        &self,
        commands: impl Fn(ConnectionManager) -> F,
    ) -> Result<T, CacheUnavailable> {
        if !self.circuit.allows() {
            return Err(CacheUnavailable("it failed a moment ago".to_owned()));
        }
        let answer = self.attempt(commands).await;
        self.judge(answer)
    }

    /// The connection manager reconnects, but the command that noticed the drop has failed: it is tried once more.
    async fn attempt<T, F: Future<Output = RedisResult<T>>>(
        &self,
        commands: impl Fn(ConnectionManager) -> F,
    ) -> RedisResult<T> {
        let connection = ConnectionManager::clone(&self.connection.load());
        match commands(connection.clone()).await {
            Err(error) if error.is_connection_dropped() => commands(connection).await,
            answer => answer,
        }
    }

    fn judge<T>(&self, answer: RedisResult<T>) -> Result<T, CacheUnavailable> {
        match answer {
            Ok(value) => {
                self.circuit.succeeded();
                Ok(value)
            }
            Err(error) => {
                if self.circuit.failed() {
                    tracing::warn!(%error, "the cache fails; readers ask the ledger");
                }
                // A silent peer is not a dropped connection to the manager: it would stay with it for ever.
                if error.is_timeout()
                    && let Ok(fresh) = connect(&self.client)
                {
                    self.connection.store(Arc::new(fresh));
                }
                Err(said(error))
            }
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

async fn query<T: FromRedisValue>(
    command: &Cmd,
    mut connection: ConnectionManager,
) -> RedisResult<T> {
    command.query_async(&mut connection).await
}

fn connect(client: &Client) -> RedisResult<ConnectionManager> {
    // Pauses between attempts are the circuit's business: callers wait for no second attempt.
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_connection_timeout(Some(RESPONSE_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_pipeline_buffer_size(1_024);
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}

fn client(settings: &RedisSettings) -> RedisResult<Client> {
    let address = address(settings)?;
    match &settings.tls {
        Some(Tls {
            authorities: Some(certificates),
        }) => Client::build_with_tls(
            address,
            TlsCertificates {
                client_tls: None,
                root_cert: Some(certificates.as_bytes().to_vec()),
            },
        ),
        Some(Tls { authorities: None }) | None => Client::open(address),
    }
}

fn address(settings: &RedisSettings) -> RedisResult<ConnectionInfo> {
    let mut login = RedisConnectionInfo::default().set_db(i64::from(settings.database));
    if let Some(password) = &settings.password {
        login = login.set_password(password.expose());
    }
    let (host, port) = (settings.host.clone(), settings.port);
    let address = match settings.tls {
        Some(_) => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
        None => ConnectionAddr::Tcp(host, port),
    };
    let info = address.into_connection_info()?;
    Ok(info
        .set_redis_settings(login)
        .set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

#[allow(clippy::needless_pass_by_value, reason = "made for map_err")]
fn said(error: RedisError) -> CacheUnavailable {
    CacheUnavailable(error.to_string())
}
