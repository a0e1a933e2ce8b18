//! RabbitMQ under a prefix of the test's own; everything is deleted when the test ends, well or not.

use std::sync::Arc;

use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties};
use orchestrator_common::config::{RabbitMqSettings, Secret};
use orchestrator_common::messaging::{
    Broker, Publisher, PublisherOptions, Source, Supervisor, Topology,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::tcp_proxy::TcpProxy;

/// A broker for one test.
#[derive(Debug)]
pub struct TestBroker {
    /// How to reach it, past any proxy.
    pub settings: RabbitMqSettings,
    /// The names of this test.
    pub topology: Arc<Topology>,
    /// Ends what the test started.
    pub shutdown: CancellationToken,
    url: String,
    _ends_with_the_test: DropGuard,
}

/// The address of the broker that tests use.
#[must_use]
pub fn url() -> String {
    std::env::var("TEST_RABBITMQ_URL")
        .unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned())
}

impl TestBroker {
    /// A fresh prefix; nothing is declared yet.
    ///
    /// # Errors
    /// When `TEST_RABBITMQ_URL` is no address.
    pub fn new(quorum: bool) -> anyhow::Result<Self> {
        Self::at(url(), quorum)
    }

    /// As [`Self::new`], at another broker.
    ///
    /// # Errors
    /// When `url` is no address.
    pub fn at(url: String, quorum: bool) -> anyhow::Result<Self> {
        let uri: lapin::uri::AMQPUri = url.parse().map_err(anyhow::Error::msg)?;
        let settings = RabbitMqSettings {
            host: uri.authority.host,
            port: uri.authority.port,
            user: uri.authority.userinfo.username,
            password: Secret::new(uri.authority.userinfo.password),
            vhost: uri.vhost,
            prefix: format!("test-{}.", Uuid::new_v4().simple()),
            quorum,
            tls: None,
        };
        let shutdown = CancellationToken::new();
        Ok(Self {
            topology: Arc::new(Topology::new(&settings)?),
            settings,
            url,
            _ends_with_the_test: shutdown.clone().drop_guard(),
            shutdown,
        })
    }

    /// `host:port` of the broker.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.settings.host, self.settings.port)
    }

    /// A proxy in front of this broker.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn proxy(&self) -> anyhow::Result<TcpProxy> {
        TcpProxy::in_front_of(&self.address()).await
    }

    /// Settings that lead through `proxy`.
    #[must_use]
    pub fn through(&self, proxy: &TcpProxy) -> RabbitMqSettings {
        RabbitMqSettings {
            host: proxy.address().ip().to_string(),
            port: proxy.address().port(),
            ..self.settings.clone()
        }
    }

    /// A publisher that ends with the test.
    ///
    /// # Errors
    /// When the settings make no address.
    pub fn publisher(
        &self,
        settings: &RabbitMqSettings,
        options: PublisherOptions,
    ) -> anyhow::Result<Publisher> {
        let broker = Broker::new(settings, "publisher")?;
        let topology = Arc::clone(&self.topology);
        let (publisher, _) = Publisher::start(broker, topology, options, self.shutdown.clone());
        Ok(publisher)
    }

    /// A supervisor that ends with the test.
    ///
    /// # Errors
    /// When the settings make no address.
    pub fn supervisor(&self, settings: &RabbitMqSettings) -> anyhow::Result<Supervisor> {
        let broker = Broker::new(settings, "consumer")?;
        let topology = Arc::clone(&self.topology);
        Ok(Supervisor::new(broker, topology, self.shutdown.clone()))
    }

    /// A connection and channel for looking at the broker from outside.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn channel(&self) -> anyhow::Result<(Connection, Channel)> {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    /// How many messages wait in a queue for a consumer.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn depth(&self, source: Source) -> anyhow::Result<u32> {
        Ok(self.look_at(source).await?.message_count())
    }

    /// How many consumers a queue has.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn consumers(&self, source: Source) -> anyhow::Result<u32> {
        Ok(self.look_at(source).await?.consumer_count())
    }

    async fn look_at(&self, source: Source) -> anyhow::Result<lapin::Queue> {
        let (connection, channel) = self.channel().await?;
        let options = lapin::options::QueueDeclareOptions::durable().passive();
        let name = self.topology.queue(source).clone();
        let queue = channel
            .queue_declare(name, options, FieldTable::default())
            .await?;
        connection.close(200, "asked".into()).await?;
        Ok(queue)
    }

    async fn delete_all(url: &str, topology: &Topology) -> anyhow::Result<()> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        for queue in topology.queues() {
            channel
                .queue_delete(queue.clone(), QueueDeleteOptions::default())
                .await?;
        }
        for exchange in topology.exchanges() {
            channel
                .exchange_delete(exchange.clone(), ExchangeDeleteOptions::default())
                .await?;
        }
        connection.close(200, ShortString::default()).await?;
        Ok(())
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.shutdown.cancel();
        let (url, topology) = (self.url.clone(), Arc::clone(&self.topology));
        // A test's own runtime cannot wait inside `drop`.
        let deleting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(Self::delete_all(&url, &topology))
        });
        if !matches!(deleting.join(), Ok(Ok(()))) {
            tracing::warn!("the test's queues could not be deleted");
        }
    }
}
