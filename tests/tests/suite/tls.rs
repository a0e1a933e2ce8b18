//! Encrypted connections to RabbitMQ, Redis and PostgreSQL: trusted authorities are enough, others are refused.

use std::collections::BTreeMap;

use orchestrator_common::cache::Cache;
use orchestrator_common::config::Settings;
use orchestrator_common::domain::TaskStatus;
use orchestrator_common::ledger::Ledger;
use orchestrator_common::messaging::Broker;
use orchestrator_tests::full_worker::FullStrength;
use orchestrator_tests::ledger::default_options;
use orchestrator_tests::tls::{Authority, Greeting, TlsTerminator};
use reqwest::Url;
use serde_json::json;

/// The servers of a test behind TLS, vouched for by one authority.
struct Encrypted {
    full: FullStrength,
    authority: Authority,
    rabbitmq: TlsTerminator,
    redis: TlsTerminator,
    postgres: TlsTerminator,
}

impl Encrypted {
    async fn start() -> Self {
        let full = FullStrength::start().await.unwrap();
        let authority = Authority::new().unwrap();
        let database: Url = full.settings.database.url.expose().parse().unwrap();
        let host = database.host_str().unwrap().to_owned();
        let postgres = format!("{host}:{}", database.port().unwrap_or(5432));
        let redis = format!("{}:{}", full.settings.redis.host, full.settings.redis.port);
        let terminated = async |server: &str, greeting| {
            let terminator = TlsTerminator::in_front_of(server, greeting, &authority).await;
            terminator.unwrap()
        };
        Self {
            rabbitmq: terminated(&full.broker.address(), Greeting::Tls).await,
            redis: terminated(&redis, Greeting::Tls).await,
            postgres: terminated(&postgres, Greeting::Postgres).await,
            full,
            authority,
        }
    }

    /// Settings that lead to `host` and trust the authorities in `file`, made from variables as processes make them.
    fn settings(&self, host: &str, file: &str) -> Settings {
        let plain = &self.full.settings;
        let database: Url = plain.database.url.expose().parse().unwrap();
        let rabbitmq = &plain.rabbitmq;
        let redis_password = plain.redis.password.as_ref();
        let variables = [
            ("RABBITMQ_TLS", "true".to_owned()),
            ("RABBITMQ_CA_FILE", file.to_owned()),
            ("RABBITMQ_HOST", host.to_owned()),
            ("RABBITMQ_PORT", self.rabbitmq.address().port().to_string()),
            ("RABBITMQ_USER", rabbitmq.user.clone()),
            ("RABBITMQ_PASSWORD", rabbitmq.password.expose().to_owned()),
            ("RABBITMQ_VHOST", rabbitmq.vhost.clone()),
            ("RABBITMQ_PREFIX", rabbitmq.prefix.clone()),
            ("RABBITMQ_QUEUE_TYPE", "classic".to_owned()),
            ("REDIS_TLS", "true".to_owned()),
            ("REDIS_CA_FILE", file.to_owned()),
            ("REDIS_HOST", host.to_owned()),
            ("REDIS_PORT", self.redis.address().port().to_string()),
            (
                "REDIS_PASSWORD",
                redis_password.map_or(String::new(), |p| p.expose().to_owned()),
            ),
            ("REDIS_DB", plain.redis.database.to_string()),
            ("POSTGRES_CA_FILE", file.to_owned()),
            ("POSTGRES_HOST", host.to_owned()),
            ("POSTGRES_PORT", self.postgres.address().port().to_string()),
            ("POSTGRES_USER", database.username().to_owned()),
            (
                "POSTGRES_PASSWORD",
                database.password().unwrap_or_default().to_owned(),
            ),
            ("POSTGRES_DB", database.path().trim_matches('/').to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let mut settings = Settings::from_variables(BTreeMap::from(variables)).unwrap();
        // The schema of this test, which no variable names.
        let mut url: Url = settings.database.url.expose().parse().unwrap();
        for (name, value) in database.query_pairs() {
            url.query_pairs_mut().append_pair(&name, &value);
        }
        settings.database.url = orchestrator_common::config::Secret::new(url.into());
        settings.brain_factory = plain.brain_factory.clone();
        settings.shutdown_grace = plain.shutdown_grace;
        settings
    }

    /// What each of the three says when it is asked over TLS.
    async fn answers(&self, settings: &Settings) -> [Result<(), String>; 3] {
        let broker = Broker::new(&settings.rabbitmq, "test").unwrap();
        let rabbitmq = broker.probe(&self.full.broker.topology).await;
        let cache = Cache::new(&settings.redis, "test").unwrap();
        let redis = cache.ping().await;
        let ledger = Ledger::open_postgres(&settings.database.url, 2, default_options()).await;
        let ledger = ledger.unwrap();
        let postgres = ledger.ping().await;
        ledger.close().await;
        [
            rabbitmq.map(drop).map_err(|error| error.to_string()),
            redis.map_err(|error| error.to_string()),
            postgres.map_err(|error| error.to_string()),
        ]
    }

    async fn end(self) {
        self.full.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_works_over_tls_alone() {
    let encrypted = Encrypted::start().await;
    let settings = encrypted.settings("127.0.0.1", &encrypted.authority.file());
    assert_eq!(encrypted.answers(&settings).await, [Ok(()), Ok(()), Ok(())]);
    let full = &encrypted.full;
    let agent_id = full.agent("a", 10).await.unwrap();
    let events = full.events("task.completed.#").await.unwrap();
    let worker = full.worker_with(settings).await.unwrap();
    let task_id = full.send_task(&agent_id, json!({})).await.unwrap();
    full.reaches(task_id, TaskStatus::Completed).await.unwrap();
    let event = full.next(&events).await.unwrap();
    assert_eq!(event.body["task_id"], task_id.to_string());
    worker.stop().await.unwrap();
    encrypted.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_another_authority_vouches_for_is_refused_with_the_reason() {
    let encrypted = Encrypted::start().await;
    let other = Authority::new().unwrap();
    let settings = encrypted.settings("127.0.0.1", &other.file());
    for answer in encrypted.answers(&settings).await {
        let refused = answer.unwrap_err();
        assert!(refused.contains("certificate"), "{refused}");
    }
    encrypted.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_certificate_for_another_name_is_refused_with_the_reason() {
    let encrypted = Encrypted::start().await;
    // The certificates are for the address alone.
    let settings = encrypted.settings("localhost", &encrypted.authority.file());
    for answer in encrypted.answers(&settings).await {
        let refused = answer.unwrap_err();
        assert!(refused.contains("certificate"), "{refused}");
    }
    encrypted.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_authority_of_its_own_a_process_trusts_those_of_the_system_alone() {
    let encrypted = Encrypted::start().await;
    let mut settings = encrypted.settings("127.0.0.1", &encrypted.authority.file());
    for tls in [&mut settings.rabbitmq.tls, &mut settings.redis.tls] {
        *tls = Some(Default::default());
    }
    let [rabbitmq, redis, postgres] = encrypted.answers(&settings).await;
    for refused in [rabbitmq.unwrap_err(), redis.unwrap_err()] {
        assert!(refused.contains("certificate"), "{refused}");
    }
    assert_eq!(postgres, Ok(()));
    encrypted.end().await;
}
