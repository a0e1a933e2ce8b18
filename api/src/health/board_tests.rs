//! What dependencies amount to, and what a flood of probes costs them.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;

use super::*;
use crate::Limits;
use crate::testing::TestApi;

#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Answers,
    Fails,
    Hangs,
}

#[derive(Debug)]
struct Scripted {
    name: &'static str,
    carries: Carries,
    behaviour: Behaviour,
    asked: AtomicUsize,
}

impl DependencyCheck for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn carries(&self) -> Carries {
        self.carries
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            match self.behaviour {
                Behaviour::Answers => Ok(()),
                Behaviour::Fails => Err("password authentication failed for host db-7".into()),
                Behaviour::Hangs => std::future::pending().await,
            }
        })
    }
}

const ACCEPTS: Carries = Carries {
    accepting: true,
    reading: false,
};
const READS: Carries = Carries {
    accepting: false,
    reading: true,
};
const NOTHING: Carries = Carries {
    accepting: false,
    reading: false,
};

fn scripted(name: &'static str, carries: Carries, behaviour: Behaviour) -> Arc<Scripted> {
    Arc::new(Scripted {
        name,
        carries,
        behaviour,
        asked: AtomicUsize::new(0),
    })
}

async fn api(checks: &[(&'static str, Carries, Behaviour)]) -> TestApi {
    let checks = checks
        .iter()
        .map(|(name, carries, behaviour)| {
            scripted(name, *carries, *behaviour) as Arc<dyn DependencyCheck>
        })
        .collect();
    TestApi::with(&[], Limits::default(), checks).await
}

#[tokio::test]
async fn with_everything_answering_it_is_healthy() {
    let received = api(&[
        ("ledger", READS, Behaviour::Answers),
        ("broker", ACCEPTS, Behaviour::Answers),
    ])
    .await
    .get("/health")
    .await;
    assert_eq!(received.status, 200);
    let report = received.json();
    assert_eq!(
        (&report["status"], &report["service"]),
        (&"healthy".into(), &"agent-orchestrator".into())
    );
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert!(report["uptime_seconds"].is_number());
    assert_eq!(report["dependencies"]["ledger"]["status"], "up");
}

#[tokio::test]
async fn without_one_dependency_it_is_degraded_and_still_ready() {
    let api = api(&[
        ("ledger", READS, Behaviour::Fails),
        ("broker", ACCEPTS, Behaviour::Answers),
        ("brain_factory", NOTHING, Behaviour::Answers),
    ])
    .await;
    for path in ["/health", "/health/ready"] {
        let received = api.get(path).await;
        assert_eq!(received.status, 200, "{path}");
        assert_eq!(received.json()["status"], "degraded");
        assert_eq!(received.json()["dependencies"]["ledger"]["status"], "down");
        assert!(
            !received.text.contains("db-7"),
            "an internal detail shows: {}",
            received.text
        );
    }
}

#[tokio::test]
async fn when_it_can_neither_accept_nor_read_it_is_unhealthy_and_alive() {
    let api = api(&[
        ("ledger", READS, Behaviour::Fails),
        ("broker", ACCEPTS, Behaviour::Fails),
        ("brain_factory", NOTHING, Behaviour::Answers),
    ])
    .await;
    for path in ["/health", "/health/ready"] {
        let received = api.get(path).await;
        assert_eq!(received.status, 503, "{path}");
        assert_eq!(received.json()["status"], "unhealthy");
    }
    let live = api.get("/health/live").await;
    assert_eq!(
        (live.status.as_u16(), &live.json()["status"]),
        (200, &"alive".into())
    );
}

#[tokio::test]
async fn dependencies_that_hang_are_given_up_together() {
    let board = HealthBoard::new(vec![
        scripted("one", READS, Behaviour::Hangs),
        scripted("two", ACCEPTS, Behaviour::Hangs),
    ]);
    let started = Instant::now();
    assert_eq!(board.report().await.status, Health::Unhealthy);
    assert!(
        started.elapsed() < PATIENCE * 2,
        "they were asked one after the other"
    );
}

#[tokio::test]
async fn a_flood_of_probes_asks_each_dependency_once() {
    let ledger = scripted("ledger", READS, Behaviour::Answers);
    let board = HealthBoard::new(vec![ledger.clone()]);
    join_all((0..100).map(|_| board.report())).await;
    assert_eq!(ledger.asked.load(Ordering::SeqCst), 1);
}
