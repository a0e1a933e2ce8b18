//! Workers that die, lose their session or their network, on a real PostgreSQL: their tasks run elsewhere, and only
//! there.

use std::time::{Duration, Instant};

use orchestrator_common::brain_factory::BrainFactoryClient;
use orchestrator_common::commands::CommandSink;
use orchestrator_common::config::{BrainFactorySettings, Secret};
use orchestrator_common::domain::{
    AgentId, AgentStatus, Registration, TaskId, TaskRecord, TaskStatus, Timestamp, WorkerId,
};
use orchestrator_common::ledger::{Dispatch, Ledger, Welcome, WorkerRecord};
use orchestrator_common::metrics::Metrics;
use orchestrator_tests::counting_agents::{CountingAgents, Repetition};
use orchestrator_tests::eventually;
use orchestrator_tests::ledger::{Backend, TestLedger, agent_id, default_options, task};
use orchestrator_tests::tcp_proxy::TcpProxy;
use orchestrator_worker::{Intake, Worker, WorkerContext};
use reqwest::Url;
use sea_orm::ConnectionTrait;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// A ledger, and one agent that counts its callers.
struct Cluster {
    test: TestLedger,
    agent: AgentId,
    calls: CountingAgents,
}

/// A worker in a runtime of its own, which can be taken away from under it.
struct Process {
    worker_id: WorkerId,
    intake: Intake,
    runtime: Runtime,
}

impl Cluster {
    async fn with_limit(limit: u32) -> Self {
        let test = TestLedger::create(Backend::Postgres, default_options()).await;
        let calls = CountingAgents::start(Repetition::RunsAgain).await.unwrap();
        let agent = agent_id("a");
        let endpoint = calls.endpoint(&agent);
        let body = json!({"agent_id": "a", "max_concurrent_sessions": limit, "endpoint": endpoint});
        let registration = Registration::parse(body).unwrap();
        test.ledger
            .register(&registration, Timestamp::now())
            .await
            .unwrap();
        Self { test, agent, calls }
    }

    fn url(&self) -> Url {
        self.test.url.as_deref().unwrap().parse().unwrap()
    }

    /// Starts a worker whose ledger is at `url`, and waits until the ledger knows it.
    async fn worker(&self, url: Url, silence: Duration) -> Process {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let settings = BrainFactorySettings {
            url: "http://127.0.0.1:1".parse().unwrap(),
            configured: true,
            generate_timeout: Duration::from_secs(10),
            simulation: false,
        };
        let worker_id = WorkerId::generate();
        let made = runtime.spawn(async move {
            let url = Secret::new(url.to_string());
            let worker = Worker::new(WorkerContext {
                worker_id,
                host: "test".to_owned(),
                ledger: Ledger::open_postgres(&url, 4, default_options())
                    .await
                    .unwrap(),
                brain: BrainFactoryClient::new(&settings).unwrap(),
                pipeline: None,
                callbacks: None,
                audit_service: None,
                retention: Default::default(),
                metrics: Metrics::new(false).unwrap().into(),
                capacity: 100,
                generate_timeout: settings.generate_timeout,
                probe_interval: Duration::from_secs(30),
                silence,
                shutdown_grace: Duration::from_secs(5),
                outward: orchestrator_worker::Outward::default(),
            });
            let intake = worker.intake();
            tokio::spawn(worker.run_until_stopped(CancellationToken::new()));
            intake
        });
        let intake = made.await.unwrap();
        eventually("the ledger knows the worker", || self.sees(worker_id)).await;
        Process {
            worker_id,
            intake,
            runtime,
        }
    }

    /// Whether the ledger knows the worker and its lock.
    async fn sees(&self, worker_id: WorkerId) -> bool {
        let nobody = WorkerId::generate();
        let workers = self.test.ledger.other_workers(nobody).await.unwrap();
        workers.iter().any(|worker| {
            worker.worker_id == worker_id && worker.locked && worker.heartbeat_at.is_some()
        })
    }

