//! The agent endpoints over a real ledger.

use serde_json::{Value, json};

use crate::testing::{Received, TestApi};

async fn register(api: &TestApi, body: Value) -> Value {
    let received = api.post("/orchestrator/register", &body).await;
    assert_eq!(received.status, 200, "{}", received.text);
    received.json()
}

fn ids(received: &Received) -> Vec<String> {
    let page = received.json();
    let agents = page["agents"].as_array().unwrap();
    assert_eq!(page["count"], agents.len());
    agents
        .iter()
        .map(|agent| agent["agent_id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn an_agent_is_registered_read_and_unregistered() {
    let api = TestApi::with_working_ledger().await;
    let config = json!({"persona": {"role": "Analyst"}, "reasoningPattern": "react"});
    let body = json!({"agent_id": "a", "agent_name": "A", "domain": "d", "brain_config": config,
        "deployment_id": "x", "environment": "staging"});
    let registered = register(&api, body).await;
    assert_eq!(registered["success"], true);
    assert_eq!(
        (&registered["agent_id"], &registered["status"]),
        (&json!("a"), &json!("registered"))
    );
    assert!(registered["agent"].get("brain_config").is_none());

    for path in ["/orchestrator/agents/a", "/orchestrator/agents/a/status"] {
        let agent = api.get(path).await.json();
        assert_eq!(
            (&agent["domain"], &agent["agent_name"]),
            (&json!("d"), &json!("A"))
        );
        assert_eq!(agent["brain_config"], config);
    }

    let gone = api
        .post("/orchestrator/unregister", &json!({"agent_id": "a"}))
        .await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    assert_eq!(gone.json()["success"], true);
    api.get("/orchestrator/agents/a").await.problem(404);
    assert_eq!(*api.commands.changed.lock().unwrap(), ["a", "a"]);
}

#[tokio::test]
async fn every_call_of_the_platform_answers_exactly_200() {
    let api = TestApi::with_working_ledger().await;
    for body in [
        json!({"agent_id": "a", "environment": "staging", "deployment_options": {}}),
        json!({"agent_id": "a", "agent_config": {}, "resource_requirements": {"cpu": "1", "memory": "1Gi"}}),
    ] {
        assert_eq!(
            api.post("/orchestrator/register-agent", &body).await.status,
            200
        );
    }
    let post = async |path| api.send(poem::http::Method::POST, path, &[], "").await;
    let started = post("/orchestrator/start-agent/a").await;
    assert_eq!(started.status, 200);
    assert_eq!(started.json()["desired_state"], "running");
    assert_eq!(post("/orchestrator/start?agent_id=a").await.status, 200);
    let stopped = post("/orchestrator/stop?agent_id=a&drain=true").await;
    assert_eq!(stopped.status, 200);
    assert_eq!(stopped.json()["desired_state"], "stopped");
    assert_eq!(
        post("/orchestrator/unregister?agent_id=a").await.status,
        200
    );
}

#[tokio::test]
async fn agents_are_listed_by_pages_and_filtered() {
    let api = TestApi::with_working_ledger().await;
    for (id, domain) in [("c", "x"), ("a", "x"), ("b", "y")] {
        register(&api, json!({"agent_id": id, "domain": domain})).await;
    }
    let all = api.get("/orchestrator/agents").await;
    assert_eq!(ids(&all), ["a", "b", "c"]);
    assert_eq!(all.json()["next_cursor"], Value::Null);
    assert_eq!(
        ids(&api.get("/orchestrator/agents?domain=x").await),
        ["a", "c"]
    );
    assert_eq!(
        ids(&api.get("/orchestrator/agents?status=registered").await).len(),
        3
    );
    assert!(ids(&api.get("/orchestrator/agents?status=active").await).is_empty());

    let first = api.get("/orchestrator/agents?limit=2").await;
    assert_eq!(ids(&first), ["a", "b"]);
    assert_eq!(first.json()["next_cursor"], "b");
    let second = api.get("/orchestrator/agents?limit=2&cursor=b").await;
    assert_eq!(ids(&second), ["c"]);
    assert_eq!(second.json()["next_cursor"], Value::Null);
}

#[tokio::test]
async fn an_unknown_agent_is_a_404_everywhere() {
    let api = TestApi::with_working_ledger().await;
    let task = json!({"agent_id": "nobody", "task_type": "t", "task_data": {}});
    api.post("/orchestrator/execute-task", &task)
        .await
        .problem(404);
    assert!(api.commands.tasks.lock().unwrap().is_empty());
    for path in [
        "/orchestrator/start",
        "/orchestrator/stop",
        "/orchestrator/unregister",
    ] {
        api.post(path, &json!({"agent_id": "nobody"}))
            .await
            .problem(404);
    }
    for path in [
        "/orchestrator/agents/nobody",
        "/orchestrator/agents/no%20body",
    ] {
        api.get(path).await.problem(404);
    }
    let missing = "/orchestrator/tasks/0199a3c4-6f6e-7c3b-9b1e-3d1f0a5c7e21";
    for path in [missing, "/orchestrator/tasks/nonsense"] {
        api.get(path).await.problem(404);
    }
    assert!(api.commands.changed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_agent_takes_tasks_from_its_registration_to_its_unregistration() {
    let api = TestApi::with_working_ledger().await;
    let task = json!({"agent_id": "a", "task_type": "t", "task_data": {}});
    let submit = async || api.post("/orchestrator/execute-task", &task).await;
    submit().await.problem(404);
    register(&api, json!({"agent_id": "a"})).await;
    assert_eq!(submit().await.status, 200);
    api.post("/orchestrator/unregister", &json!({"agent_id": "a"}))
        .await;
    submit().await.problem(404);
}
