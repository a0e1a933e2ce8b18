//! What the endpoints say of loops that turn, hang or have not begun, and whom they let see the metrics.

use std::time::Instant;

use orchestrator_common::auth::Endorser;
use orchestrator_common::config::{AuthSettings, Secret, TokenKeys};
use orchestrator_common::domain::WorkerId;
use orchestrator_common::health::Board;

use super::*;
use crate::health::{Pulse, prove_dispatching};
use crate::intake::Intake;

const SECRET: &str = "Zk3v9Qp1Lx7Wm5Rt8Ny2Bc6Hd4Jf0GsA";

fn doors(vitals: Vitals, verifier: Option<Verifier>) -> Doors {
    let vitals = Arc::new(vitals);
    Doors {
        readiness: Readiness {
            worker_id: WorkerId::generate(),
            board: Board::new(Vec::new()),
            vitals: Arc::clone(&vitals),
            started: Instant::now(),
            stopping: CancellationToken::new(),
        },
        vitals,
        metrics: Arc::new(Metrics::new(true).unwrap()),
        verifier: verifier.map(Arc::new),
    }
}

async fn get(doors: &Doors, path: &str) -> (u16, Value) {
    let response = doors.answer(&Request::get(path).body(()).unwrap()).await;
    let status = response.status().as_u16();
    let body = http_body_util::BodyExt::collect(response.into_body()).await;
    let body = body.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn a_worker_whose_loops_have_not_begun_is_alive_and_not_ready() {
    let doors = doors(Vitals::new(), None);
    let (status, live) = get(&doors, "/health/live").await;
    assert_eq!((status, &live["status"]), (200, &"alive".into()));
    assert_eq!(live["loops"]["dispatcher"]["age_seconds"], Value::Null);
    let (status, ready) = get(&doors, "/health/ready").await;
    assert_eq!((status, &ready["status"]), (503, &"starting".into()));
    assert_eq!(ready["parts"]["presence"]["status"], "down");
}

#[tokio::test]
async fn a_loop_that_no_longer_turns_ends_life_and_one_that_turns_again_restores_it() {
    let vitals = Vitals {
        sweep: Pulse::new("sweep", Duration::ZERO),
        ..Vitals::new()
    };
    vitals.presence.beat();
    vitals.sweep.beat();
    let mut doors = doors(vitals, None);
    let (status, live) = get(&doors, "/health/live").await;
    assert_eq!((status, &live["status"]), (503, &"hung".into()));
    assert_eq!(live["loops"]["sweep"]["status"], "hung");
    assert_eq!(live["loops"]["presence"]["status"], "alive");
    let vitals = Vitals::new();
    vitals.sweep.beat();
    doors.vitals = Arc::new(vitals);
    assert_eq!(get(&doors, "/health/live").await.0, 200);
}

#[tokio::test]
async fn a_dispatcher_that_takes_nothing_any_more_is_noticed() {
    let (intake, mut outlets) = Intake::new();
    let pulse = Pulse::new("dispatcher", Duration::from_millis(1));
    let proving = tokio::spawn(prove_dispatching(intake.clone(), pulse.clone()));
    let answer = async |outlets: &mut crate::intake::Outlets| match outlets.notices.recv().await {
        Some(crate::intake::Notice::Probe(answer)) => answer.send(()).unwrap(),
        other => panic!("{other:?}"),
    };
    answer(&mut outlets).await;
    // Nobody answers the second question.
    while !pulse.hangs() {
        tokio::task::yield_now().await;
    }
    drop((outlets, intake));
    proving.await.unwrap();
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let doors = doors(Vitals::new(), None);
    assert_eq!(get(&doors, "/health/other").await.0, 404);
    let posted = Request::post("/health/live").body(()).unwrap();
    assert_eq!(doors.answer(&posted).await.status(), 405);
}

#[tokio::test]
async fn metrics_are_open_unless_a_token_is_asked_for() {
    assert_eq!(get(&doors(Vitals::new(), None), "/metrics").await.0, 200);
    let auth = AuthSettings {
        required: true,
        keys: TokenKeys::Shared,
        jwt_secret: Secret::new(SECRET.to_owned()),
        issuer: None,
        audience: None,
    };
    let verifier = Verifier::new(&auth).unwrap();
    // For messages only, so not good enough here.
    let endorser = Endorser::new(&auth).unwrap().unwrap();
    let endorsed = endorser.endorse("someone", Level::Admin).unwrap();
    let doors = doors(Vitals::new(), Some(verifier));
    assert_eq!(get(&doors, "/metrics").await.0, 401);
    let asked = Request::get("/metrics").header("authorization", endorsed);
    assert_eq!(doors.answer(&asked.body(()).unwrap()).await.status(), 401);
    assert_eq!(get(&doors, "/health/live").await.0, 200);
}