    /// Has `process` run `number` tasks that take `millis` each.
    async fn run_on(&self, process: &Process, number: u32, millis: u64) -> Vec<TaskId> {
        let mut ids = Vec::new();
        for _ in 0..number {
            let data = json!({"task_data": {"millis": millis}});
            let task = task(&self.agent, data, Timestamp::now());
            ids.push(task.task_id);
            process.intake.execute(task).await.unwrap();
        }
        eventually("all tasks run", async || {
            self.calls.running(&self.agent) == number
        })
        .await;
        ids
    }

    async fn task(&self, id: TaskId) -> TaskRecord {
        self.test.ledger.task(id).await.unwrap().unwrap()
    }

    /// Waits until all tasks completed and returns the highest attempt and the worker of each.
    async fn completed(&self, ids: &[TaskId]) -> Vec<(u32, Option<WorkerId>)> {
        let mut ends = Vec::new();
        for id in ids {
            eventually("the task is completed", async || {
                self.task(*id).await.status == TaskStatus::Completed
            })
            .await;
            let task = self.task(*id).await;
            ends.push((task.attempt, task.worker_id));
        }
        ends
    }

    async fn end(self, processes: Vec<Process>) {
        for process in processes {
            process.runtime.shutdown_background();
        }
        self.test.remove().await;
    }
}

