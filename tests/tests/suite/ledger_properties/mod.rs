//! The promises of the ledger, kept under any interleaving of what workers, callers and operators do, crash and repeat.
//!
//! A model says what every task must be; after each operation the database itself is compared with it.

#![allow(clippy::unwrap_used, reason = "what fails in a test fails the test")]

mod checks;
mod model;
mod operations;
mod requests;
mod sweeps;
mod world;

use std::sync::atomic::{AtomicU32, Ordering};

use orchestrator_tests::ledger::{Backend, TestLedger, default_options};
use proptest::test_runner::{Config, TestRunner};

use operations::Interleaving;
use world::World;

#[test]
fn every_interleaving_keeps_the_promises_on_sqlite() {
    keeps_the_promises(Backend::Sqlite, 64, 60);
}

#[test]
fn every_interleaving_keeps_the_promises_on_postgres() {
    keeps_the_promises(Backend::Postgres, 24, 60);
}

/// Runs `cases` random interleavings of up to `length` operations; `PROPTEST_CASES` asks for another number of them.
fn keeps_the_promises(backend: Backend, cases: u32, length: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let test = runtime.block_on(TestLedger::create(backend, default_options()));
    let mut config = Config {
        // A failure prints its shortest interleaving; there is nothing to keep in a file.
        failure_persistence: None,
        max_shrink_iters: 4_000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    let number = AtomicU32::new(0);
    let outcome = TestRunner::new(config).run(&operations::interleaving(length), |case| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        runtime.block_on(play(&test, number, case))
    });
    runtime.block_on(test.remove());
    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
}

async fn play(
    test: &TestLedger,
    number: u32,
    case: Interleaving,
) -> Result<(), proptest::test_runner::TestCaseError> {
    let mut world = World::create(&test.ledger, number, &case).await?;
    for operation in case.operations {
        world.apply(operation).await?;
    }
    world.drain().await
}
