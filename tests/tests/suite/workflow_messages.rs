//! Workflows over the broker: commands as direct publishers send them, and what is told of runs.

use orchestrator_common::domain::workflow::{RunId, RunStatus};
use orchestrator_tests::eventually;
use orchestrator_tests::full_worker::FullStrength;
use serde_json::{Value, json};

async fn status(servers: &FullStrength, run_id: RunId) -> Option<RunStatus> {
    let run = servers.ledger.run(run_id).await.unwrap();
    run.map(|run| run.summary.status)
}

async fn stands(servers: &FullStrength, run_id: RunId, wanted: RunStatus) {
    eventually(&format!("{run_id} is {wanted}"), async || {
        status(servers, run_id).await == Some(wanted)
    })
    .await;
}

fn start(run_id: RunId, steps: Value) -> Value {
    json!({"run_id": run_id, "steps": steps})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workflows_are_started_approved_and_cancelled_by_messages() -> anyhow::Result<()> {
    let servers = FullStrength::start().await?;
    let worker = servers.worker(10).await?;
    let agent = servers.agent("workflows", 5).await?;
    let completed = servers.events("workflow.completed.*").await?;
    let steps = json!([
        {"id": "ask", "type": "approval"},
        {"id": "do", "depends_on": ["ask"], "agent_id": agent, "task_type": "t"},
    ]);
    let run_id = RunId::generate();
    // Delivered twice, it starts once.
    for _ in 0..2 {
        servers
            .send("workflow.start", &start(run_id, steps.clone()))
            .await?;
    }
    let mut hash = None;
    eventually("somebody is asked", async || {
        let run = servers.ledger.run(run_id).await.unwrap();
        hash = run.and_then(|run| Some(run.state.steps[0].approval.as_ref()?.hash.clone()));
        hash.is_some()
    })
    .await;
    let decision = json!({"run_id": run_id, "step_id": "ask", "decision": "approve", "hash": hash});
    for _ in 0..2 {
        servers.send("workflow.approve", &decision).await?;
    }
    stands(&servers, run_id, RunStatus::Completed).await;
    let event = servers.next(&completed).await?;
    assert_eq!(
        (&event.body["run_id"], &event.body["event"]),
        (&json!(run_id), &json!("workflow.completed"))
    );

    let lasting = json!([{"id": "do", "agent_id": agent, "task_type": "t",
        "task_data": {"_simulate": {"delay_ms": 60_000}}}]);
    let run_id = RunId::generate();
    servers
        .send("workflow.start", &start(run_id, lasting))
        .await?;
    stands(&servers, run_id, RunStatus::Running).await;
    servers
        .send("workflow.cancel", &json!({"run_id": run_id}))
        .await?;
    stands(&servers, run_id, RunStatus::Cancelled).await;
    worker.stop().await?;
    servers.remove().await;
    Ok(())
}
