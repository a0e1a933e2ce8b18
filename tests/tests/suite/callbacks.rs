//! Callbacks over HTTP, embedded and at full strength: who named an address is told the outcome there.

use orchestrator_tests::receiver::{Behaviour, Received, Receiver, SECRET};
use orchestrator_tests::surface::Surface;
use orchestrator_tests::{eventually, on_both_strengths};
use serde_json::{Value, json};

on_both_strengths!(&[("WEBHOOK_SECRET", SECRET), ("CALLBACK_ALLOWED_HOSTS", "127.0.0.1")];
    the_outcome_is_posted_signed_to_who_asked,
    every_outcome_is_told,
    a_receiver_that_recovers_is_told_the_same_fact_again,
    a_receiver_that_is_gone_is_told_once,
    a_redirect_to_a_private_address_is_not_followed,
    a_slow_or_failing_receiver_delays_no_other,
    an_address_that_can_never_be_called_is_refused,
    a_retried_tasks_last_outcome_is_told,
);

mod without_a_secret {
    use super::*;

    on_both_strengths!(&[("CALLBACK_ALLOWED_HOSTS", "127.0.0.1")];
        a_task_with_a_callback_is_refused_and_the_variable_named,
    );
}
async fn a_task_with_a_callback_is_refused_and_the_variable_named(
    surface: &Surface,
) -> anyhow::Result<()> {
    let mut task = json!({"agent_id": "a", "task_type": "t", "task_data": {},
        "callback_url": "https://example.com/"});
    let refused = surface.post("/orchestrator/execute-task", &task).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    let fault = &refused.body["errors"][0];
    assert_eq!(fault["field"], "callback_url");
    assert!(
        fault["message"]
            .as_str()
            .unwrap()
            .contains("WEBHOOK_SECRET")
    );
    task["callback_url"] = Value::Null;
    let accepted = surface.post("/orchestrator/execute-task", &task).await;
    assert_eq!(accepted.status, 200, "{}", accepted.body);
    Ok(())
}

async fn submit(surface: &Surface, simulate: Value, url: &str) -> anyhow::Result<String> {
    let more = json!({"callback_url": url, "max_attempts": 1});
    surface.submit_with(simulate, more).await
}

/// Waits until a receiver got so many, and returns them.
async fn received(receiver: &Receiver, number: usize) -> Vec<Received> {
    eventually(&format!("{number} callbacks come"), async || {
        receiver.received().len() >= number
    })
    .await;
    receiver.received()
}

/// Waits until the callback of a task is `status`, and returns it.
async fn callback(surface: &Surface, address: &str, status: &str) -> Value {
    eventually(
        &format!("the callback of {address} is {status}"),
        async || surface.get(address).await.body["callback"]["status"] == status,
    )
    .await;
    surface.get(address).await.body["callback"].clone()
}

async fn the_outcome_is_posted_signed_to_who_asked(surface: &Surface) -> anyhow::Result<()> {
    let receiver = Receiver::start(Behaviour::accepts()).await?;
    let simulate = json!({"tokens_used": 7});
    let address = submit(surface, simulate, &receiver.url("/hook?token=t")).await?;
    let task = surface.until(&address, "completed").await;
    let told = received(&receiver, 1).await.remove(0);
    assert_eq!(told.path, "/hook?token=t");
    assert_eq!(told.document["event"], "task.completed");
    assert_eq!(told.document["at"], task["completed_at"]);
    for field in [
        "task_id",
        "agent_id",
        "status",
        "attempt",
        "result",
        "tokens_used",
        "duration_seconds",
    ] {
        assert_eq!(told.document[field], task[field], "{field}");
    }
    let callback = callback(surface, &address, "delivered").await;
    assert_eq!(
        (&callback["attempts"], &callback["last_error"]),
        (&json!(1), &Value::Null)
    );
    assert_eq!(receiver.received().len(), 1);
    let silent = surface.submit(json!({})).await?;
    let silent = surface.until(&silent, "completed").await;
    assert!(silent.get("callback").is_none(), "{silent}");
    Ok(())
}

