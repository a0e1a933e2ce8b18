//! What a worker says of itself over HTTP, with real servers that come and go behind a proxy.

use std::net::SocketAddr;

use orchestrator_common::config::{Secret, Settings};
use orchestrator_common::domain::TaskStatus;
use orchestrator_common::messaging::Source;
use orchestrator_tests::eventually;
use orchestrator_tests::full_worker::FullStrength;
use orchestrator_tests::tcp_proxy::TcpProxy;
use orchestrator_worker::Application;
use reqwest::Url;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A worker behind proxies, and where it says how it is.
struct Observed {
    full: FullStrength,
    postgres: TcpProxy,
    rabbitmq: TcpProxy,
    redis: TcpProxy,
    address: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Observed {
    async fn start() -> Self {
        Self::start_in(|_postgres| {}).await
    }

    /// Starts a worker after `weather` has come over PostgreSQL.
    async fn start_in(weather: impl FnOnce(&TcpProxy)) -> Self {
        let full = FullStrength::start().await.unwrap();
        let mut settings: Settings = full.settings.clone();
        let mut database: Url = settings.database.url.expose().parse().unwrap();
        let postgres = TcpProxy::in_front_of_postgres(&mut database).await.unwrap();
        let redis = format!("{}:{}", settings.redis.host, settings.redis.port);
        let redis = TcpProxy::in_front_of(&redis).await.unwrap();
        let rabbitmq = full.broker.proxy().await.unwrap();
        settings.database.url = Secret::new(database.into());
        settings.redis.host = redis.address().ip().to_string();
        settings.redis.port = redis.address().port();
        settings.rabbitmq = full.broker.through(&rabbitmq);
        weather(&postgres);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let application = Application::build(settings).unwrap();
        let stop = CancellationToken::new();
        let worker = application
            .with_health_on(listener)
            .run_until_stopped(stop.clone());
        let running = tokio::spawn(async move { worker.await.unwrap() });
        Self {
            full,
            postgres,
            rabbitmq,
            redis,
            address,
            stop,
            running,
        }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.address)).await;
        let answer = answer.expect("the worker answers");
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn ask(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Waits until a metric of the orchestrator's has this value.
    async fn counts(&self, metric: &str) {
        let wanted = format!("agent_orchestrator_{metric}");
        eventually(metric, async || {
            let (status, metrics) = self.get("/metrics").await;
            status == 200 && metrics.lines().any(|line| line == wanted)
        })
        .await;
    }

    /// Waits until the readiness probe answers so, and returns its document.
    async fn is(&self, status: u16, says: &str) -> Value {
        eventually(&format!("the worker is {says}"), async || {
            let (code, report) = self.ask("/health/ready").await;
            (code, &report["status"]) == (status, &json!(says))
        })
        .await;
        self.ask("/health/ready").await.1
    }

    async fn part_is_down(&self, part: &str) {
        eventually(&format!("{part} is down"), async || {
            let (_, report) = self.ask("/health/ready").await;
            report["parts"][part]["status"] == "down"
        })
        .await;
    }

    async fn assert_alive(&self) {
        let (status, live) = self.ask("/health/live").await;
        assert_eq!((status, &live["status"]), (200, &json!("alive")), "{live}");
    }

    async fn subscription_age(&self) -> f64 {
        let (_, live) = self.ask("/health/live").await;
        live["loops"]["subscription"]["age_seconds"]
            .as_f64()
            .unwrap_or(0.0)
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
        self.full.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_working_worker_says_that_all_is_well_and_counts_what_it_does() {
    let worker = Observed::start().await;
    let report = worker.is(200, "healthy").await;
    assert_eq!(report["service"], "orchestrator-worker");
    for part in ["ledger", "rabbitmq", "redis", "presence"] {
        assert_eq!(report["parts"][part]["status"], "up", "{part}: {report}");
        assert!(report["parts"][part]["age_seconds"].as_f64().unwrap() < 10.0);
    }
    let (_, live) = worker.ask("/health/live").await;
    for name in ["dispatcher", "presence", "sweep", "watch", "subscription"] {
        assert!(
            live["loops"][name]["age_seconds"].is_f64(),
            "{name}: {live}"
        );
    }
    let agent_id = worker.full.agent("a", 10).await.unwrap();
    let task_id = worker.full.send_task(&agent_id, json!({})).await.unwrap();
    worker
        .full
        .reaches(task_id, TaskStatus::Completed)
        .await
        .unwrap();
    let properties = lapin::BasicProperties::default();
    let poison = worker
        .full
        .send_raw("task.execute", properties, b"{no json");
    poison.await.unwrap();
    for counted in [
        r#"tasks_total{status="completed"} 1"#,
        r#"ingested_total{outcome="new"} 1"#,
        r#"dead_letters_total{reason="not_json"} 1"#,
        r#"dead_letters_total{reason="conflict"} 0"#,
        "redeliveries_total 0",
        "announcements_dropped_total 0",
        "worker_in_flight 0",
        "worker_capacity 1000",
    ] {
        worker.counts(counted).await;
    }
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_broker_brings_again_is_counted() {
    let worker = Observed::start().await;
    worker.is(200, "healthy").await;
    let agent_id = worker.full.agent("a", 10).await.unwrap();
    // It stays with the worker, unsettled, until its connection breaks.
    worker.postgres.take_down();
    let task_id = worker.full.send_task(&agent_id, json!({})).await.unwrap();
    eventually("the worker has the message", async || {
        let waiting = worker.full.broker.depth(Source::Tasks).await;
        matches!(waiting, Ok(0))
    })
    .await;
    worker.rabbitmq.cut();
    worker.counts("redeliveries_total 1").await;
    worker.postgres.restore();
    let done = worker.full.reaches(task_id, TaskStatus::Completed).await;
    assert_eq!(done.unwrap().attempt, 1);
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_ends_readiness_where_it_is_needed_and_life_never() {
    let worker = Observed::start().await;
    worker.is(200, "healthy").await;
    for (proxy, part) in [(&worker.rabbitmq, "rabbitmq"), (&worker.redis, "redis")] {
        proxy.take_down();
        let report = worker.is(200, "degraded").await;
        assert_eq!(report["parts"][part]["status"], "down", "{report}");
        assert_eq!(report["parts"]["ledger"]["status"], "up");
        worker.assert_alive().await;
        proxy.restore();
        worker.is(200, "healthy").await;
    }
    worker.postgres.take_down();
    worker.part_is_down("ledger").await;
    worker.is(503, "unhealthy").await;
    worker.assert_alive().await;
    worker.postgres.restore();
    worker.is(200, "healthy").await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_waits_for_its_ledger_is_alive_and_becomes_ready() {
    let worker = Observed::start_in(TcpProxy::take_down).await;
    let report = worker.is(503, "starting").await;
    assert_eq!(report["parts"]["ledger"]["status"], "down");
    assert_eq!(report["parts"]["ledger"]["age_seconds"], Value::Null);
    worker.assert_alive().await;
    worker.postgres.restore();
    worker.is(200, "healthy").await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_subscription_is_not_excused_while_the_broker_answers_others() {
    let worker = Observed::start().await;
    worker.is(200, "healthy").await;
    // What is connected goes silent; the broker stays there for new connections.
    worker.rabbitmq.hold_established();
    eventually("the subscription goes unproven", async || {
        worker.subscription_age().await > 7.0
    })
    .await;
    // The heartbeats are missed some time later, and it is made anew.
    worker.rabbitmq.restore();
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_away_nothing_is_held_against_the_subscription() {
    let worker = Observed::start().await;
    worker.is(200, "healthy").await;
    worker.rabbitmq.take_down();
    worker.part_is_down("rabbitmq").await;
    for _ in 0..2 {
        eventually("some time passes", async || {
            worker.subscription_age().await > 2.0
        })
        .await;
        eventually("it is excused", async || {
            worker.subscription_age().await < 2.0
        })
        .await;
    }
    worker.assert_alive().await;
    worker.end().await;
}
