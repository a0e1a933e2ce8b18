//! Dead letters: kept in the ledger, listed, read, replayed and discarded over HTTP.

use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use orchestrator_common::domain::TaskId;
use orchestrator_common::messaging::Source;
use orchestrator_tests::full_api::Servers;
use orchestrator_tests::full_worker::FullStrength;
use orchestrator_tests::surface::{Strength, Surface, run};
use orchestrator_tests::{eventually, on_both_strengths};
use serde_json::{Value, json};

on_both_strengths!(&[]; what_there_is_not_is_a_404_and_faults_are_named);

const LETTERS: &str = "/orchestrator/dead-letters";

/// Waits until as many letters are listed as wanted, and returns them.
async fn letters(surface: &Surface, query: &str, wanted: usize) -> Vec<Value> {
    let path = format!("{LETTERS}{query}");
    eventually(&format!("{wanted} letters are listed"), async || {
        let listed = surface.get(&path).await;
        assert_eq!(listed.status, 200, "{}", listed.body);
        listed.body["count"] == wanted
    })
    .await;
    let listed = surface.get(&path).await;
    listed.body["dead_letters"].as_array().unwrap().clone()
}

fn address(letter: &Value) -> String {
    format!("{LETTERS}/{}", letter["letter_id"].as_str().unwrap())
}

async fn what_there_is_not_is_a_404_and_faults_are_named(surface: &Surface) -> anyhow::Result<()> {
    assert!(letters(surface, "", 0).await.is_empty());
    for name in ["0199a3c4-6f6e-7c3b-9b1e-3d1f0a5c7e21", "x"] {
        let address = format!("{LETTERS}/{name}");
        assert_eq!(surface.get(&address).await.status, 404);
        assert_eq!(surface.delete(&address).await.status, 404);
        let replay = surface.post(&format!("{address}/replay"), &json!({})).await;
        assert_eq!(replay.status, 404, "{}", replay.body);
    }
    let faulty = surface.get(&format!("{LETTERS}?limit=0&cursor=x")).await;
    assert_eq!(faulty.status, 422);
    assert_eq!(faulty.body["errors"].as_array().unwrap().len(), 2);
    Ok(())
}

