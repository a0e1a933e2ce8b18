//! Opening the ledger: how each database is set up for it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use sea_orm::{ConnectOptions, Database};
use sqlx::Connection;
use sqlx::postgres::PgSslMode;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use url::{Host, Url};

use super::access::Access;
use super::{Ledger, LedgerError, LedgerOptions};
use crate::config::Secret;

/// Connections that read a SQLite ledger; writing has one of its own.
const SQLITE_READERS: u32 = 2;
/// How long an operation waits for a free connection, and for a server that refuses to be connected to.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A PostgreSQL connection that was idle for this long is tested before it is used: after a restart of the server each
/// of them would otherwise fail an operation.
const IDLE: Duration = Duration::from_secs(1);
/// How long one statement may take before PostgreSQL gives it up.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection may take to answer for itself before it goes back to the pool.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

impl Ledger {
    /// Opens the SQLite file at `path`, and makes it if it is not there.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub async fn open_sqlite(path: &Path, options: LedgerOptions) -> Result<Self, LedgerError> {
        let file = path.to_owned();
        let connect = |readers: Option<u32>| {
            let file = file.clone();
            let mut connect = ConnectOptions::new("sqlite::memory:");
            connect
                .max_connections(readers.unwrap_or(1))
                .min_connections(1)
                .idle_timeout(None::<Duration>)
                .max_lifetime(None::<Duration>)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .test_before_acquire(false)
                .sqlx_logging(false)
                .record_stmt_in_spans(false)
                .map_sqlx_sqlite_opts(move |_| sqlite_options(&file, readers.is_some()));
            connect
        };
        let write = Database::connect(connect(None)).await?;
        let read = Database::connect(connect(Some(SQLITE_READERS))).await?;
        Ok(Self {
            access: Access::new(write, read),
            options,
            origin: None,
        })
    }

    /// Prepares for the PostgreSQL database at `url`, with at most `max_connections` connections. The first use connects,
    /// so that a process can start while the server is down; [`Self::ping`] tells whether it answers.
    ///
    /// # Errors
    /// When `url` is no address.
    pub async fn open_postgres(
        url: &Secret,
        max_connections: u32,
        options: LedgerOptions,
    ) -> Result<Self, LedgerError> {
        Self::open_impatient_postgres(url, max_connections, ACQUIRE_TIMEOUT, options).await
    }

    /// As [`Self::open_postgres`], for callers with somewhere else to turn to: an operation waits at most `patience` for a
    /// connection. (A server that refuses connections is tried for the whole of it.)
    ///
    /// # Errors
    /// When `url` is no address.
    pub async fn open_impatient_postgres(
        url: &Secret,
        max_connections: u32,
        patience: Duration,
        options: LedgerOptions,
    ) -> Result<Self, LedgerError> {
        let stays_on_this_host = needs_no_encryption(url.expose());
        let mut connect = ConnectOptions::new(url.expose());
        connect
            .max_connections(max_connections)
            .connect_lazy(true)
            .acquire_timeout(patience)
            .test_before_acquire(false)
            .test_before_acquire_if_idle_for(IDLE)
            .sqlx_logging(false)
            .record_stmt_in_spans(false)
            .set_application_name("agent-orchestrator")
            .statement_timeout(STATEMENT_TIMEOUT)
            .map_sqlx_postgres_pool_opts(|pool| {
                // The pool has a connection that comes back answer, and so read what is left of an operation that was
                // given up, but waits for that as long as TCP does: minutes, in which its place in the pool is taken.
                pool.after_release(|connection, _| {
                    Box::pin(async move {
                        tokio::time::timeout(RELEASE_TIMEOUT, connection.ping())
                            .await
                            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
                            .map(|()| true)
                    })
                })
            })
            .map_sqlx_postgres_opts(move |options| {
                let options = if stays_on_this_host {
                    options.ssl_mode(PgSslMode::Disable)
                } else {
                    options
                };
                options.statement_cache_capacity(256).options([
                    // A plan that is kept from when a table was small reads all of it when it has grown, until the
                    // next ANALYZE; a plan made anew goes by the size of the table now.
                    ("plan_cache_mode", "force_custom_plan"),
                    // Every statement names its rows by key.
                    ("enable_seqscan", "off"),
                    ("enable_hashjoin", "off"),
                    ("enable_mergejoin", "off"),
                    ("jit", "off"),
                    // A process that is stopped inside a transaction must not hold its agents for long.
                    ("idle_in_transaction_session_timeout", "5s"),
                ])
            });
        let connection = Database::connect(connect).await?;
        Ok(Self {
            access: Access::new(connection.clone(), connection),
            options,
            origin: None,
        })
    }
}

/// Whether the address says nothing of encryption and what is sent there never leaves this host, where encrypting would
/// cost processor time on both sides and protect nothing.
fn needs_no_encryption(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    let asks = |(name, _): (Cow<'_, str>, Cow<'_, str>)| matches!(&*name, "sslmode" | "ssl-mode");
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name
            .parse::<IpAddr>()
            .map_or(name == "localhost", |ip| ip.is_loopback()),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    is_loopback && !url.query_pairs().any(asks)
}

fn sqlite_options(file: &Path, read_only: bool) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(!read_only)
        .read_only(read_only)
        .journal_mode(SqliteJournalMode::Wal)
        // Each commit reaches the disk before it is answered: accepted is never lost, also when the power goes.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        .pragma("cache_size", "-65536")
        .pragma("wal_autocheckpoint", "4000")
        .pragma("temp_store", "memory")
        .statement_cache_capacity(256)
}

#[cfg(test)]
mod tests {
    use super::needs_no_encryption;

    #[test]
    fn only_what_stays_on_this_host_and_asks_for_nothing_else_goes_unencrypted() {
        for (url, expected) in [
            ("postgres://u@127.0.0.1:5432/d", true),
            ("postgres://u@127.9.9.9/d", true),
            ("postgres://u@localhost/d?application_name=a", true),
            ("postgresql://u@[::1]/d", true),
            ("postgres://u@127.0.0.1/d?sslmode=prefer", false),
            ("postgres://u@127.0.0.1/d?ssl-mode=require", false),
            ("postgres://u@localhost.example/d", false),
            ("postgres://u@10.0.0.1/d", false),
            ("postgres://u@[2001:db8::1]/d", false),
            ("nonsense", false),
        ] {
            assert_eq!(needs_no_encryption(url), expected, "{url}");
        }
    }
}
