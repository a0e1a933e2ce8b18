//! Workflows over HTTP, embedded and at full strength.

use orchestrator_tests::surface::Surface;
use orchestrator_tests::{eventually, on_both_strengths};
use serde_json::{Value, json};

on_both_strengths!(&[];
    a_workflow_runs_to_its_end_and_shows_every_step,
    faults_are_said_all_at_once_with_their_places,
    the_same_key_leads_to_the_same_run,
    a_person_approves_what_they_read_and_only_once,
    a_failed_workflow_is_resumed_and_a_running_one_cancelled,
    a_stored_definition_keeps_its_versions,
    a_fan_out_completes_with_a_quorum,
    what_there_is_not_cannot_be_read_or_changed,
);

const WORKFLOWS: &str = "/orchestrator/workflows";

fn task(id: &str, more: Value) -> Value {
    let mut step = json!({"id": id, "agent_id": "a", "task_type": "t"});
    for (field, value) in more.as_object().into_iter().flatten() {
        step[field] = value.clone();
    }
    step
}

async fn start(surface: &Surface, body: Value) -> anyhow::Result<String> {
    let started = surface.post(WORKFLOWS, &body).await;
    anyhow::ensure!(started.status == 200, "{}", started.body);
    let address = started.body["workflow_status_endpoint"].as_str();
    Ok(address.unwrap_or_default().to_owned())
}

/// The run once it has ended.
async fn ended(surface: &Surface, address: &str) -> Value {
    surface.get(&format!("{address}?wait=30")).await.body
}

async fn a_workflow_runs_to_its_end_and_shows_every_step(surface: &Surface) -> anyhow::Result<()> {
    let steps = json!([
        task("one", json!({"task_data": {"n": {"$ref": "/input/n"}}})),
        task(
            "two",
            json!({"depends_on": ["one"], "when": {"path": "/steps/one/status", "op": "eq", "value": "failed"}})
        ),
        task(
            "three",
            json!({"depends_on": ["one", "two"], "task_data": {"before": {"$ref": "/steps/one/result"}}})
        ),
    ]);
    let output = json!({"last": {"$ref": "/steps/three/status"}});
    let address = start(
        surface,
        json!({"steps": steps, "input": {"n": 7}, "output": output}),
    )
    .await?;
    let run = ended(surface, &address).await;
    assert_eq!(run["status"], "completed", "{run}");
    assert_eq!(run["output"], json!({"last": "completed"}));
    let steps = run["steps"].as_array().unwrap();
    let statuses: Vec<&Value> = steps.iter().map(|step| &step["status"]).collect();
    assert_eq!(statuses, ["completed", "skipped", "completed"]);
    assert_eq!(steps[0]["result"], steps[0]["tasks"][0]["task"]["result"]);
    assert!(!steps[0]["result"].is_null(), "{run}");
    // Each of its tasks is a task like any other.
    let task_id = steps[2]["tasks"][0]["task"]["task_id"].as_str().unwrap();
    let task = surface.get(&format!("/orchestrator/tasks/{task_id}")).await;
    assert_eq!(task.body["status"], "completed");
    let listed = surface
        .get(&format!("{WORKFLOWS}?status=completed&limit=1"))
        .await
        .body;
    assert_eq!(listed["workflows"][0]["run_id"], run["run_id"], "{listed}");
    let audit = surface
        .get("/orchestrator/audit?action=workflow.start")
        .await
        .body;
    assert_eq!(audit["entries"][0]["resource"], run["run_id"], "{audit}");
    Ok(())
}

async fn faults_are_said_all_at_once_with_their_places(surface: &Surface) -> anyhow::Result<()> {
    let steps = json!([
        task("one", json!({"agent_id": "nobody"})),
        task(
            "two",
            json!({"depends_on": ["none"], "task_data": {"x": {"$ref": "/steps/three/result"}}})
        ),
        task("three", json!({"domain": "d", "surprise": 1})),
    ]);
    let refused = surface.post(WORKFLOWS, &json!({"steps": steps})).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    let faults = refused.body["errors"].as_array().unwrap().iter();
    let mut places: Vec<&str> = faults
        .map(|fault| fault["field"].as_str().unwrap())
        .collect();
    places.sort_unstable();
    assert_eq!(
        places,
        [
            "steps[0].agent_id",
            "steps[1].depends_on[0]",
            "steps[1].task_data",
            "steps[2].domain",
            "steps[2].surprise"
        ]
    );
    let refused = surface.post(WORKFLOWS, &json!({"name": "none"})).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["errors"][0]["field"]),
        (422, &json!("name"))
    );
    Ok(())
}