async fn every_outcome_is_told(surface: &Surface) -> anyhow::Result<()> {
    let receiver = Receiver::start(Behaviour::accepts()).await?;
    let failing = submit(
        surface,
        json!({"fail_attempts": 9}),
        &receiver.url("/failed"),
    )
    .await?;
    surface.until(&failing, "failed").await;
    let running = submit(
        surface,
        json!({"delay_ms": 60_000}),
        &receiver.url("/dropped"),
    )
    .await?;
    surface.until(&running, "running").await;
    let waiting = submit(surface, json!({}), &receiver.url("/cancelled")).await?;
    let more = json!({"callback_url": receiver.url("/expired"), "expires_in_seconds": 1});
    let expiring = surface.submit_with(json!({}), more).await?;
    surface.until(&waiting, "queued").await;
    surface.until(&expiring, "failed").await;
    surface.delete(&waiting).await;
    surface.until(&waiting, "cancelled").await;
    surface.delete(&running).await;
    surface.until(&running, "cancelled").await;

    let told = received(&receiver, 4).await;
    let event = |path: &str| {
        let told = told.iter().find(|told| told.path == path);
        told.map_or(Value::Null, |told| told.document.clone())
    };
    assert_eq!(event("/failed")["event"], "task.failed");
    assert!(event("/failed")["error"]["message"].is_string());
    assert_eq!(event("/dropped")["event"], "task.cancelled");
    assert_eq!(event("/cancelled")["event"], "task.cancelled");
    assert_eq!(event("/expired")["error"]["code"], "expired");
    Ok(())
}

async fn a_receiver_that_recovers_is_told_the_same_fact_again(
    surface: &Surface,
) -> anyhow::Result<()> {
    let receiver = Receiver::start(Behaviour::status(500)).await?;
    let address = submit(surface, json!({}), &receiver.url("/")).await?;
    let pending = {
        eventually("the first attempt failed", async || {
            surface.get(&address).await.body["callback"]["last_error"] == "status 500"
        })
        .await;
        surface.get(&address).await.body["callback"].clone()
    };
    assert_eq!(pending["status"], "pending");
    assert!(pending["next_attempt_at"].is_string());
    receiver.set(Behaviour::accepts());
    let delivered = callback(surface, &address, "delivered").await;
    let told = receiver.received();
    assert!(told.len() >= 2, "{told:?}");
    assert_eq!(delivered["attempts"], told.len());
    for repeated in &told {
        assert_eq!(
            (&repeated.id, &repeated.bytes),
            (&told[0].id, &told[0].bytes)
        );
    }
    Ok(())
}

async fn a_receiver_that_is_gone_is_told_once(surface: &Surface) -> anyhow::Result<()> {
    let receiver = Receiver::start(Behaviour::status(410)).await?;
    let address = submit(surface, json!({}), &receiver.url("/")).await?;
    let gone = callback(surface, &address, "gone").await;
    assert_eq!(gone["last_error"], "status 410");
    assert_eq!(
        (&gone["attempts"], &gone["next_attempt_at"]),
        (&json!(1), &Value::Null)
    );
    assert_eq!(receiver.received().len(), 1);
    Ok(())
}

async fn a_redirect_to_a_private_address_is_not_followed(surface: &Surface) -> anyhow::Result<()> {
    let inside = Receiver::start_at("127.0.0.2", Behaviour::accepts()).await?;
    let allowed = Receiver::start(Behaviour::accepts()).await?;
    let elsewhere = |url: String| Behaviour::Answers(307, format!("location: {url}\r\n"));
    let to_inside = Receiver::start(elsewhere(inside.url("/"))).await?;
    let to_allowed = Receiver::start(elsewhere(allowed.url("/moved"))).await?;
    let refused = submit(surface, json!({}), &to_inside.url("/")).await?;
    let followed = submit(surface, json!({}), &to_allowed.url("/")).await?;
    callback(surface, &followed, "delivered").await;
    assert_eq!(allowed.received()[0].path, "/moved");
    eventually("the redirect is refused", async || {
        let callback = &surface.get(&refused).await.body["callback"];
        let why = callback["last_error"].as_str().unwrap_or_default();
        why.contains("CALLBACK_ALLOWED_HOSTS") && callback["status"] == "pending"
    })
    .await;
    assert!(inside.received().is_empty());
    Ok(())
}

