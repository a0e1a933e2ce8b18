//! What dependencies amount to.

use std::sync::Arc;

use futures::future::BoxFuture;
use orchestrator_common::health::DependencyCheck;

use super::*;
use crate::Limits;
use crate::testing::TestApi;

#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Answers,
    Fails,
}

#[derive(Debug)]
struct Scripted {
    name: &'static str,
    behaviour: Behaviour,
}

impl DependencyCheck for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            match self.behaviour {
                Behaviour::Answers => Ok(()),
                Behaviour::Fails => Err("password authentication failed for host db-7".into()),
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

async fn api(dependencies: &[(&'static str, Carries, Behaviour)]) -> TestApi {
    let dependencies = dependencies
        .iter()
        .map(|&(name, carries, behaviour)| Dependency {
            check: Arc::new(Scripted { name, behaviour }),
            carries,
        })
        .collect();
    TestApi::with(&[], Limits::default(), dependencies).await
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
