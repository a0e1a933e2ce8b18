//! What a flood of probes costs the dependencies, and what hanging ones cost the probes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::future::BoxFuture;

use super::*;

#[derive(Debug, Default)]
struct Scripted {
    answers: AtomicBool,
    hangs: bool,
    asked: AtomicUsize,
}

impl DependencyCheck for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            let answers = self.answers.load(Ordering::SeqCst);
            answers.then_some(()).ok_or("it is away".to_owned())
        })
    }
}

#[tokio::test]
async fn dependencies_that_hang_are_given_up_together() {
    let hanging = || {
        Arc::new(Scripted {
            hangs: true,
            ..Scripted::default()
        })
    };
    let board = Board::new(vec![hanging(), hanging()]);
    let begun = Instant::now();
    assert!(board.look().await.iter().all(|finding| !finding.up));
    assert!(begun.elapsed() < PATIENCE * 2, "they were asked one by one");
}

#[tokio::test]
async fn a_flood_of_probes_asks_each_dependency_once() {
    let ledger = Arc::new(Scripted::default());
    let board = Board::new(vec![ledger.clone()]);
    join_all((0..100).map(|_| board.look())).await;
    assert_eq!(ledger.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_down_keeps_the_time_of_its_latest_answer() {
    let ledger = Arc::new(Scripted::default());
    let board = Board::new(vec![ledger.clone()]);
    assert!(board.look().await[0].proven_at.is_none());
    let forget = async || board.latest.lock().await.as_mut().unwrap().at -= MEMORY;
    forget().await;
    ledger.answers.store(true, Ordering::SeqCst);
    let up = board.look().await[0];
    assert!(up.up && up.proven_at.is_some());
    forget().await;
    ledger.answers.store(false, Ordering::SeqCst);
    let down = board.look().await[0];
    assert!(!down.up);
    assert_eq!(down.proven_at, up.proven_at);
}
