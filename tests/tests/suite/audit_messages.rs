//! Whose name the audit log has for what came over the broker.

use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use orchestrator_common::domain::TaskId;
use orchestrator_tests::eventually;
use orchestrator_tests::surface::{Strength, Surface, run, run_as};
use serde_json::{Value, json};

const SECRET: &str = "Zk3v9Qp1Lx7Wm5Rt8Ny2Bc6Hd4Jf0GsA";

fn token(subject: &str) -> String {
    let claims = json!({"sub": subject, "role": "admin", "exp": get_current_timestamp() + 3_600});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), &claims, &key).unwrap()
}

fn headers(pairs: &[(&str, &str)]) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert((*name).into(), AMQPValue::LongString((*value).into()));
    }
    BasicProperties::default().with_headers(table)
}

/// A batch of one task, said to be submitted by `alice`.
fn batch(task_id: TaskId) -> Value {
    json!({"tasks": [{"task_id": task_id, "agent_id": "a", "task_type": "t", "task_data": {},
        "submitted_by": "alice", "request_id": "r-1"}]})
}

async fn send(
    surface: &Surface,
    key: &str,
    properties: BasicProperties,
    body: &Value,
) -> anyhow::Result<()> {
    let servers = surface.servers().expect("full strength");
    let body = body.to_string();
    servers.send_raw(key, properties, body.as_bytes()).await
}

/// Waits for the entry of an accepted task.
async fn accepted(surface: &Surface, task_id: TaskId) -> Value {
    let address = format!("/orchestrator/audit?action=task.accept&resource={task_id}");
    eventually("the task is accepted", async || {
        surface.get(&address).await.body["count"] == 1
    })
    .await;
    surface.get(&address).await.body["entries"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_cannot_be_sent_in_the_name_of_another() -> anyhow::Result<()> {
    let auth = [("REQUIRE_AUTH", "true"), ("JWT_SECRET", SECRET)];
    let carol = token("carol");
    run_as(Strength::Full, &auth, Some(&carol), async |surface| {
        let bearer = format!("Bearer {}", token("bob"));
        let as_alice = [
            ("authorization", bearer.as_str()),
            ("x-submitted-by", "alice"),
        ];
        let (single, member) = (TaskId::generate(), TaskId::generate());
        let task = json!({"task_id": single, "agent_id": "a", "task_type": "t", "task_data": {}});
        send(surface, "task.execute", headers(&as_alice), &task).await?;
        let several = batch(member);
        send(
            surface,
            "task.execute_batch",
            headers(&as_alice[..1]),
            &several,
        )
        .await?;
        for task_id in [single, member] {
            assert_eq!(accepted(surface, task_id).await["actor"], "bob");
        }
        let stop = json!({"agent_id": "a"});
        send(surface, "agent.stop", headers(&as_alice), &stop).await?;
        let stopped = "/orchestrator/audit?action=agent.stop";
        eventually("the agent is stopped", async || {
            surface.get(stopped).await.body["entries"][0]["actor"] == "bob"
        })
        .await;

        // What is replayed goes in the name of whoever replays it, whatever it says.
        let replayed = TaskId::generate();
        let several = batch(replayed);
        send(
            surface,
            "task.execute_batch",
            BasicProperties::default(),
            &several,
        )
        .await?;
        let letters = "/orchestrator/dead-letters?reason=unauthorized";
        eventually("the letter is there", async || {
            surface.get(letters).await.body["count"] == 1
        })
        .await;
        let letter = &surface.get(letters).await.body["dead_letters"][0];
        let id = letter["letter_id"].as_str().unwrap();
        let refused_by = letter["refused_by"].as_str().unwrap();
        assert!(refused_by.starts_with("worker:"), "{letter}");
        let replay = format!("/orchestrator/dead-letters/{id}/replay");
        assert_eq!(surface.post(&replay, &json!({})).await.status, 200);
        assert_eq!(accepted(surface, replayed).await["actor"], "carol");
        let about = surface
            .get(&format!("/orchestrator/audit?resource={id}"))
            .await;
        let about = about.body["entries"].as_array().unwrap().clone();
        let about: Vec<_> = about
            .iter()
            .map(|entry| (entry["action"].clone(), entry["actor"].clone()))
            .collect();
        let expected = [
            (json!("dead_letter.replay"), json!("carol")),
            (json!("message.dead_letter"), json!(refused_by)),
        ];
        assert_eq!(about, expected);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_authentication_a_message_is_believed_but_for_what_the_broker_knows_better()
-> anyhow::Result<()> {
    run(Strength::Full, &[], async |surface| {
        let cases = [
            (BasicProperties::default(), "broker"),
            (
                BasicProperties::default().with_app_id("billing".into()),
                "billing",
            ),
            (headers(&[("x-submitted-by", "alice")]), "alice"),
            // Whoever publishes in these tests is logged in as that.
            (
                headers(&[("x-submitted-by", "alice")]).with_user_id("guest".into()),
                "guest",
            ),
        ];
        for (properties, actor) in cases {
            let task_id = TaskId::generate();
            let task =
                json!({"task_id": task_id, "agent_id": "a", "task_type": "t", "task_data": {}});
            send(surface, "task.execute", properties, &task).await?;
            assert_eq!(accepted(surface, task_id).await["actor"], actor);
        }
        let member = TaskId::generate();
        let several = batch(member);
        send(
            surface,
            "task.execute_batch",
            BasicProperties::default(),
            &several,
        )
        .await?;
        let entry = accepted(surface, member).await;
        assert_eq!(
            (&entry["actor"], &entry["request_id"]),
            (&json!("alice"), &json!("r-1"))
        );
        Ok(())
    })
    .await
}
