//! The audit log on its way to the platform's audit service.

use std::collections::BTreeSet;
use std::time::Duration;

use orchestrator_common::audit_service::{AuditService, MAX_EVENTS};
use orchestrator_common::config::Settings;
use orchestrator_common::domain::{AuditEntry, AuditOutcome, Origin, Timestamp};
use orchestrator_tests::eventually;
use orchestrator_tests::ledger::TestLedger;
use orchestrator_tests::on_both_databases;
use orchestrator_tests::surface::{Strength, run};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

on_both_databases!(orchestrator_tests::ledger::default_options();
    entries_behind_a_missing_number_wait_until_it_can_no_longer_come,
);

const KEY: &str = "key-of-the-orchestrator";

/// Has the service answer batches like this from now on.
async fn answer(service: &MockServer, template: ResponseTemplate) {
    service.reset().await;
    let batch = Mock::given(method("POST")).and(path("/audit/events/batch"));
    batch
        .and(header("x-api-key", KEY))
        .respond_with(template)
        .mount(service)
        .await;
}

/// The numbers of the entries that came in each request since the service last changed its mind.
async fn batches(service: &MockServer) -> Vec<Vec<i64>> {
    let requests = service.received_requests().await.unwrap();
    let numbers = |body: &[u8]| -> Vec<i64> {
        let events: Value = serde_json::from_slice(body).unwrap();
        let events = events.as_array().cloned().unwrap_or_else(|| vec![events]);
        let seq = |event: &Value| event["metadata"]["seq"].as_i64().unwrap();
        events.iter().map(seq).collect()
    };
    requests
        .iter()
        .map(|request| numbers(&request.body))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_is_forwarded_through_failures_and_silence_of_the_service()
-> anyhow::Result<()> {
    let service = MockServer::start().await;
    answer(&service, ResponseTemplate::new(503)).await;
    let uri = service.uri();
    let settings = [
        ("AUDIT_SERVICE_URL", uri.as_str()),
        ("AUDIT_SERVICE_API_KEY", KEY),
    ];
    run(Strength::Embedded, &settings, async |surface| {
        eventually("the service is asked again", async || {
            batches(&service).await.len() >= 2
        })
        .await;
        // It is silent; tasks do not notice.
        let silent = ResponseTemplate::new(200).set_delay(Duration::from_secs(600));
        answer(&service, silent).await;
        let task = surface.submit(json!({"delay_ms": 0})).await?;
        surface.until(&task, "completed").await;
        eventually("the service keeps a request", async || {
            !batches(&service).await.is_empty()
        })
        .await;
        // It comes back.
        answer(&service, ResponseTemplate::new(200)).await;
        let page = surface.get("/orchestrator/audit?limit=100").await.body;
        let all = page["entries"].as_array().unwrap();
        let all: BTreeSet<i64> = all.iter().map(|e| e["seq"].as_i64().unwrap()).collect();
        assert!(all.len() >= 3, "{page}");
        eventually("everything has come", async || {
            let came = batches(&service).await.concat();
            all.is_subset(&came.into_iter().collect())
        })
        .await;
        let came = batches(&service).await.concat();
        assert!(came.is_sorted(), "{came:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_service_that_takes_no_batches_gets_single_events_and_what_it_refuses_is_left_out() {
    let service = MockServer::start().await;
    answer(&service, ResponseTemplate::new(422)).await;
    Mock::given(path("/audit/events"))
        .respond_with(|request: &wiremock::Request| {
            let event: Value = serde_json::from_slice(&request.body).unwrap();
            let is_odd = event["metadata"]["seq"].as_i64().unwrap() % 2 == 1;
            ResponseTemplate::new(if is_odd { 422 } else { 201 })
        })
        .mount(&service)
        .await;
    let variables = [
        (
            "AUDIT_SERVICE_URL".to_owned(),
            format!("{}/", service.uri()),
        ),
        ("AUDIT_SERVICE_API_KEY".to_owned(), KEY.to_owned()),
    ];
    let settings = Settings::from_variables(variables.into()).unwrap();
    let client = AuditService::of(settings.audit_service.as_ref());
    let client = client.unwrap().unwrap();
    let entries: Vec<_> = (1..=5).map(|seq| (seq, entry(Timestamp::now()))).collect();
    assert_eq!(client.send(&entries).await, Ok(3));
    let came = batches(&service).await;
    assert_eq!(
        came,
        [
            vec![1, 2, 3, 4, 5],
            vec![1],
            vec![2],
            vec![3],
            vec![4],
            vec![5]
        ]
    );
}

fn entry(at: Timestamp) -> AuditEntry {
    AuditEntry {
        at,
        origin: Origin::new("alice", None),
        action: "agent.start".to_owned(),
        resource: "a".to_owned(),
        outcome: AuditOutcome::Done,
        detail: None,
    }
}

async fn entries_behind_a_missing_number_wait_until_it_can_no_longer_come(test: &TestLedger) {
    let ledger = &test.ledger;
    let now = Timestamp::now();
    let entries = vec![entry(now); 4];
    ledger.note_refusals(&entries).await.unwrap();
    let limit = u32::try_from(MAX_EVENTS).unwrap();
    let numbers = async |at| -> Vec<i64> {
        let ready = ledger.entries_to_forward(limit, at).await.unwrap();
        ready.into_iter().map(|(seq, _)| seq).collect()
    };
    assert_eq!(numbers(now).await, [1, 2, 3, 4]);
    // As if the third were still on its way.
    let sql = "DELETE FROM audit WHERE seq = 3";
    ledger.connection().execute_unprepared(sql).await.unwrap();
    assert_eq!(numbers(now).await, [1, 2]);
    assert_eq!(numbers(now.plus(Duration::from_secs(61))).await, [1, 2, 4]);
    ledger.note_forwarded(2).await.unwrap();
    assert_eq!(numbers(now).await, Vec::<i64>::new());
    assert_eq!(numbers(now.plus(Duration::from_secs(61))).await, [4]);
}
