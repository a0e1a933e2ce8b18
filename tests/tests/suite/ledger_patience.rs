//! On a network that swallows everything, every operation of the ledger ends.

use std::collections::HashSet;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use orchestrator_common::config::Secret;
use orchestrator_common::domain::{
    AgentStatus, InstanceId, Priority, Registration, Scaling, TaskId, TaskStatus, Timestamp, Wish,
    WorkerId,
};
use orchestrator_common::ledger::{
    AgentQuery, Dispatch, Found, LeasedAgent, Ledger, LedgerError, Probe, WorkerRecord,
};
use orchestrator_tests::eventually;
use orchestrator_tests::ledger::{Backend, TestLedger, agent_id, default_options, task};
use orchestrator_tests::tcp_proxy::TcpProxy;
use reqwest::Url;
use serde_json::json;

/// What the ledgers of this test are allowed.
const PATIENCE: Duration = Duration::from_secs(1);
/// Much longer than that, also on a machine that is busy with other things.
const HANGS: Duration = Duration::from_secs(25);

type Operation<'a> = (&'static str, BoxFuture<'a, Result<(), LedgerError>>);

/// Every operation that talks to the database, by name.
fn operations<'a>(ledger: &'a Ledger, lease: &'a LeasedAgent) -> Vec<Operation<'a>> {
    macro_rules! operations {
        ($($name:ident($($argument:expr),*)),* $(,)?) => {
            vec![$((
                stringify!($name),
                async move { ledger.$name($($argument),*).await.map(drop) }.boxed(),
            )),*]
        };
    }
    let agent = &lease.agent.agent_id;
    let (now, worker, known) = (Timestamp::now(), WorkerId::generate(), HashSet::new());
    let arrival = task(agent, json!({}), now);
    let registration = Registration::parse(json!({"agent_id": "b"})).unwrap();
    let record = arrival.clone().into_record(TaskStatus::Queued);
    let dispatch = Dispatch {
        arrivals: vec![arrival.clone()],
        ..Dispatch::default()
    };
    let probe = Probe {
        agent_id: agent.clone(),
        instance_id: InstanceId::generate(),
        endpoint: String::new(),
    };
    let found = vec![(probe, Found::Failed)];
    let row = WorkerRecord {
        worker_id: worker,
        host: "test".to_owned(),
        capacity: 1,
    };
    let mut presence = ledger.presence(row.clone());
    let mut all = Vec::new();
    let beat = async move { presence.beat().await.map(drop) };
    all.push(("presence beat", beat.boxed()));
    let leaving = ledger.presence(row.clone());
    all.push(("presence leave", leaving.leave().boxed()));
    all.extend(operations![
        ping(),
        dispatch(worker, dispatch, now),
        ingest(vec![arrival], now),
        register(&registration, now),
        wish(agent, Wish::Start, now),
        agents_to_reconcile(now, 10),
        lease_agent(agent, worker, PATIENCE, now),
        observe(lease, AgentStatus::Starting, None),
        end_lease(lease, 0, None),
        plan_instances(lease, now),
        instance_made(
            lease,
            InstanceId::generate(),
            "http://127.0.0.1:1",
            now,
            now
        ),
        forget_instance(agent, InstanceId::generate(), now),
        claim_probes(PATIENCE, 10, now),
        record_probes(&found, now),
        instance_counts(),
        lose_instance(agent, InstanceId::generate(), now),
        lose_made_instances(now),
        cancel_waiting(agent, now),
        deactivate(lease, now),
        agent(agent),
        agents(&AgentQuery::default()),
        task(TaskId::generate()),
        tasks(&[TaskId::generate()]),
        cancel_running(agent, now),
        scale(
            agent,
            Scaling {
                instances: None,
                max_concurrent_sessions: Some(5)
            },
            now
        ),
        queue_position(&record),
        load(),
        runnable_agents(10),
        cancel(TaskId::generate(), now),
        to_cancel(worker),
        reprioritise(TaskId::generate(), Priority::new(5).unwrap()),
        promote_due(now),
        next_due(),
        expire(now),
        other_workers(worker),
        heartbeat(&row, now),
        sign_off(worker),
        recover(worker, now),
        hand_back_unknown(worker, &known, now),
    ]);
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_dead_network_every_operation_ends() {
    let test = TestLedger::create(Backend::Postgres, default_options()).await;
    let mut url: Url = test.url.as_deref().unwrap().parse().unwrap();
    let network = TcpProxy::in_front_of_postgres(&mut url).await.unwrap();
    let url = Secret::new(url.to_string());
    let ledger = Ledger::open_postgres(&url, 20, default_options()).await;
    let ledger = ledger.unwrap().with_patience(PATIENCE);

    let (agent, now) = (agent_id("a"), Timestamp::now());
    let registration = Registration::parse(json!({"agent_id": "a"})).unwrap();
    test.ledger.register(&registration, now).await.unwrap();
    test.ledger.wish(&agent, Wish::Start, now).await.unwrap();
    let holder = WorkerId::generate();
    let lease = test.ledger.lease_agent(&agent, holder, HANGS, now).await;
    let lease = lease.unwrap().unwrap();
    // Some have a connection to lose, others have to make one.
    join_all((0..10).map(|_| ledger.ping())).await;

    network.pause();
    let ends = operations(&ledger, &lease).into_iter();
    let ends = ends.map(async |(name, operation)| {
        let ended = tokio::time::timeout(HANGS, operation).await;
        let error = ended.unwrap_or_else(|_| panic!("{name} hangs"));
        let refused = matches!(error, Err(LedgerError::Unavailable(_)));
        assert!(refused, "{name}: {error:?}");
    });
    join_all(ends).await;
    network.restore();
    eventually("the ledger works again", async || {
        ledger.ping().await.is_ok()
    })
    .await;

    network.pause();
    let closed = tokio::time::timeout(HANGS, ledger.close()).await;
    closed.expect("closing ends");
    test.remove().await;
}
