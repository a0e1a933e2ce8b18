//! What can happen to a ledger, and how often, as strategies that shrink to the shortest interleaving that matters.

use std::time::Duration;

use orchestrator_common::domain::{ErrorCode, Outcome, Snooze, TaskError, Wish};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

/// The most agents and workers of a case.
const MOST: usize = 3;

/// One case: who takes part, and what happens.
#[derive(Clone, Debug)]
pub(crate) struct Interleaving {
    /// The limit of each agent.
    pub(crate) limits: Vec<u32>,
    /// How many instances each agent has at first.
    pub(crate) instances: Vec<u32>,
    /// How many workers there are.
    pub(crate) workers: usize,
    /// What happens, in this order.
    pub(crate) operations: Vec<Operation>,
}

/// Agents and workers are numbers, taken modulo how many there are.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// A worker tells and asks.
    Dispatch(Plan),
    /// A process that is no worker accepts tasks.
    Ingest(Vec<Arrival>),
    /// A worker's process dies; it comes back as another worker.
    Kill {
        worker: usize,
        noticed_at_once: bool,
    },
    /// A worker is given up as lost and goes on unaware of it.
    Stall { worker: usize },
    /// Somebody cancels an accepted task.
    Cancel(Index),
    /// Somebody changes what is wanted of an agent.
    Want { agent: usize, wish: Wish },
    /// A reconciler looks at an agent; it may die holding the lease.
    Reconcile { agent: usize, dies: bool },
    /// The brain forgets an instance of an agent.
    Forget { agent: usize, which: Index },
    /// Somebody changes how many instances an agent is to have.
    Scale { agent: usize, instances: u32 },
    /// Somebody probes an instance of an agent.
    Probe {
        agent: usize,
        which: Index,
        is_well: bool,
    },
    /// Time passes, living workers send heartbeats, and the sweeps run.
    Wait { seconds: u64 },
}

/// One dispatch.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) worker: usize,
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) endings: Vec<Ending>,
    pub(crate) claims: Vec<usize>,
    pub(crate) room: u32,
    /// The connection breaks after the commit: the worker learns nothing and repeats the dispatch.
    pub(crate) answer_lost: bool,
}

/// A task that arrives.
#[derive(Clone, Debug)]
pub(crate) enum Arrival {
    New(Order),
    /// An earlier task once more, out of the same batch or any before.
    Repeat(Index),
    /// Another task with the identifier of an earlier one.
    Clash(Index),
}

/// What a caller wants of a new task.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) agent: usize,
    pub(crate) priority: u32,
    /// Seconds ago that it was submitted.
    pub(crate) age: u64,
    pub(crate) delay: Option<u64>,
    pub(crate) expires_in: Option<u64>,
    pub(crate) max_attempts: u32,
}

/// An outcome that a worker reports.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// Out of all claims that the worker ever held, instead of those it holds.
    pub(crate) stale: bool,
    pub(crate) which: Index,
    pub(crate) outcome: Outcome,
    /// Reported twice in one batch.
    pub(crate) twice: bool,
}

pub(crate) fn interleaving(length: usize) -> impl Strategy<Value = Interleaving> {
    (
        vec((1..=4u32, 1..=3u32), 2..=MOST),
        2..=MOST,
        vec(operation(), 1..=length),
    )
        .prop_map(|(agents, workers, operations)| Interleaving {
            limits: agents.iter().map(|(limit, _)| *limit).collect(),
            instances: agents.iter().map(|(_, instances)| *instances).collect(),
            workers,
            operations,
        })
}

fn operation() -> impl Strategy<Value = Operation> {
    let wish = prop_oneof![
        4 => Just(Wish::Start),
        1 => Just(Wish::Stop),
        1 => Just(Wish::Pause),
        1 => Just(Wish::Resume),
    ];
    prop_oneof![
        16 => plan().prop_map(Operation::Dispatch),
        2 => vec(arrival(), 1..4).prop_map(Operation::Ingest),
        1 => (0..MOST, any::<bool>())
            .prop_map(|(worker, noticed_at_once)| Operation::Kill { worker, noticed_at_once }),
        1 => (0..MOST).prop_map(|worker| Operation::Stall { worker }),
        2 => any::<Index>().prop_map(Operation::Cancel),
        1 => (0..MOST, wish).prop_map(|(agent, wish)| Operation::Want { agent, wish }),
        3 => (0..MOST, proptest::bool::weighted(0.1))
            .prop_map(|(agent, dies)| Operation::Reconcile { agent, dies }),
        1 => (0..MOST, any::<Index>()).prop_map(|(agent, which)| Operation::Forget { agent, which }),
        1 => (0..MOST, 1..=3u32).prop_map(|(agent, instances)| Operation::Scale { agent, instances }),
        2 => (0..MOST, any::<Index>(), any::<bool>())
            .prop_map(|(agent, which, is_well)| Operation::Probe { agent, which, is_well }),
        4 => (0..40u64).prop_map(|seconds| Operation::Wait { seconds }),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        0..MOST,
        vec(arrival(), 0..6),
        vec(ending(), 0..5),
        vec(0..MOST, 0..3),
        0..7u32,
        proptest::bool::weighted(0.1),
    )
        .prop_map(
            |(worker, arrivals, endings, claims, room, answer_lost)| Plan {
                worker,
                arrivals,
                endings,
                claims,
                room,
                answer_lost,
            },
        )
}

fn arrival() -> impl Strategy<Value = Arrival> {
    prop_oneof![
        8 => wish().prop_map(Arrival::New),
        2 => any::<Index>().prop_map(Arrival::Repeat),
        1 => any::<Index>().prop_map(Arrival::Clash),
    ]
}

fn wish() -> impl Strategy<Value = Order> {
    (
        0..MOST,
        1..=10u32,
        0..3u64,
        option::weighted(0.2, 0..30u64),
        option::weighted(0.2, 1..60u64),
        1..4u32,
    )
        .prop_map(
            |(agent, priority, age, delay, expires_in, max_attempts)| Order {
                agent,
                priority,
                age,
                delay,
                expires_in,
                max_attempts,
            },
        )
}

fn ending() -> impl Strategy<Value = Ending> {
    (
        proptest::bool::weighted(0.2),
        any::<Index>(),
        outcome(),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(stale, which, outcome, twice)| Ending {
            stale,
            which,
            outcome,
            twice,
        })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let error = |code| TaskError::new(code, "as the test wants");
    prop_oneof![
        6 => Just(completed()),
        3 => option::of(0..20u64).prop_map(move |seconds| Outcome::Retryable {
            error: error(ErrorCode::AgentUnreachable),
            retry_after: seconds.map(Duration::from_secs),
        }),
        1 => Just(Outcome::Failed { error: error(ErrorCode::AgentFailed) }),
        1 => Just(Outcome::TimedOut { error: error(ErrorCode::TimedOut) }),
        1 => (0..10u64).prop_map(|seconds| Outcome::Snoozed { why: Snooze::Busy, delay: Duration::from_secs(seconds) }),
        1 => Just(Outcome::HandedBack),
        1 => Just(Outcome::WorkerLost),
        1 => Just(Outcome::Cancelled),
    ]
}

/// An agent's answer.
pub(crate) fn completed() -> Outcome {
    let result = serde_json::value::to_raw_value(&serde_json::json!({"n": 1})).unwrap();
    Outcome::Completed {
        result: result.into(),
    }
}
