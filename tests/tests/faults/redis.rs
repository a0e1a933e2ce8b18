//! A Redis that is killed and restarted empty, or wiped while it runs.

use std::time::Instant;

use orchestrator_tests::deployment::{Load, Places};
use orchestrator_tests::eventually;
use orchestrator_tests::private_servers::PrivateRedis;

use super::{BOUND, deployment, is_healthy, reads};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_restarted_empty_and_wiped_under_load_loses_nothing() {
    let Some(mut redis) = PrivateRedis::start().await.unwrap() else {
        return;
    };
    let places = Places {
        redis: redis.settings(),
        ..Places::shared()
    };
    let (deployment, options) = deployment(&places).await;
    let api = deployment.api().await.unwrap();
    let worker = deployment.worker(100).await.unwrap();
    let mut load = Load::start(options, &[&api]);
    load.more(100, "in good weather").await;

    redis.kill();
    load.more(100, "without Redis").await;
    redis.start_again().await.unwrap();
    let fault_over = Instant::now();
    let took = deployment
        .recovered("restarted Redis", fault_over, load.accepted())
        .await;
    assert!(took < BOUND);
    let back = eventually("Redis is used again", async || is_healthy(&api).await).await;
    eprintln!(
        "CONNECTED to the restarted Redis after {:.1} s",
        back.as_secs_f64()
    );

    for _ in 0..3 {
        load.more(30, "before Redis is wiped").await;
        redis.run("FLUSHALL").await.unwrap();
    }
    let fault_over = Instant::now();
    let took = deployment
        .recovered("wiped Redis", fault_over, load.accepted())
        .await;
    assert!(took < BOUND);
    let submitted = load.stop().await;
    assert_eq!(submitted.refused, 0, "nobody needs Redis");
    deployment.audit(&submitted).await;
    reads(&api, &submitted.accepted, "completed").await;
    deployment.end(vec![api], vec![worker]).await;
}
