//! Where the processes of a test find their servers.

use std::collections::BTreeMap;

use orchestrator_common::config::{RabbitMqSettings, RedisSettings};

use crate::full_api::redis_settings;
use crate::ledger::postgres_url;
use crate::tcp_proxy::TcpProxy;
use crate::test_broker;

/// The servers of one test: those that all tests share, unless it has some of its own.
#[derive(Clone, Debug)]
pub struct Places {
    /// PostgreSQL, with the database.
    pub database_url: String,
    /// RabbitMQ, with the virtual host.
    pub rabbitmq_url: String,
    /// Redis.
    pub redis: RedisSettings,
    /// Where the processes see RabbitMQ, when that is elsewhere.
    pub rabbitmq_proxy: Option<std::net::SocketAddr>,
}

impl Places {
    /// The servers that all tests share.
    #[must_use]
    pub fn shared() -> Self {
        Self {
            database_url: postgres_url(),
            rabbitmq_url: test_broker::url(),
            redis: redis_settings(),
            rabbitmq_proxy: None,
        }
    }

    /// Has the processes reach RabbitMQ through `proxy`.
    #[must_use]
    pub fn with_rabbitmq_behind(mut self, proxy: &TcpProxy) -> Self {
        self.rabbitmq_proxy = Some(proxy.address());
        self
    }

    /// The variables that lead a process to them.
    pub(super) fn variables(
        &self,
        database_url: &str,
        rabbitmq: &RabbitMqSettings,
    ) -> BTreeMap<String, String> {
        let proxy = self.rabbitmq_proxy;
        let rabbitmq_host = proxy.map_or(rabbitmq.host.clone(), |at| at.ip().to_string());
        let rabbitmq_port = proxy.map_or(rabbitmq.port, |at| at.port());
        let redis_password = self.redis.password.as_ref();
        let variables = [
            ("DATABASE_URL", database_url.to_owned()),
            ("DATABASE_MAX_CONNECTIONS", "5".to_owned()),
            ("RABBITMQ_HOST", rabbitmq_host),
            ("RABBITMQ_PORT", rabbitmq_port.to_string()),
            ("RABBITMQ_USER", rabbitmq.user.clone()),
            ("RABBITMQ_PASSWORD", rabbitmq.password.expose().to_owned()),
            ("RABBITMQ_VHOST", rabbitmq.vhost.clone()),
            ("RABBITMQ_PREFIX", rabbitmq.prefix.clone()),
            ("REDIS_HOST", self.redis.host.clone()),
            ("REDIS_PORT", self.redis.port.to_string()),
            ("REDIS_DB", self.redis.database.to_string()),
            (
                "REDIS_PASSWORD",
                redis_password.map_or(String::new(), |word| word.expose().to_owned()),
            ),
            // Every agent of these tests brings its own address.
            ("BRAIN_FACTORY_HOST", "127.0.0.1".to_owned()),
            ("BRAIN_FACTORY_PORT", "1".to_owned()),
            ("AGENT_ORCHESTRATOR_HOST", "127.0.0.1".to_owned()),
            ("AGENT_ORCHESTRATOR_PORT", "0".to_owned()),
            // Several workers on one machine.
            ("WORKER_HEALTH_PORT", "0".to_owned()),
            ("SHUTDOWN_GRACE_SECONDS", "5".to_owned()),
            ("LOG_FORMAT", "text".to_owned()),
            ("NO_COLOR", "1".to_owned()),
        ];
        let set = variables.into_iter().filter(|(_, value)| !value.is_empty());
        set.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