fn servers(surface: &Surface) -> &FullStrength {
    surface.servers().expect("full strength")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_is_replayed_once_what_was_wrong_is_right() -> anyhow::Result<()> {
    run(Strength::Full, &[], async |surface| {
        let task_id = TaskId::generate();
        let task = json!({"task_id": task_id, "agent_id": "later", "task_type": "t", "task_data": {"n": 1}});
        servers(surface).send("task.execute", &task).await?;
        let listed = letters(surface, "?reason=unknown_agent", 1).await;
        let letter = &listed[0];
        assert_eq!(letter["problem"]["status"], 404);
        assert_eq!((&letter["routing_key"], &letter["replayed_at"]), (&json!("task.execute"), &Value::Null));
        assert!(letter.get("body").is_none());
        let read = surface.get(&address(letter)).await;
        assert_eq!(read.body["body"], task, "{}", read.body);

        let agent = json!({"agent_id": "later"});
        assert_eq!(surface.post("/orchestrator/register", &agent).await.status, 200);
        let replay = format!("{}/replay", address(letter));
        let replayed = surface.post(&replay, &json!({})).await;
        assert_eq!(replayed.status, 200, "{}", replayed.body);
        surface.until(&format!("/orchestrator/tasks/{task_id}"), "completed").await;

        let again = surface.post(&replay, &json!({})).await;
        assert_eq!(again.status, 200, "{}", again.body);
        assert!(again.body["message"].as_str().unwrap().contains("before"));
        let read = surface.get(&address(letter)).await;
        assert!(read.body["replayed_at"].is_string(), "{}", read.body);
        assert_eq!((&read.body["replayed_by"], &read.body["times"]), (&json!("anonymous"), &json!(1)));
        let tasks = surface.get("/orchestrator/tasks?agent_id=later").await;
        assert_eq!(tasks.body["count"], 1);

        assert_eq!(surface.delete(&address(letter)).await.status, 200);
        assert_eq!(surface.get(&address(letter)).await.status, 404);
        assert_eq!(surface.delete(&address(letter)).await.status, 404);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_is_refused_again_comes_back_and_can_be_replayed_again() -> anyhow::Result<()>
{
    run(Strength::Full, &[], async |surface| {
        let properties = BasicProperties::default()
            .with_message_id("m-1".into())
            .with_correlation_id("c\0-1".into());
        servers(surface)
            .send_raw("task.execute", properties, b"{no \xff json")
            .await?;
        let listed = letters(surface, "?reason=not_json", 1).await;
        let address = address(&listed[0]);
        let read = surface.get(&address).await;
        assert_eq!(read.body["body"], "{no \u{fffd} json", "{}", read.body);
        assert_eq!(
            (&read.body["message_id"], &read.body["correlation_id"]),
            (&json!("m-1"), &json!("c-1"))
        );
        for times in 2..4 {
            let replayed = surface.post(&format!("{address}/replay"), &json!({})).await;
            assert_eq!(replayed.status, 200, "{}", replayed.body);
            assert!(
                replayed.body["message"]
                    .as_str()
                    .unwrap()
                    .contains("sent again")
            );
            eventually("it comes back", async || {
                let read = surface.get(&address).await;
                read.body["times"] == times && read.body["replayed_at"].is_null()
            })
            .await;
        }
        letters(surface, "", 1).await;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_listed_page_by_page() -> anyhow::Result<()> {
    run(Strength::Full, &[], async |surface| {
        for n in 0..7 {
            let body = json!({"agent_id": "a", "surprise": n});
            servers(surface).send("task.execute", &body).await?;
        }
        let all = letters(surface, "", 7).await;
        let mut paged = Vec::new();
        let mut query = "?limit=3".to_owned();
        loop {
            let page = surface.get(&format!("{LETTERS}{query}")).await.body;
            paged.extend(page["dead_letters"].as_array().unwrap().clone());
            let Some(cursor) = page["next_cursor"].as_str() else {
                break;
            };
            query = format!("?limit=3&cursor={cursor}");
        }
        assert_eq!(paged, all);
        Ok(())
    })
    .await
}

/// Puts a letter aside as the broker does, which gives no reason.
async fn give_up(servers: &Servers, key: &str, body: &[u8]) {
    let (_connection, channel) = servers.broker.channel().await.unwrap();
    let mut headers = FieldTable::default();
    headers.insert(
        "authorization".into(),
        AMQPValue::LongString("Bearer secret".into()),
    );
    headers.insert("x-death".into(), AMQPValue::LongString("yesterday".into()));
    let properties = BasicProperties::default().with_headers(headers);
    let exchange = servers.broker.topology.dead().clone();
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish(exchange, key.into(), options, body, properties);
    sent.await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_waits_at_the_broker_while_the_ledger_is_away_and_is_kept_cut_when_it_is_too_large()
 {
    let servers = Servers::create().await;
    let api = servers.start_api().await;
    eventually("everything answers", async || {
        api.get("/health").await.body["status"] == "healthy"
    })
    .await;
    servers.postgres.take_down();
    give_up(&servers, "task.execute", &vec![b'7'; 1_500_000]).await;
    give_up(&servers, "nobody.listens", b"{}").await;
    assert_eq!(api.get(LETTERS).await.status, 503);
    servers.postgres.restore();
    eventually("both are kept", async || {
        api.get(LETTERS).await.body["count"] == 2
    })
    .await;
    assert_eq!(servers.broker.depth(Source::DeadLetters).await.unwrap(), 0);
    let listed = api.get(LETTERS).await.body["dead_letters"]
        .as_array()
        .unwrap()
        .clone();
    for letter in listed {
        assert_eq!(letter["reason"], "given_up");
        let read = api.get(&address(&letter)).await;
        assert!(!read.body.to_string().contains("secret"));
        let replay = api
            .post(&format!("{}/replay", address(&letter)), &json!({}))
            .await;
        assert_eq!(replay.status, 409, "{}", replay.body);
        let why = if letter["size_bytes"] == 2 {
            "no queue"
        } else {
            "too large"
        };
        assert!(
            replay.body["detail"].as_str().unwrap().contains(why),
            "{}",
            replay.body
        );
    }
    servers.remove().await;
}