async fn the_same_key_leads_to_the_same_run(surface: &Surface) -> anyhow::Result<()> {
    let run_id = "0199a3c4-6f6e-7c3b-9b1e-3d1f0a5c7e21";
    let body = json!({"run_id": run_id, "steps": [task("one", json!({}))]});
    let address = start(surface, body.clone()).await?;
    assert_eq!(address, format!("{WORKFLOWS}/{run_id}"));
    assert_eq!(start(surface, body).await?, address);
    let other = json!({"run_id": run_id, "steps": [task("two", json!({}))]});
    let refused = surface.post(WORKFLOWS, &other).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert_eq!(ended(surface, &address).await["status"], "completed");
    Ok(())
}

async fn a_person_approves_what_they_read_and_only_once(surface: &Surface) -> anyhow::Result<()> {
    let steps = json!([
        {"id": "ask", "type": "approval", "message": "Pay?", "data": {"amount": {"$ref": "/input/amount"}}},
        task("pay", json!({"depends_on": ["ask"]})),
    ]);
    let address = start(surface, json!({"steps": steps, "input": {"amount": 5}})).await?;
    eventually("somebody is asked", async || {
        surface.get(&address).await.body["steps"][0]["status"] == "waiting"
    })
    .await;
    let asked = surface.get(&address).await.body["steps"][0]["approval"].clone();
    assert_eq!(
        (&asked["message"], &asked["data"]),
        (&json!("Pay?"), &json!({"amount": 5}))
    );
    let path = format!("{address}/steps/ask/approve");
    let decide = async |decision: &str, hash: &Value| {
        let body = json!({"decision": decision, "hash": hash, "comment": "checked"});
        let answer = surface.post(&path, &body).await;
        (answer.status.as_u16(), answer.body["error"].clone())
    };
    assert_eq!(decide("maybe", &asked["hash"]).await.0, 422);
    assert_eq!(decide("approve", &json!("stale")).await.0, 409);
    assert_eq!(decide("approve", &asked["hash"]).await.0, 200);
    assert_eq!(decide("reject", &asked["hash"]).await.0, 409);
    let run = ended(surface, &address).await;
    assert_eq!(run["status"], "completed", "{run}");
    assert_eq!(
        run["steps"][0]["result"],
        json!({"decision": "approve", "comment": "checked", "decided_by": "anonymous"})
    );
    Ok(())
}

async fn a_failed_workflow_is_resumed_and_a_running_one_cancelled(
    surface: &Surface,
) -> anyhow::Result<()> {
    let fails_once =
        json!({"task_data": {"_simulate": {"fail_attempts": 1}}, "retry": {"max_attempts": 1}});
    let lasts = json!({"depends_on": ["one"], "task_data": {"_simulate": {"delay_ms": 60_000}}});
    let steps = json!([task("one", fails_once), task("two", lasts)]);
    let address = start(surface, json!({"steps": steps})).await?;
    let failed = ended(surface, &address).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    assert!(
        failed["error"]
            .as_str()
            .unwrap()
            .starts_with("step one failed")
    );
    let resume = format!("{address}/resume");
    let cancelled = surface.delete(&address).await;
    assert_eq!(cancelled.status, 409, "{}", cancelled.body);
    // The attempt of the new task is its first, and fails as the old one did.
    assert_eq!(surface.post(&resume, &json!({})).await.status, 200);
    let failed = ended(surface, &address).await;
    assert_eq!(
        (&failed["status"], &failed["resumed"]),
        (&json!("failed"), &json!(1)),
        "{failed}"
    );

    let lasts = task(
        "one",
        json!({"task_data": {"_simulate": {"delay_ms": 60_000}}}),
    );
    let address = start(surface, json!({"steps": [lasts]})).await?;
    eventually("its task runs", async || {
        surface.get(&address).await.body["steps"][0]["tasks"][0]["task"]["status"] == "running"
    })
    .await;
    assert_eq!(
        surface
            .post(&format!("{address}/resume"), &json!({}))
            .await
            .status,
        409
    );
    assert_eq!(surface.delete(&address).await.status, 200);
    let run = ended(surface, &address).await;
    assert_eq!(run["status"], "cancelled", "{run}");
    assert_eq!(
        run["steps"][0]["tasks"][0]["task"]["status"], "cancelled",
        "{run}"
    );
    Ok(())
}