async fn a_slow_or_failing_receiver_delays_no_other(surface: &Surface) -> anyhow::Result<()> {
    let mut bad = Vec::new();
    for n in 0..10 {
        let behaviour = if n % 2 == 0 {
            Behaviour::Hangs
        } else {
            Behaviour::status(500)
        };
        bad.push(Receiver::start(behaviour).await?);
    }
    let good = Receiver::start(Behaviour::accepts()).await?;
    let agent = json!({"agent_id": "b", "max_concurrent_sessions": 50});
    let registered = surface.post("/orchestrator/register", &agent).await;
    assert_eq!(registered.status, 200, "{}", registered.body);
    let submit_all = async |receiver: &Receiver, number: usize| {
        let task = json!({"agent_id": "b", "task_type": "t", "task_data": {}, "callback_url": receiver.url("/")});
        let batch = json!({ "tasks": vec![task; number] });
        let answer = surface.post("/orchestrator/tasks/batch", &batch).await;
        assert_eq!(answer.body["accepted"], number, "{}", answer.body);
        let last = &answer.body["results"][number - 1]["accepted"];
        let address = last["task_status_endpoint"].as_str().unwrap();
        surface.until(address, "completed").await;
    };
    for receiver in &bad {
        submit_all(receiver, 80).await;
    }
    eventually("every bad receiver was told something", async || {
        bad.iter().all(|receiver| !receiver.received().is_empty())
    })
    .await;
    // One after the other, what waits for the five that hang would hold every place for longer than is waited here.
    submit_all(&good, 20).await;
    assert_eq!(received(&good, 20).await.len(), 20);
    Ok(())
}

async fn an_address_that_can_never_be_called_is_refused(surface: &Surface) -> anyhow::Result<()> {
    for url in [
        "ftp://example.com/",
        "https://user:password@example.com/",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://2852039166/",
    ] {
        let task = json!({"agent_id": "a", "task_type": "t", "task_data": {}, "callback_url": url});
        let refused = surface.post("/orchestrator/execute-task", &task).await;
        assert_eq!(refused.status, 422, "{url}: {}", refused.body);
        assert_eq!(refused.body["errors"][0]["field"], "callback_url", "{url}");
        assert!(!refused.body.to_string().contains("password"));
        let batch = json!({ "tasks": [task] });
        let answer = surface.post("/orchestrator/tasks/batch", &batch).await;
        let problem = &answer.body["results"][0]["problem"];
        assert_eq!(
            problem["errors"][0]["field"], "tasks.0.callback_url",
            "{}",
            answer.body
        );
    }
    Ok(())
}

async fn a_retried_tasks_last_outcome_is_told(surface: &Surface) -> anyhow::Result<()> {
    let receiver = Receiver::start(Behaviour::accepts()).await?;
    let address = submit(surface, json!({"fail_attempts": 1}), &receiver.url("/")).await?;
    received(&receiver, 1).await;
    let retried = surface.post(&format!("{address}/retry"), &json!({})).await;
    assert_eq!(retried.status, 200, "{}", retried.body);
    let told = received(&receiver, 2).await;
    assert_eq!(told[0].document["event"], "task.failed");
    assert_eq!(told[1].document["event"], "task.completed");
    assert_ne!(told[0].id, told[1].id);
    callback(surface, &address, "delivered").await;
    Ok(())
}
