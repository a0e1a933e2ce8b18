//! The API while servers are away: it accepts tasks without any one of them, loses none, and says so when it cannot.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use orchestrator_common::domain::TaskId;
use orchestrator_tests::eventually;
use orchestrator_tests::full_api::{FullApi, Servers};
use orchestrator_tests::tcp_proxy::TcpProxy;
use tokio::task::JoinSet;

/// No answer may take longer, whatever is away.
const BOUND: Duration = Duration::from_secs(8);

/// Callers who submit one task after the other; each must be accepted.
struct Stream {
    accepted: Arc<Mutex<Vec<TaskId>>>,
    stop: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

impl Stream {
    fn start(api: &Arc<FullApi>) -> Self {
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for _ in 0..4 {
            let (api, accepted, stop) = (api.clone(), accepted.clone(), stop.clone());
            callers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let answer = api.submit().await;
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    assert!(asked.elapsed() < BOUND, "{:?}", asked.elapsed());
                    let task_id = answer.body["task_id"].as_str().unwrap().parse().unwrap();
                    accepted.lock().unwrap().push(task_id);
                }
            });
        }
        Self {
            accepted,
            stop,
            callers,
        }
    }

    fn count(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    async fn more(&self, what: &str) {
        let enough = self.count() + 40;
        eventually(what, async || self.count() >= enough).await;
    }

    async fn stop(mut self) -> Vec<TaskId> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("every task was accepted");
        }
        std::mem::take(&mut self.accepted.lock().unwrap())
    }
}

/// Submits without pause while `fail` strikes one server and `restore` ends that; then looks for every task.
async fn without_one(pick: fn(&Servers) -> &TcpProxy, fail: fn(&TcpProxy)) {
    let servers = Servers::create().await;
    servers.ingest();
    let api = Arc::new(servers.start_api().await);
    healthy(&api).await;
    assert_eq!(api.register().await.status, 200);

    let stream = Stream::start(&api);
    stream.more("tasks in good weather").await;
    fail(pick(&servers));
    stream.more("tasks while it is away").await;
    stream.more("more tasks while it is away").await;
    pick(&servers).restore();
    stream.more("tasks after it came back").await;
    let accepted = stream.stop().await;

    for task_id in accepted {
        let ledger = &servers.ledger.ledger;
        let found = async || ledger.task(task_id).await.unwrap().is_some();
        eventually("every accepted task is in the ledger", found).await;
    }
    servers.remove().await;
}

async fn healthy(api: &FullApi) {
    let is_healthy = async || api.get("/health").await.body["status"] == "healthy";
    eventually("everything answers", is_healthy).await;
}

macro_rules! nothing_is_lost {
    ($($name:ident: $server:ident $fail:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            without_one(|servers| &servers.$server, TcpProxy::$fail).await;
        }
    )*};
}

nothing_is_lost! {
    tasks_are_accepted_and_kept_while_postgresql_is_down: postgres take_down,
    tasks_are_accepted_and_kept_while_postgresql_is_silent: postgres pause,
    tasks_are_accepted_and_kept_while_rabbitmq_is_down: rabbitmq take_down,
    tasks_are_accepted_and_kept_while_rabbitmq_is_silent: rabbitmq pause,
    tasks_are_accepted_and_kept_while_rabbitmq_confirms_nothing: rabbitmq hold_answers,
    tasks_are_accepted_and_kept_while_redis_is_down: redis take_down,
    tasks_are_accepted_and_kept_while_redis_is_silent: redis pause,
}

async fn refused_soon(api: &FullApi) {
    let asked = Instant::now();
    let answer = api.submit().await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(answer.retry_after.as_deref(), Some("2"));
    assert!(asked.elapsed() < BOUND, "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_broker_and_ledger_a_task_is_refused_soon_and_accepted_when_one_is_back() {
    let servers = Servers::create().await;
    let api = servers.start_api().await;
    healthy(&api).await;
    api.register().await;
    for fail in [TcpProxy::take_down, TcpProxy::pause] {
        fail(&servers.postgres);
        fail(&servers.rabbitmq);
        refused_soon(&api).await;
        let unready = async || api.get("/health/ready").await.status == 503;
        eventually("it is not ready", unready).await;
        assert_eq!(api.get("/health/live").await.status, 200);
        servers.postgres.restore();
        let accepted = async || api.submit().await.status == 200;
        eventually("the ledger alone accepts tasks", accepted).await;
        servers.rabbitmq.restore();
        healthy(&api).await;
    }
    servers.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_broker_or_ledger_is_enough_without_redis() {
    let servers = Servers::create().await;
    let api = servers.start_api().await;
    healthy(&api).await;
    api.register().await;
    servers.redis.take_down();
    servers.postgres.take_down();
    assert_eq!(api.submit().await.status, 200);
    servers.postgres.restore();
    servers.rabbitmq.take_down();
    let accepted = async || api.submit().await.status == 200;
    eventually("the ledger alone accepts tasks", accepted).await;
    servers.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_while_every_server_is_down_and_recovers_by_itself() {
    let servers = Servers::create().await;
    let all = [&servers.postgres, &servers.rabbitmq, &servers.redis];
    for server in all {
        server.take_down();
    }
    let api = servers.start_api().await;
    assert_eq!(api.get("/health/live").await.status, 200);
    assert_eq!(api.get("/health/ready").await.status, 503);
    refused_soon(&api).await;
    let register = api.register().await;
    assert_eq!(register.status, 503, "{}", register.body);
    for server in all {
        server.restore();
    }
    healthy(&api).await;
    assert_eq!(api.register().await.status, 200);
    assert_eq!(api.submit().await.status, 200);
    servers.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_one_server_that_is_down_shows_as_degraded_and_ready() {
    let servers = Servers::create().await;
    let api = servers.start_api().await;
    for (name, server) in [
        ("ledger", &servers.postgres),
        ("rabbitmq", &servers.rabbitmq),
        ("redis", &servers.redis),
    ] {
        healthy(&api).await;
        server.take_down();
        eventually("it shows", async || {
            let health = api.get("/health/ready").await;
            assert_eq!(health.status, 200, "{}", health.body);
            health.body["status"] == "degraded"
                && health.body["dependencies"][name]["status"] == "down"
        })
        .await;
        server.restore();
    }
    servers.remove().await;
}