async fn a_stored_definition_keeps_its_versions(surface: &Surface) -> anyhow::Result<()> {
    let path = "/orchestrator/workflow-definitions/review";
    let put = async |n: u32| {
        let body = json!({"steps": [task(&format!("s{n}"), json!({}))]});
        let request = surface.api.request(reqwest::Method::PUT, path).json(&body);
        surface.api.send(request).await
    };
    assert_eq!(put(1).await.body["version"], 1);
    assert_eq!(put(2).await.body["version"], 2);
    let again = put(2).await.body;
    assert_eq!(
        (&again["version"], &again["created"]),
        (&json!(2), &json!(false))
    );
    let faulty = surface
        .api
        .request(reqwest::Method::PUT, path)
        .json(&json!({"steps": []}));
    assert_eq!(surface.api.send(faulty).await.status, 422);
    let first = surface.get(&format!("{path}?version=1")).await.body;
    assert_eq!(first["definition"]["steps"][0]["id"], "s1", "{first}");
    let listed = surface.get("/orchestrator/workflow-definitions").await.body;
    assert_eq!(
        (&listed["definitions"][0]["version"], &listed["count"]),
        (&json!(2), &json!(1))
    );
    for (body, version) in [
        (json!({"name": "review", "version": 1}), 1),
        (json!({"name": "review"}), 2),
    ] {
        let address = start(surface, body).await?;
        let run = ended(surface, &address).await;
        assert_eq!(run["steps"][0]["id"], format!("s{version}"), "{run}");
        assert_eq!(
            (&run["name"], &run["version"]),
            (&json!("review"), &json!(version))
        );
    }
    let unknown = surface
        .post(WORKFLOWS, &json!({"name": "review", "version": 9}))
        .await;
    assert_eq!(
        unknown.body["errors"][0]["field"], "version",
        "{}",
        unknown.body
    );
    Ok(())
}

async fn a_fan_out_completes_with_a_quorum(surface: &Surface) -> anyhow::Result<()> {
    let steps = json!([task(
        "f",
        json!({
            "task_data": {"n": {"$ref": "/item"}},
            "for_each": {"items": "/input/list", "max_concurrent": 2, "join": {"quorum": 3}},
        })
    )]);
    let list: Vec<u32> = (0..20).collect();
    let address = start(surface, json!({"steps": steps, "input": {"list": list}})).await?;
    let run = ended(surface, &address).await;
    assert_eq!(run["status"], "completed", "{run}");
    let counts = &run["steps"][0]["fan_out"];
    let count = |name: &str| counts[name].as_u64().unwrap();
    assert!(count("completed") >= 3, "{counts}");
    assert_eq!(count("completed") + count("not_needed"), 20, "{counts}");
    Ok(())
}

async fn what_there_is_not_cannot_be_read_or_changed(surface: &Surface) -> anyhow::Result<()> {
    for name in ["0199a3c4-6f6e-7c3b-9b1e-3d1f0a5c7e21", "no-uuid"] {
        let address = format!("{WORKFLOWS}/{name}");
        assert_eq!(surface.get(&address).await.status, 404);
        assert_eq!(surface.delete(&address).await.status, 404);
        assert_eq!(
            surface
                .post(&format!("{address}/resume"), &json!({}))
                .await
                .status,
            404
        );
        let decision = json!({"decision": "approve", "hash": "x"});
        let path = format!("{address}/steps/ask/approve");
        assert_eq!(surface.post(&path, &decision).await.status, 404);
    }
    let definition = surface.get("/orchestrator/workflow-definitions/none").await;
    assert_eq!(definition.status, 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_of_the_documentation_runs() -> anyhow::Result<()> {
    let strength = orchestrator_tests::surface::Strength::Embedded;
    orchestrator_tests::surface::run(strength, &[], async |surface| {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = root.join("../docs/examples/underwriting-workflow/run");
        let mut run = std::process::Command::new("bash");
        run.arg(script)
            .env("ORCHESTRATOR_URL", format!("http://{}", surface.api.address()));
        let output = tokio::task::spawn_blocking(move || run.output()).await??;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::ensure!(output.status.success(), "{said}{complained}");
        let wanted = "The run is completed: \"output\":{\"decision\":\"approve\",\"signed_by\":\"anonymous\"}";
        anyhow::ensure!(said.contains(wanted), "{said}");
        Ok(())
    })
    .await
}
