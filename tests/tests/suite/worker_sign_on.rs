//! A worker whose ledger goes away between the look at its schema and the first sign of life.

use std::time::Duration;

use orchestrator_common::brain_factory::BrainFactoryClient;
use orchestrator_common::config::{BrainFactorySettings, Secret};
use orchestrator_common::domain::WorkerId;
use orchestrator_common::ledger::Ledger;
use orchestrator_common::metrics::Metrics;
use orchestrator_tests::eventually;
use orchestrator_tests::ledger::{Backend, TestLedger, default_options};
use orchestrator_tests::tcp_proxy::TcpProxy;
use orchestrator_worker::{Outward, Worker, WorkerContext};
use reqwest::Url;
use tokio_util::sync::CancellationToken;

/// A worker that has looked at its ledger through a proxy and has given no sign of life yet.
struct Beginner {
    test: TestLedger,
    network: TcpProxy,
    worker_id: WorkerId,
    worker: Worker,
}

impl Beginner {
    async fn make() -> Self {
        let test = TestLedger::create(Backend::Postgres, default_options()).await;
        let mut url: Url = test.url.as_deref().unwrap().parse().unwrap();
        let network = TcpProxy::in_front_of_postgres(&mut url).await.unwrap();
        let url = Secret::new(url.to_string());
        let ledger = Ledger::open_postgres(&url, 4, default_options()).await;
        let ledger = ledger.unwrap();
        ledger.load().await.unwrap();
        let brain = BrainFactorySettings {
            url: "http://127.0.0.1:1".parse().unwrap(),
            configured: true,
            generate_timeout: Duration::from_secs(10),
            simulation: false,
        };
        let worker_id = WorkerId::generate();
        let worker = Worker::new(WorkerContext {
            worker_id,
            host: "test".to_owned(),
            ledger,
            brain: BrainFactoryClient::new(&brain).unwrap(),
            pipeline: None,
            callbacks: None,
            audit_service: None,
            retention: Default::default(),
            metrics: Metrics::new(false).unwrap().into(),
            capacity: 1,
            generate_timeout: brain.generate_timeout,
            probe_interval: Duration::from_secs(30),
            silence: Duration::from_secs(15),
            shutdown_grace: Duration::from_secs(5),
            outward: Outward::default(),
        });
        Self {
            test,
            network,
            worker_id,
            worker,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_cannot_sign_on_tries_again_until_it_can() {
    let Beginner {
        test,
        network,
        worker_id,
        worker,
    } = Beginner::make().await;
    network.take_down();
    let (before, stop) = (network.connections(), CancellationToken::new());
    let running = tokio::spawn(worker.run_until_stopped(stop.clone()));
    eventually("it has tried several times", async || {
        network.connections() >= before + 3
    })
    .await;
    assert!(!running.is_finished());
    network.restore();
    eventually("the ledger knows it", async || {
        let others = test.ledger.other_workers(WorkerId::generate()).await;
        let others = others.unwrap();
        others.iter().any(|other| other.worker_id == worker_id)
    })
    .await;
    stop.cancel();
    running.await.unwrap().unwrap();
    test.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_cannot_sign_on_stops_when_it_is_told_to() {
    let Beginner {
        test,
        network,
        worker,
        ..
    } = Beginner::make().await;
    // Silent, so that it waits for an answer when it is told.
    network.pause();
    let (before, stop) = (network.connections(), CancellationToken::new());
    let running = tokio::spawn(worker.run_until_stopped(stop.clone()));
    eventually("it tries", async || network.connections() > before).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    test.remove().await;
}
