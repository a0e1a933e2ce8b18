//! The orchestrator's own client against this server: both sides of the contract are the real ones.

use std::time::Duration;

use orchestrator_common::brain_factory::{
    BrainFactoryClient, ExecuteCall, ExecuteError, GenerateError, ProbeError,
};
use orchestrator_common::domain::{Priority, TaskId};
use serde_json::{Value, json};

use super::{TestFactory, config, config_with};

fn client_of(factory: &TestFactory) -> BrainFactoryClient {
    let url = factory.url.parse().unwrap();
    BrainFactoryClient::at(&url, Duration::from_secs(10)).unwrap()
}

async fn execute(
    client: &BrainFactoryClient,
    endpoint: &str,
    input: Value,
) -> Result<Value, ExecuteError> {
    let call = ExecuteCall {
        task_id: TaskId::generate(),
        attempt: 1,
        description: "risk_assessment",
        input_data: &serde_json::value::to_raw_value(&input).unwrap(),
        priority: Priority::new(5).unwrap(),
        timeout_seconds: 1,
        traceparent: None,
    };
    let execution = client.execute(endpoint, &call).await?;
    Ok(serde_json::from_str(execution.result.get()).unwrap())
}

#[tokio::test]
async fn an_agent_lives_its_life_through_the_orchestrators_client() {
    let factory = TestFactory::start().await;
    let client = client_of(&factory);
    client.health().await.unwrap();
    let made = client.generate_agent(&config("a")).await.unwrap();
    assert_eq!(client.status(&made.endpoint).await.unwrap().state, "ready");
    let result = execute(&client, &made.endpoint, json!({"x": 1}))
        .await
        .unwrap();
    assert_eq!(result["input"], json!({"x": 1}));
    client.delete(&made.endpoint).await.unwrap();
    client.delete(&made.endpoint).await.unwrap();
    let gone = client.status(&made.endpoint).await;
    assert!(matches!(gone, Err(ProbeError::NotFound)), "{gone:?}");
}

#[tokio::test]
async fn the_orchestrators_client_reads_every_failure_for_what_it_is() {
    let factory = TestFactory::start().await;
    let client = client_of(&factory);
    let made = client.generate_agent(&config("a")).await.unwrap();
    let simulate = async |wish: Value| {
        let ended = execute(&client, &made.endpoint, json!({"_simulate": wish})).await;
        ended.unwrap_err()
    };
    let error = simulate(json!({"busy": true})).await;
    assert!(
        matches!(&error, ExecuteError::Busy { state } if state == "executing"),
        "{error:?}"
    );
    let error = simulate(json!({"fail": "Reasoning failed: no"})).await;
    assert!(
        matches!(&error, ExecuteError::Failed { message, .. } if message == "Reasoning failed: no"),
        "{error:?}"
    );
    let error = simulate(json!({"status": 503, "retry_after": 2})).await;
    let wish = Some(Duration::from_secs(2));
    assert!(
        matches!(&error, ExecuteError::Unavailable { status: 503, retry_after, .. } if *retry_after == wish),
        "{error:?}"
    );
    let error = simulate(json!({"delay_ms": 60_000})).await;
    assert!(
        matches!(
            error,
            ExecuteError::TimedOut {
                may_be_running: false,
                ..
            }
        ),
        "{error:?}"
    );
    let error = simulate(json!({"drop_connection": true})).await;
    assert!(
        matches!(
            error,
            ExecuteError::Unreachable {
                may_be_running: true,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(
        simulate(json!({"forget": true})).await,
        ExecuteError::UnknownAgent
    );
}

#[tokio::test]
async fn a_refused_configuration_reaches_the_orchestrator_with_its_field() {
    let factory = TestFactory::start().await;
    let connections = json!({"connections": [{"from": "x", "to": "y"}]});
    let refused = client_of(&factory)
        .generate_agent(&config_with("a", connections))
        .await;
    let error = refused.unwrap_err();
    assert!(matches!(error, GenerateError::Refused(_)), "{error:?}");
    assert!(error.to_string().contains("connections[0].from"), "{error}");
}
