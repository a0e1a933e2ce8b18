//! The audit log over HTTP, embedded and at full strength.

use orchestrator_common::domain::{AgentId, Origin, Registration, Timestamp, Wish};
use orchestrator_common::ledger::{AuditQuery, Wished};
use orchestrator_tests::ledger::TestLedger;
use orchestrator_tests::surface::Surface;
use orchestrator_tests::{eventually, on_both_databases, on_both_strengths};
use reqwest::Method;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

on_both_strengths!(&[];
    every_change_is_written_down_with_who_asked_for_it,
    refusals_are_written_down_and_what_only_reads_is_not,
    the_log_is_read_page_by_page_and_by_every_filter,
);

mod ledger {
    use super::*;

    on_both_databases!(orchestrator_tests::ledger::default_options();
        a_change_that_is_not_made_is_not_written_down,
        what_was_written_down_stays_as_it_is,
    );
}

async fn entries(surface: &Surface, query: &str) -> Vec<Value> {
    let answer = surface.get(&format!("/orchestrator/audit{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["entries"].as_array().unwrap().clone()
}

async fn every_change_is_written_down_with_who_asked_for_it(
    surface: &Surface,
) -> anyhow::Result<()> {
    let registered = &entries(surface, "?action=agent.register").await[0];
    assert_eq!(
        (&registered["resource"], &registered["outcome"]),
        (&json!("a"), &json!("done"))
    );
    assert_eq!(registered["actor"], "anonymous");

    let running = surface.submit(json!({"delay_ms": 60_000})).await?;
    surface.until(&running, "running").await;
    let request = surface.api.request(Method::DELETE, &running);
    let cancelled = surface
        .api
        .send(request.header("x-request-id", "r-1"))
        .await;
    assert_eq!(cancelled.status, 202, "{}", cancelled.body);
    surface.until(&running, "cancelled").await;
    let retried = surface.post(&format!("{running}/retry"), &json!({})).await;
    assert_eq!(retried.status, 200, "{}", retried.body);
    surface.delete(&running).await;
    surface
        .post("/orchestrator/stop", &json!({"agent_id": "a"}))
        .await;

    let task_id = running.rsplit('/').next().unwrap();
    let actions: Vec<_> = entries(surface, &format!("?resource={task_id}")).await;
    let actions: Vec<_> = actions
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["task.cancel", "task.retry", "task.cancel"]);
    let first = entries(surface, "?action=task.cancel").await;
    assert_eq!(first.last().unwrap()["request_id"], "r-1");
    assert_eq!(entries(surface, "?action=agent.stop").await.len(), 1);
    Ok(())
}

async fn refusals_are_written_down_and_what_only_reads_is_not(
    surface: &Surface,
) -> anyhow::Result<()> {
    let before = entries(surface, "").await.len();
    assert_eq!(surface.get("/orchestrator/agents/nobody").await.status, 404);
    assert_eq!(surface.delete("/nowhere").await.status, 404);
    let unknown = json!({"agent_id": "nobody", "task_type": "t", "task_data": {}});
    assert_eq!(
        surface
            .post("/orchestrator/execute-task", &unknown)
            .await
            .status,
        404
    );
    assert_eq!(
        surface
            .post("/orchestrator/start", &json!({"x": 1}))
            .await
            .status,
        422
    );
    eventually("both refusals are written", async || {
        entries(surface, "?outcome=refused").await.len() == 2
    })
    .await;
    let refused = entries(surface, "?outcome=refused").await;
    assert_eq!(refused[1]["action"], "POST /orchestrator/execute-task");
    assert_eq!(refused[1]["detail"], "404 no_such_agent");
    assert_eq!(refused[0]["resource"], "/orchestrator/start");
    assert_eq!(entries(surface, "").await.len(), before + 2);
    Ok(())
}

async fn the_log_is_read_page_by_page_and_by_every_filter(surface: &Surface) -> anyhow::Result<()> {
    for n in 0..7 {
        let agent = json!({"agent_id": format!("b{n}")});
        assert_eq!(
            surface.post("/orchestrator/register", &agent).await.status,
            200
        );
    }
    let all = entries(surface, "?action=agent.register").await;
    assert_eq!(all.len(), 8);
    let mut paged = Vec::new();
    let mut query = "?action=agent.register&limit=3".to_owned();
    loop {
        let page = surface
            .get(&format!("/orchestrator/audit{query}"))
            .await
            .body;
        paged.extend(page["entries"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        query = format!("?action=agent.register&limit=3&cursor={cursor}");
    }
    assert_eq!(paged, all);
    let since = all[2]["at"].as_str().unwrap();
    assert_eq!(
        entries(surface, &format!("?since={since}&outcome=done"))
            .await
            .len(),
        3
    );
    assert_eq!(
        entries(surface, "?actor=anonymous&resource=b3").await.len(),
        1
    );
    assert!(entries(surface, "?actor=somebody").await.is_empty());
    let faulty = surface
        .get("/orchestrator/audit?outcome=x&since=y&limit=0&cursor=z")
        .await;
    assert_eq!(faulty.status, 422);
    assert_eq!(faulty.body["errors"].as_array().unwrap().len(), 4);
    Ok(())
}

fn alice() -> Origin {
    Origin {
        actor: "alice".to_owned(),
        request_id: None,
    }
}

async fn log(test: &TestLedger) -> Vec<(String, String, String)> {
    let query = AuditQuery {
        limit: 100,
        ..AuditQuery::default()
    };
    let page = test.ledger.audit_page(&query).await.unwrap();
    let entries = page.entries.into_iter();
    entries
        .map(|(_, entry)| (entry.origin.actor, entry.action, entry.resource))
        .collect()
}

async fn a_change_that_is_not_made_is_not_written_down(test: &TestLedger) {
    let ledger = test.ledger.by(alice());
    let (id, now) = (AgentId::parse("a").unwrap(), Timestamp::now());
    let nobody = ledger.wish(&id, Wish::Start, now).await.unwrap();
    assert!(matches!(nobody, Wished::Unknown), "{nobody:?}");
    let registration = Registration::parse(json!({"agent_id": "a"})).unwrap();
    // Nobody knows who asks: there is nothing to write down.
    test.ledger.register(&registration, now).await.unwrap();
    assert!(log(test).await.is_empty());
    ledger.wish(&id, Wish::Start, now).await.unwrap();
    let entry = |text: &str| text.to_owned();
    assert_eq!(
        log(test).await,
        [(entry("alice"), entry("agent.start"), entry("a"))]
    );
}

async fn what_was_written_down_stays_as_it_is(test: &TestLedger) {
    let registration = Registration::parse(json!({"agent_id": "a"})).unwrap();
    let ledger = test.ledger.by(alice());
    ledger
        .register(&registration, Timestamp::now())
        .await
        .unwrap();
    let before = log(test).await;
    let forge = "UPDATE audit SET actor = 'bob'";
    let _refused = test.ledger.connection().execute_unprepared(forge).await;
    assert_eq!(log(test).await, before);
}