const SILENCE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_workers_tasks_run_elsewhere_long_before_its_silence_is_up() {
    let cluster = Cluster::with_limit(3).await;
    let killed = cluster.worker(cluster.url(), SILENCE).await;
    let ids = cluster.run_on(&killed, 3, 3_000).await;
    let other = cluster.worker(cluster.url(), SILENCE).await;
    let at = Instant::now();
    killed.runtime.shutdown_background();
    eventually("the tasks run elsewhere", async || {
        cluster.task(ids[0]).await.worker_id == Some(other.worker_id)
    })
    .await;
    let noticed = at.elapsed();
    // About two seconds, and as much again for a busy machine.
    assert!(noticed < Duration::from_secs(4), "{noticed:?}");
    let ends = cluster.completed(&ids).await;
    assert_eq!(ends, [(2, Some(other.worker_id)); 3]);
    assert_eq!(cluster.calls.most(&cluster.agent), 3);
    assert!(!cluster.sees(killed.worker_id).await);
    cluster.end(vec![other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_makes_its_broken_session_again_keeps_its_tasks() {
    let cluster = Cluster::with_limit(3).await;
    let worker = cluster.worker(cluster.url(), SILENCE).await;
    let ids = cluster.run_on(&worker, 3, 4_000).await;
    let other = cluster.worker(cluster.url(), SILENCE).await;
    let low = worker.worker_id.uuid().as_u64_pair().1;
    let holder = format!(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted \
         AND classid = {} AND objid = {}",
        low >> 32,
        low & u64::from(u32::MAX)
    );
    let database = cluster.test.ledger.connection();
    let pid = async || {
        let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, &holder);
        let row = database.query_one_raw(statement).await.unwrap();
        row.map(|row| row.try_get_by_index::<i32>(0).unwrap())
    };
    let before = pid().await.unwrap();
    database
        .execute_unprepared(&format!("SELECT pg_terminate_backend({before})"))
        .await
        .unwrap();
    eventually("the lock is held again", async || {
        pid().await.is_some_and(|pid| pid != before)
    })
    .await;
    let ends = cluster.completed(&ids).await;
    assert_eq!(ends, [(1, Some(worker.worker_id)); 3]);
    assert_eq!(
        cluster.calls.executions(&cluster.agent),
        3,
        "each was called once"
    );
    cluster.end(vec![worker, other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_off_worker_lets_go_before_its_tasks_run_elsewhere_and_comes_back() {
    let cluster = Cluster::with_limit(2).await;
    let silence = Duration::from_secs(3);
    let mut url = cluster.url();
    let network = TcpProxy::in_front_of_postgres(&mut url).await.unwrap();
    let cut_off = cluster.worker(url, silence).await;
    let ids = cluster.run_on(&cut_off, 2, 5_000).await;
    let other = cluster.worker(cluster.url(), silence).await;
    network.pause();
    let ends = cluster.completed(&ids).await;
    assert_eq!(ends, [(2, Some(other.worker_id)); 2]);
    assert_eq!(cluster.calls.most(&cluster.agent), 2);

    network.restore();
    eventually("the worker is back", || cluster.sees(cut_off.worker_id)).await;
    let late = cluster.completed(&ids).await;
    assert_eq!(
        late, ends,
        "what the worker has to say of its old claims is refused"
    );
    other.runtime.shutdown_background();
    let more = cluster.run_on(&cut_off, 2, 500).await;
    assert_eq!(
        cluster.completed(&more).await,
        [(1, Some(cut_off.worker_id)); 2]
    );
    let agent = cluster.test.ledger.agent(&cluster.agent).await;
    let agent = agent.unwrap().unwrap();
    assert_eq!((agent.status, agent.running), (AgentStatus::Active, 0));
    assert_eq!(cluster.calls.most(&cluster.agent), 2);
    cluster.end(vec![cut_off]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_workers_may_recover_the_same_lost_one_and_each_task_is_put_back_once() {
    let cluster = Cluster::with_limit(20).await;
    let worker = cluster.worker(cluster.url(), SILENCE).await;
    let ids = cluster.run_on(&worker, 20, 60_000).await;
    let lost = worker.worker_id;
    worker.runtime.shutdown_background();
    let recoveries = (0..4).map(|_| {
        let ledger = cluster.test.ledger.clone();
        tokio::spawn(async move { ledger.recover(lost, Timestamp::now()).await.unwrap() })
    });
    let mut put_back = 0;
    for recovered in futures::future::join_all(recoveries).await {
        put_back += recovered
            .unwrap()
            .iter()
            .filter(|recorded| recorded.settlement.is_some())
            .count();
    }
    assert_eq!(put_back, 20);
    let agent = cluster.test.ledger.agent(&cluster.agent).await;
    let agent = agent.unwrap().unwrap();
    assert_eq!((agent.running, agent.queued), (0, 20));
    assert_eq!(cluster.task(ids[0]).await.attempt, 1);
    cluster.end(Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovered_worker_is_a_stranger_at_its_next_sign_of_life() {
    let cluster = Cluster::with_limit(1).await;
    let ledger = &cluster.test.ledger;
    let worker_id = WorkerId::generate();
    let mut presence = ledger.presence(WorkerRecord {
        worker_id,
        host: "test".to_owned(),
        capacity: 1,
    });
    assert_eq!(presence.beat().await.unwrap(), Welcome::Stranger);
    assert_eq!(presence.beat().await.unwrap(), Welcome::Known);
    ledger.recover(worker_id, Timestamp::now()).await.unwrap();
    assert_eq!(presence.beat().await.unwrap(), Welcome::Stranger);
    presence.leave().await.unwrap();
    assert!(!cluster.sees(worker_id).await);
    cluster.end(Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_on_a_dead_network_ends_and_the_ledger_works_when_it_is_back() {
    let cluster = Cluster::with_limit(1).await;
    let mut url = cluster.url();
    let network = TcpProxy::in_front_of_postgres(&mut url).await.unwrap();
    let ledger = Ledger::open_postgres(&Secret::new(url.to_string()), 2, default_options())
        .await
        .unwrap();
    network.pause();
    let arrival = task(&cluster.agent, json!({}), Timestamp::now());
    let dispatch = || Dispatch {
        arrivals: vec![arrival.clone()],
        ..Dispatch::default()
    };
    let worker = WorkerId::generate();
    let at = Instant::now();
    let given_up = ledger.dispatch(worker, dispatch(), Timestamp::now()).await;
    assert!(given_up.is_err() && at.elapsed() < Duration::from_secs(25));
    network.restore();
    eventually("the ledger works again", async || {
        let again = ledger.dispatch(worker, dispatch(), Timestamp::now()).await;
        again.is_ok()
    })
    .await;
    ledger.close().await;
    cluster.end(Vec::new()).await;
}
