//! The audit log over HTTP, embedded and at full strength.

use std::sync::Arc;

use orchestrator_common::domain::{
    AgentId, AuditEntry, AuditOutcome, Origin, Registration, Timestamp, Wish,
};
use orchestrator_common::ledger::{AuditQuery, Wished};
use orchestrator_tests::ledger::{TestLedger, agent_id, task};
use orchestrator_tests::surface::Surface;
use orchestrator_tests::{eventually, on_both_databases, on_both_strengths};
use reqwest::Method;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

on_both_strengths!(&[];
    every_change_is_written_down_with_who_asked_for_it,
    refusals_are_written_down_and_what_only_reads_is_not,
    the_log_is_read_page_by_page_and_by_every_filter,
    every_accepted_task_is_written_down_once_with_who_submitted_it,
    what_workers_do_by_themselves_is_written_down_under_their_names,
);

mod ledger {
    use super::*;

    on_both_databases!(orchestrator_tests::ledger::default_options();
        a_change_that_is_not_made_is_not_written_down,
        what_was_written_down_stays_as_it_is,
        a_task_is_stored_with_who_submitted_it_and_a_repeated_one_not_noted_again,
        behind_many_accepted_tasks_every_filter_finds_the_rest_on_its_first_page,
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
    assert_eq!(
        actions,
        ["task.cancel", "task.retry", "task.cancel", "task.accept"]
    );
    let first = entries(surface, "?action=task.cancel").await;
    assert_eq!(first.last().unwrap()["request_id"], "r-1");
    assert_eq!(entries(surface, "?action=agent.stop").await.len(), 1);
    Ok(())
}

async fn every_accepted_task_is_written_down_once_with_who_submitted_it(
    surface: &Surface,
) -> anyhow::Result<()> {
    let task = json!({"agent_id": "a", "task_type": "t", "task_data": {}});
    let key = "00000000-0000-7000-8000-00000000000a";
    for _ in 0..2 {
        let request = surface
            .api
            .request(Method::POST, "/orchestrator/execute-task");
        let request = request.header("x-request-id", "r-accept").json(&task);
        let accepted = surface
            .api
            .send(request.header("idempotency-key", key))
            .await;
        assert_eq!(accepted.status, 200, "{}", accepted.body);
    }
    let batch = json!({"tasks": [task.clone(), {"agent_id": "nobody"}, task]});
    let request = surface
        .api
        .request(Method::POST, "/orchestrator/tasks/batch");
    let request = request.header("x-request-id", "r-batch").json(&batch);
    assert_eq!(surface.api.send(request).await.status, 200);
    eventually("the tasks are written down", async || {
        entries(surface, "?action=task.accept").await.len() == 3
    })
    .await;
    let accepted = entries(surface, "?action=task.accept").await;
    let from: Vec<_> = accepted.iter().map(|entry| &entry["request_id"]).collect();
    assert_eq!(from, ["r-batch", "r-batch", "r-accept"]);
    for entry in accepted {
        assert_eq!(entry["actor"], "anonymous", "{entry}");
        assert_eq!(entry["detail"], "for agent a", "{entry}");
        let task = surface
            .get(&format!(
                "/orchestrator/tasks/{}",
                entry["resource"].as_str().unwrap()
            ))
            .await;
        assert_eq!(task.status, 200, "{}", task.body);
    }
    Ok(())
}

async fn what_workers_do_by_themselves_is_written_down_under_their_names(
    surface: &Surface,
) -> anyhow::Result<()> {
    surface.submit(json!({"delay_ms": 0})).await?;
    let later = json!({"agent_id": "a", "task_type": "t", "task_data": {}, "delay_seconds": 600});
    let waiting = surface.post("/orchestrator/execute-task", &later).await;
    let waiting = waiting.body["task_id"].as_str().unwrap().to_owned();
    eventually("the agent is active and the task is known", async || {
        entries(surface, "?action=agent.active").await.len() == 1
            && entries(surface, &format!("?resource={waiting}"))
                .await
                .len()
                == 1
    })
    .await;
    let removed = surface.delete("/orchestrator/agents/a").await;
    assert!(removed.status.is_success(), "{}", removed.body);
    eventually("the agent is gone", async || {
        entries(surface, "?action=agent.removed").await.len() == 1
    })
    .await;
    let cancelled = entries(surface, &format!("?resource={waiting}&action=task.cancel")).await;
    let active = entries(surface, "?action=agent.active&resource=a").await;
    let removed = entries(surface, "?action=agent.removed&resource=a").await;
    for entry in [&cancelled[0], &active[0], &removed[0]] {
        let actor = entry["actor"].as_str().unwrap();
        assert!(actor.starts_with("worker:"), "{entry}");
    }
    assert_eq!(cancelled[0]["detail"], "the agent was unregistered");
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

async fn a_task_is_stored_with_who_submitted_it_and_a_repeated_one_not_noted_again(
    test: &TestLedger,
) {
    let (agent, now) = (agent_id("a"), Timestamp::now());
    let registration = Registration::parse(json!({"agent_id": "a"})).unwrap();
    test.ledger.register(&registration, now).await.unwrap();
    let mut known = task(&agent, json!({}), now);
    known.origin = Some(Arc::new(Origin::new("al\0ice", Some("r-1"))));
    let unknown = task(&agent, json!({}), now);
    let tasks = vec![known.clone(), unknown.clone(), known.clone()];
    for _ in 0..2 {
        test.ledger.ingest(tasks.clone(), now).await.unwrap();
    }
    let stored = test.ledger.task(known.task_id).await.unwrap().unwrap();
    let origin = stored.task.origin.unwrap();
    assert_eq!(origin.actor, "al\u{fffd}ice");
    assert_eq!(origin.request_id.as_deref(), Some("r-1"));
    let stored = test.ledger.task(unknown.task_id).await.unwrap().unwrap();
    assert!(stored.task.origin.is_none());
    let entry = (
        origin.actor.clone(),
        "task.accept".to_owned(),
        known.task_id.to_string(),
    );
    assert_eq!(log(test).await, [entry]);
}

async fn behind_many_accepted_tasks_every_filter_finds_the_rest_on_its_first_page(
    test: &TestLedger,
) {
    let early = Timestamp::from_micros(1);
    let entry = |actor: &str, action: &str, outcome| AuditEntry {
        at: early,
        origin: Origin::new(actor, None),
        action: action.to_owned(),
        resource: "rare".to_owned(),
        outcome,
        detail: None,
    };
    let rare = [entry("bob", "agent.start", AuditOutcome::Refused)];
    test.ledger.note_refusals(&rare).await.unwrap();
    let many = "INSERT INTO audit (at, actor, action, resource, outcome) WITH RECURSIVE n(i) AS \
        (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10001) SELECT 9000000000000, 'alice', 'task.accept', 'x', 'done' FROM n";
    let filled = test.ledger.connection().execute_unprepared(many).await;
    filled.unwrap();
    let all = AuditQuery {
        limit: 10,
        ..AuditQuery::default()
    };
    let text = |text: &str| Some(text.to_owned());
    let queries = [
        AuditQuery {
            actor: text("bob"),
            ..all.clone()
        },
        AuditQuery {
            action: text("agent.start"),
            ..all.clone()
        },
        AuditQuery {
            resource: text("rare"),
            outcome: Some(AuditOutcome::Refused),
            ..all.clone()
        },
        AuditQuery {
            outcome: Some(AuditOutcome::Refused),
            ..all.clone()
        },
    ];
    for query in queries {
        let page = test.ledger.audit_page(&query).await.unwrap();
        assert_eq!(page.entries.len(), 1, "{query:?}");
        assert_eq!(page.next, None, "{query:?}");
    }
    // A page that looks for what is rare by a filter without an index says where to go on.
    let neither = AuditQuery {
        actor: text("alice"),
        outcome: Some(AuditOutcome::Refused),
        ..all.clone()
    };
    let page = test.ledger.audit_page(&neither).await.unwrap();
    assert!(page.entries.is_empty() && page.next.is_some(), "{page:?}");
    // What is much older than what is asked for ends the search.
    for (micros, ends) in [(9_000_000_000_001, false), (9_003_600_000_001, true)] {
        let since = AuditQuery {
            since: Some(Timestamp::from_micros(micros)),
            ..all.clone()
        };
        let page = test.ledger.audit_page(&since).await.unwrap();
        assert!(page.entries.is_empty(), "{page:?}");
        assert_eq!(page.next.is_none(), ends, "{micros}");
    }
}
