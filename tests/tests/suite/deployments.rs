//! Agents whose deployments the Deployment Pipeline knows, does not know, or cannot be asked for.

use std::time::Duration;

use orchestrator_common::config::DeploymentPipelineSettings;
use orchestrator_common::domain::{AgentStatus, Registration, Timestamp, Wish};
use orchestrator_tests::eventually;
use orchestrator_tests::full_worker::FullStrength;
use orchestrator_tests::ledger::agent_id;
use orchestrator_tests::surface::{self, Strength};
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Has the pipeline say how the deployment `d1` stands.
async fn say(pipeline: &MockServer, body: Value) {
    pipeline.reset().await;
    Mock::given(method("GET"))
        .and(path("/deployments/d1/status"))
        .respond_with(ResponseTemplate::new(200).set_body_json(body))
        .mount(pipeline)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_started_once_its_deployment_has_not_failed() -> anyhow::Result<()> {
    let pipeline = MockServer::start().await;
    let port = pipeline.address().port().to_string();
    let variables = [
        ("DEPLOYMENT_PIPELINE_HOST", "127.0.0.1"),
        ("DEPLOYMENT_PIPELINE_PORT", port.as_str()),
    ];
    let failed = json!({"deployment_id": "d1", "agent_id": "b", "status": "failed", "stage": "testing",
        "progress_percentage": 60, "error_message": "no such image"});
    say(&pipeline, failed).await;
    surface::run(Strength::Embedded, &variables, async |surface| {
        let body = json!({"agent_id": "b", "deployment_id": "d1"});
        surface.post("/orchestrator/register", &body).await;
        let started = surface
            .post("/orchestrator/start-agent/b", &json!({}))
            .await;
        assert_eq!(started.status, 200, "{}", started.body);
        let look = async || surface.get("/orchestrator/agents/b").await.body;
        eventually("it is not started", async || {
            look().await["status"] == "failed"
        })
        .await;
        let kept = look().await;
        let reason = "its deployment d1 has failed: no such image";
        assert_eq!(kept["status_reason"], reason, "{kept}");
        let deployment = &kept["deployment"];
        assert_eq!(
            (
                &deployment["status"],
                &deployment["stage"],
                &deployment["error_message"]
            ),
            (&json!("failed"), &json!("testing"), &json!("no such image"))
        );
        say(&pipeline, json!({"status": "completed"})).await;
        eventually("it is started", async || look().await["status"] == "active").await;
        assert_eq!(look().await["deployment"]["status"], "completed");
        // Others have nothing to do with it.
        let task = surface.submit(json!({})).await?;
        surface.until(&task, "completed").await;
        assert!(surface.get("/orchestrator/agents/a").await.body["deployment"].is_null());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_does_not_know_or_does_not_answer_keeps_no_agent() {
    let knows_nothing = MockServer::start().await;
    for address in [knows_nothing.uri(), "http://127.0.0.1:1".to_owned()] {
        let mut full = FullStrength::start().await.unwrap();
        full.settings.deployment_pipeline = Some(DeploymentPipelineSettings {
            url: address.parse().unwrap(),
            timeout: Duration::from_secs(2),
        });
        let worker = full.worker(10).await.unwrap();
        let a = agent_id("a");
        let body = json!({"agent_id": "a", "deployment_id": "d1"});
        let registration = Registration::parse(body).unwrap();
        let now = Timestamp::now();
        full.ledger.register(&registration, now).await.unwrap();
        full.ledger.wish(&a, Wish::Start, now).await.unwrap();
        eventually("it is started", async || {
            let agent = full.ledger.agent(&a).await.unwrap();
            agent.is_some_and(|agent| agent.status == AgentStatus::Active)
        })
        .await;
        worker.stop().await.unwrap();
        full.remove().await;
    }
    assert!(!knows_nothing.received_requests().await.unwrap().is_empty());
}
