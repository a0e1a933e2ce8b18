//! The API at full strength in front of real PostgreSQL, RabbitMQ and Redis, each behind a proxy of the test's own.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use orchestrator_api::FullStrength;
use orchestrator_common::config::{RedisSettings, Secret, Settings};
use orchestrator_common::domain::Timestamp;
use orchestrator_common::ledger::Ledger;
use orchestrator_common::messaging::{Command, Decoder, Source, ack_all};
use reqwest::{RequestBuilder, StatusCode, Url};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::ledger::{Backend, TestLedger, default_options, postgres_url};
use crate::tcp_proxy::TcpProxy;
use crate::test_broker::TestBroker;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
    /// Its body, JSON.
    pub body: Value,
}

/// The servers of one test: a schema, a prefix, and the proxies that lead to them.
#[derive(Debug)]
pub struct Servers {
    /// PostgreSQL as the API sees it.
    pub postgres: TcpProxy,
    /// RabbitMQ as the API sees it.
    pub rabbitmq: TcpProxy,
    /// Redis as the API sees it.
    pub redis: TcpProxy,
    /// The ledger, past the proxy.
    pub ledger: TestLedger,
    /// The broker, past the proxy.
    pub broker: TestBroker,
}

impl Servers {
    /// Makes a schema and a prefix, with good weather everywhere.
    ///
    /// # Panics
    /// When a server does not answer: tests need them.
    pub async fn create() -> Self {
        let broker = TestBroker::new(true).expect("TEST_RABBITMQ_URL is an address");
        let redis = redis_settings();
        let postgres = Url::parse(&postgres_url()).expect("TEST_DATABASE_URL is an address");
        let server = |host: &str, port: u16| format!("{host}:{port}");
        let host = postgres.host_str().unwrap_or("127.0.0.1");
        let proxy = async |server: String| {
            let proxy = TcpProxy::in_front_of(&server).await;
            proxy.expect("a port can be bound")
        };
        Self {
            postgres: proxy(server(host, postgres.port().unwrap_or(5432))).await,
            rabbitmq: proxy(broker.address()).await,
            redis: proxy(server(&redis.host, redis.port)).await,
            ledger: TestLedger::create(Backend::Postgres, default_options()).await,
            broker,
        }
    }

    /// Starts an API process behind the proxies; it stops when dropped.
    ///
    /// # Panics
    /// When it cannot be put together.
    pub async fn start_api(&self) -> FullApi {
        let url = self.ledger.url.as_deref().unwrap_or_default();
        let mut url = Url::parse(url).expect("the ledger has an address");
        let proxy = self.postgres.address();
        url.set_ip_host(proxy.ip()).expect("an address with a host");
        url.set_port(Some(proxy.port()))
            .expect("an address with a host");
        let variables = BTreeMap::from([("DATABASE_URL".to_owned(), url.to_string())]);
        let mut settings = Settings::from_variables(variables).expect("valid settings");
        settings.rabbitmq = self.broker.through(&self.rabbitmq);
        settings.redis = RedisSettings {
            host: self.redis.address().ip().to_string(),
            port: self.redis.address().port(),
            ..redis_settings()
        };
        FullApi::start(settings).await
    }

    /// Does what workers do first: takes every task from the broker into the ledger, past the proxies.
    ///
    /// # Panics
    /// When the broker's settings make no address.
    pub fn ingest(&self) {
        let supervisor = self.broker.supervisor(&self.broker.settings);
        let mut supervisor = supervisor.expect("an address");
        let consumer = supervisor.subscribe(Source::Tasks, 500);
        let _consuming = supervisor.start();
        tokio::spawn(ingest(consumer, self.ledger.ledger.clone()));
    }

    /// Removes what the test stored.
    pub async fn remove(self) {
        self.ledger.remove().await;
    }
}

async fn ingest(mut consumer: orchestrator_common::messaging::Consumer, ledger: Ledger) {
    loop {
        let messages = consumer.recv_batch(500).await;
        if messages.is_empty() {
            return;
        }
        let tasks = messages.iter().flat_map(|message| {
            let decoded = Decoder::default().decode(
                message.routing_key(),
                message.properties(),
                message.body(),
                Timestamp::now(),
            );
            match decoded.map(|received| received.command) {
                Ok(Command::Execute(task)) => vec![*task],
                Ok(Command::ExecuteBatch(members)) => {
                    members.into_iter().flatten().map(|task| *task).collect()
                }
                Ok(_) | Err(_) => Vec::new(),
            }
        });
        let tasks = tasks.collect();
        if ledger.ingest(tasks, Timestamp::now()).await.is_ok() {
            ack_all(messages).await;
        }
    }
}

/// A running API process.
#[derive(Debug)]
pub struct FullApi {
    address: SocketAddr,
    http: reqwest::Client,
    token: Option<String>,
    _stops_when_dropped: DropGuard,
}

impl FullApi {
    /// Starts an API process with `settings` on a port of its own.
    ///
    /// # Panics
    /// When it cannot be put together.
    pub async fn start(settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port can be bound");
        let api = FullStrength::build(settings, listener).await;
        let api = api.expect("an API needs no server to be put together");
        let address = api.local_address();
        let shutdown = CancellationToken::new();
        tokio::spawn(api.run_until_stopped(shutdown.clone()));
        Self {
            address,
            http: reqwest::Client::new(),
            token: None,
            _stops_when_dropped: shutdown.drop_guard(),
        }
    }

    /// Any API, which somebody else started and stops.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            http: reqwest::Client::new(),
            token: None,
            _stops_when_dropped: CancellationToken::new().drop_guard(),
        }
    }

    /// The same, called with `token`.
    #[must_use]
    pub fn bearing(self, token: Option<&str>) -> Self {
        Self {
            token: token.map(str::to_owned),
            ..self
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request that can be given headers and a body.
    pub fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let request = self
            .http
            .request(method, format!("http://{}{path}", self.address));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request.
    ///
    /// # Panics
    /// When there is no answer, or not in JSON.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.expect("the API answers");
        let retry_after = response.headers().get("retry-after");
        Answer {
            status: response.status(),
            retry_after: retry_after.map(|value| value.to_str().unwrap_or_default().to_owned()),
            body: response.json().await.expect("the answer is JSON"),
        }
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(reqwest::Method::GET, path)).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(reqwest::Method::POST, path);
        self.send(request.json(body)).await
    }

    /// Submits the least task for the agent `a`.
    pub async fn submit(&self) -> Answer {
        let task = json!({"agent_id": "a", "task_type": "t", "task_data": {"n": 1}});
        self.post("/orchestrator/execute-task", &task).await
    }

    /// Registers the agent `a`.
    pub async fn register(&self) -> Answer {
        let agent = json!({"agent_id": "a"});
        self.post("/orchestrator/register", &agent).await
    }
}

/// The Redis that tests use.
///
/// # Panics
/// When `TEST_REDIS_URL` is no address.
#[must_use]
pub fn redis_settings() -> RedisSettings {
    let url = std::env::var("TEST_REDIS_URL").unwrap_or("redis://127.0.0.1:6379/".to_owned());
    let url = Url::parse(&url).expect("TEST_REDIS_URL is an address");
    RedisSettings {
        host: url.host_str().unwrap_or("127.0.0.1").to_owned(),
        port: url.port().unwrap_or(6379),
        password: url
            .password()
            .map(|password| Secret::new(password.to_owned())),
        database: url.path().trim_matches('/').parse().unwrap_or_default(),
        tls: None,
    }
}
