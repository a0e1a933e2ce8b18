//! The cache on a real Redis: the newer status wins whoever writes when, and every failure is soft and quick.

use std::time::{Duration, Instant};

use futures::StreamExt;
use orchestrator_common::cache::{Cache, CachedAgent, CachedStatus};
use orchestrator_common::config::RedisSettings;
use orchestrator_common::domain::{AgentId, AgentStatus, DesiredState, TaskId, TaskStatus};
use orchestrator_tests::eventually;
use orchestrator_tests::tcp_proxy::TcpProxy;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use uuid::Uuid;

fn settings() -> RedisSettings {
    let url = std::env::var("TEST_REDIS_URL").unwrap_or("redis://127.0.0.1:6379/".to_owned());
    let info = redis::IntoConnectionInfo::into_connection_info(url).unwrap();
    let redis::ConnectionAddr::Tcp(host, port) = info.addr().clone() else {
        panic!("TEST_REDIS_URL must name a host and a port");
    };
    let password = info.redis_settings().password();
    RedisSettings {
        host,
        port,
        password: password.map(|p| orchestrator_common::config::Secret::new(p.to_owned())),
        database: u32::try_from(info.redis_settings().db()).unwrap(),
        tls: None,
    }
}

fn through(proxy: &TcpProxy) -> RedisSettings {
    RedisSettings {
        host: proxy.address().ip().to_string(),
        port: proxy.address().port(),
        ..settings()
    }
}

async fn proxy() -> TcpProxy {
    let RedisSettings { host, port, .. } = settings();
    TcpProxy::in_front_of(&format!("{host}:{port}"))
        .await
        .unwrap()
}

fn prefix() -> String {
    format!("test-{}:", Uuid::new_v4().simple())
}

fn cache() -> Cache {
    Cache::new(&settings(), &prefix()).unwrap()
}

