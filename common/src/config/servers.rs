//! PostgreSQL, Redis and RabbitMQ: where they are, and how connections to them are protected.

use url::Url;

use super::tls::{self, Tls};
use super::{ConfigError, Reader, Secret};

/// The PostgreSQL ledger.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// `postgres://…`, from `DATABASE_URL` or put together from `POSTGRES_*`; says how it is encrypted, too.
    pub url: Secret,
    /// Whether any of those variables was set.
    pub configured: bool,
    /// Connections that one process may open.
    pub max_connections: u32,
}

/// The Redis cache.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Host name.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Password, if the server wants one.
    pub password: Option<Secret>,
    /// Database number.
    pub database: u32,
    /// Encryption; `None` without.
    pub tls: Option<Tls>,
}

/// The RabbitMQ broker.
#[derive(Clone, Debug)]
pub struct RabbitMqSettings {
    /// Host name.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Login.
    pub user: String,
    /// Password.
    pub password: Secret,
    /// Virtual host.
    pub vhost: String,
    /// Put before every exchange and queue name.
    pub prefix: String,
    /// Whether durable queues are quorum queues (else classic).
    pub quorum: bool,
    /// Encryption; `None` without.
    pub tls: Option<Tls>,
}

pub(super) fn database(env: &Reader) -> Result<DatabaseSettings, ConfigError> {
    let max_connections = env.number("DATABASE_MAX_CONNECTIONS", 10, 2, 1_000)?;
    if let Some(url) = env.optional("DATABASE_URL") {
        let accepts = "must be an address such as postgres://user:password@host:5432/database";
        let parsed = Url::parse(&url).map_err(|_| ConfigError::new("DATABASE_URL", accepts))?;
        if !matches!(parsed.scheme(), "postgres" | "postgresql") {
            return Err(ConfigError::new("DATABASE_URL", accepts));
        }
        return Ok(DatabaseSettings {
            url: Secret::new(url),
            configured: true,
            max_connections,
        });
    }
    let host = env.text("POSTGRES_HOST", "postgresql_ingestion")?;
    let port: u16 = env.number("POSTGRES_PORT", 5432, 1, 65_535)?;
    let name = env.text("POSTGRES_DB", "agentic_ingestion")?;
    let user = env.text("POSTGRES_USER", "agentic_user")?;
    let password = env.optional("POSTGRES_PASSWORD").unwrap_or_default();
    let mut url = Url::parse("postgres://host/")
        .map_err(|_| ConfigError::new("POSTGRES_HOST", "must be a host name"))?;
    url.set_host(Some(&host))
        .map_err(|_| ConfigError::new("POSTGRES_HOST", "must be a host name"))?;
    let assigned = url
        .set_port(Some(port))
        .and_then(|()| url.set_username(&user));
    assigned
        .and_then(|()| {
            if password.is_empty() {
                Ok(())
            } else {
                url.set_password(Some(&password))
            }
        })
        .map_err(|()| ConfigError::new("POSTGRES_HOST", "must be a host name"))?;
    url.set_path(&name);
    encrypt(&mut url, env)?;
    let configured = env.optional("POSTGRES_HOST").is_some();
    Ok(DatabaseSettings {
        url: Secret::new(url.into()),
        configured,
        max_connections,
    })
}

/// Says in `url` how connections are encrypted; what `DATABASE_URL` says for itself.
fn encrypt(url: &mut Url, env: &Reader) -> Result<(), ConfigError> {
    const MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];
    let authorities = tls::readable("POSTGRES_CA_FILE", env)?;
    let default = if authorities.is_some() {
        "verify-full"
    } else {
        "prefer"
    };
    let mode = env.one_of("POSTGRES_SSLMODE", default, &MODES)?;
    let verifies = mode.starts_with("verify");
    if authorities.is_some() && !verifies {
        let accepts = "must be verify-ca or verify-full when POSTGRES_CA_FILE is set";
        return Err(ConfigError::new("POSTGRES_SSLMODE", accepts));
    }
    if verifies || env.optional("POSTGRES_SSLMODE").is_some() {
        url.query_pairs_mut().append_pair("sslmode", &mode);
    }
    if let Some((path, _)) = authorities {
        url.query_pairs_mut().append_pair("sslrootcert", &path);
    }
    Ok(())
}

pub(super) fn redis(env: &Reader) -> Result<RedisSettings, ConfigError> {
    Ok(RedisSettings {
        host: env.text("REDIS_HOST", "redis_ingestion")?,
        port: env.number("REDIS_PORT", 6379, 1, 65_535)?,
        password: env.optional("REDIS_PASSWORD").map(Secret::new),
        database: env.number("REDIS_DB", 0, 0, 65_535)?,
        tls: tls::read("REDIS_TLS", "REDIS_CA_FILE", env)?,
    })
}

pub(super) fn rabbitmq(env: &Reader) -> Result<RabbitMqSettings, ConfigError> {
    let tls = tls::read("RABBITMQ_TLS", "RABBITMQ_CA_FILE", env)?;
    let port = if tls.is_some() { 5671 } else { 5672 };
    Ok(RabbitMqSettings {
        host: env.text("RABBITMQ_HOST", "rabbitmq")?,
        port: env.number("RABBITMQ_PORT", port, 1, 65_535)?,
        user: env.text("RABBITMQ_USER", "agentic_user")?,
        password: Secret::new(env.optional("RABBITMQ_PASSWORD").unwrap_or_default()),
        vhost: env.text("RABBITMQ_VHOST", "/")?,
        prefix: env.optional("RABBITMQ_PREFIX").unwrap_or_default(),
        quorum: env.one_of("RABBITMQ_QUEUE_TYPE", "quorum", &["quorum", "classic"])? == "quorum",
        tls,
    })
}