fn status(task_id: TaskId, attempt: u32, status: TaskStatus) -> CachedStatus {
    CachedStatus {
        task_id,
        attempt,
        status,
        document: format!(r#"{{"status":"{status}","attempt":{attempt}}}"#),
    }
}

/// A task's life with a failed first attempt, in order.
fn life(task_id: TaskId) -> Vec<CachedStatus> {
    vec![
        status(task_id, 0, TaskStatus::Scheduled),
        status(task_id, 0, TaskStatus::Queued),
        status(task_id, 1, TaskStatus::Running),
        status(task_id, 1, TaskStatus::Retrying),
        status(task_id, 2, TaskStatus::Running),
        status(task_id, 2, TaskStatus::Completed),
    ]
}

#[tokio::test]
async fn a_status_is_read_back_until_it_is_forgotten() {
    let (cache, task_id) = (cache(), TaskId::generate());
    assert_eq!(cache.get(task_id).await.unwrap(), None);
    let queued = status(task_id, 0, TaskStatus::Queued);
    cache.put_many(std::slice::from_ref(&queued)).await.unwrap();
    assert_eq!(cache.get(task_id).await.unwrap(), Some(queued.document));
    cache.forget(task_id).await.unwrap();
    assert_eq!(cache.get(task_id).await.unwrap(), None);
}

#[tokio::test]
async fn what_was_just_accepted_is_older_than_whatever_is_there() {
    let (cache, new, known) = (cache(), TaskId::generate(), TaskId::generate());
    let running = status(known, 1, TaskStatus::Running);
    cache
        .put_many(std::slice::from_ref(&running))
        .await
        .unwrap();
    let accepted = [new, known].map(|id| status(id, 0, TaskStatus::Queued));
    cache.put_accepted(&accepted).await.unwrap();
    assert_eq!(
        cache.get(new).await.unwrap().as_ref(),
        Some(&accepted[0].document)
    );
    assert_eq!(cache.get(known).await.unwrap(), Some(running.document));
    cache
        .put_many(&[status(new, 1, TaskStatus::Running)])
        .await
        .unwrap();
    assert_ne!(
        cache.get(new).await.unwrap().as_ref(),
        Some(&accepted[0].document)
    );
}

#[tokio::test]
async fn the_latest_status_wins_in_whatever_order_a_life_is_written() {
    let cache = cache();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..30 {
        let task_id = TaskId::generate();
        let orders = Just(life(task_id)).prop_shuffle();
        let shuffled = orders.new_tree(&mut runner).unwrap().current();
        for status in &shuffled {
            cache.put_many(std::slice::from_ref(status)).await.unwrap();
        }
        let known = cache.get(task_id).await.unwrap().unwrap();
        assert_eq!(known, life(task_id).pop().unwrap().document, "{shuffled:?}");
        cache.forget(task_id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_status_wins_when_writers_race() {
    let prefix = prefix();
    let tasks: Vec<_> = (0..50).map(|_| TaskId::generate()).collect();
    let writers = (0..6).map(|stage| {
        let cache = Cache::new(&settings(), &prefix).unwrap();
        let batch: Vec<_> = tasks
            .iter()
            .filter_map(|id| life(*id).get(stage).cloned())
            .collect();
        tokio::spawn(async move { cache.put_many(&batch).await })
    });
    for written in futures::future::join_all(writers).await {
        written.unwrap().unwrap();
    }
    let cache = Cache::new(&settings(), &prefix).unwrap();
    for task_id in tasks {
        let known = cache.get(task_id).await.unwrap();
        assert_eq!(known, life(task_id).pop().map(|last| last.document));
        cache.forget(task_id).await.unwrap();
    }
}

#[tokio::test]
async fn everything_that_is_written_expires() {
    let prefix = prefix();
    let cache = Cache::new(&settings(), &prefix).unwrap();
    let (live, done) = (TaskId::generate(), TaskId::generate());
    let statuses = [
        status(live, 0, TaskStatus::Queued),
        status(done, 1, TaskStatus::Failed),
    ];
    cache.put_many(&statuses).await.unwrap();
    let agent = agent();
    cache.put_agent(&agent).await.unwrap();
    let RedisSettings { host, port, .. } = settings();
    let client = redis::Client::open((host, port)).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for (key, longest) in [
        (format!("{prefix}orchestrator:status:{live}"), 3_600),
        (format!("{prefix}orchestrator:status:{done}"), 600),
        (format!("{prefix}orchestrator:agent:{}", agent.agent_id), 60),
    ] {
        let seconds: i64 = redis::cmd("TTL")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .unwrap();
        assert!(
            (longest - 5..=longest).contains(&seconds),
            "{key} lives {seconds} s"
        );
        let _: () = redis::cmd("DEL")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .unwrap();
    }
}

fn agent() -> CachedAgent {
    CachedAgent {
        agent_id: AgentId::parse("team:a.b-1").unwrap(),
        domain: Some("underwriting".to_owned()),
        desired: DesiredState::Running,
        status: AgentStatus::Active,
        max_concurrent_sessions: Some(5),
    }
}

#[tokio::test]
async fn an_agent_is_read_back_until_it_is_forgotten() {
    let (cache, agent) = (cache(), agent());
    assert_eq!(cache.get_agent(&agent.agent_id).await.unwrap(), None);
    cache.put_agent(&agent).await.unwrap();
    assert_eq!(
        cache.get_agent(&agent.agent_id).await.unwrap(),
        Some(agent.clone())
    );
    cache.forget_agent(&agent.agent_id).await.unwrap();
    assert_eq!(cache.get_agent(&agent.agent_id).await.unwrap(), None);
}

#[tokio::test]
async fn a_dropped_connection_is_not_noticed_by_callers() {
    let proxy = proxy().await;
    let cache = Cache::new(&through(&proxy), &prefix()).unwrap();
    cache.ping().await.unwrap();
    for _ in 0..3 {
        proxy.cut();
        assert_eq!(cache.get(TaskId::generate()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_cache_that_is_away_fails_quickly_and_comes_back_by_itself() {
    let proxy = proxy().await;
    let cache = Cache::new(&through(&proxy), &prefix()).unwrap();
    cache.ping().await.unwrap();
    proxy.take_down();
    assert!(cache.get(TaskId::generate()).await.is_err());
    let asked = Instant::now();
    for _ in 0..100 {
        assert!(cache.get(TaskId::generate()).await.is_err());
    }
    assert!(
        asked.elapsed() < Duration::from_millis(500),
        "{:?}",
        asked.elapsed()
    );
    proxy.restore();
    eventually("the cache is used again", async || {
        cache.get(TaskId::generate()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_silent_cache_costs_one_timeout_and_is_left_for_a_new_connection() {
    let proxy = proxy().await;
    let cache = Cache::new(&through(&proxy), &prefix()).unwrap();
    cache.ping().await.unwrap();
    proxy.pause();
    let asked = Instant::now();
    for _ in 0..20 {
        assert!(cache.get(TaskId::generate()).await.is_err());
    }
    assert!(
        asked.elapsed() < Duration::from_millis(1_500),
        "{:?}",
        asked.elapsed()
    );
    proxy.restore();
    eventually("the cache is used again", async || {
        cache.get(TaskId::generate()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_cache_that_was_never_there_is_an_error_and_no_panic() {
    let nobody = RedisSettings {
        host: "127.0.0.1".to_owned(),
        port: 1,
        ..settings()
    };
    let cache = Cache::new(&nobody, "").unwrap();
    assert!(cache.ping().await.is_err());
    assert!(cache.put_many(&life(TaskId::generate())).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_readers_hear_of_finished_tasks_also_after_a_reconnect() {
    let proxy = proxy().await;
    let prefix = prefix();
    let teller = Cache::new(&settings(), &prefix).unwrap();
    let listening = Cache::new(&through(&proxy), &prefix).unwrap();
    let mut finished = listening.subscribe_changed();
    for round in 0..2 {
        let tasks = [TaskId::generate(), TaskId::generate()];
        let heard = async {
            let mut heard = Vec::new();
            while heard.len() < 2 {
                let task_id = finished.next().await.unwrap();
                if tasks.contains(&task_id) && !heard.contains(&task_id) {
                    heard.push(task_id);
                }
            }
            heard
        };
        // A wake-up may be lost while nobody is subscribed yet, so it is repeated.
        let telling = async {
            loop {
                teller.notify_changed(&tasks).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let heard = tokio::select! {
            heard = tokio::time::timeout(Duration::from_secs(10), heard) => heard.unwrap(),
            () = telling => unreachable!("it never ends"),
        };
        assert_eq!(heard, tasks, "round {round}");
        proxy.cut();
    }
}
