//! How agents do: summed up by minute and hour, and read, on SQLite and on PostgreSQL.

use std::time::Duration;

use orchestrator_common::domain::{AgentId, Performance, Timestamp, WorkerId};
use orchestrator_common::ledger::{AgentPerformance, RolledUp};
use orchestrator_tests::ledger::{Backend, TestLedger, default_options, task};
use orchestrator_tests::ledger_steps::{active_agent, bring, completed, end, retryable};
use orchestrator_tests::on_both_databases;
use sea_orm::ConnectionTrait;
use serde_json::json;

on_both_databases!(default_options();
    what_is_summed_up_is_read_as_if_it_were_not,
    a_session_counts_with_its_times_its_use_and_its_error,
    summing_up_twice_counts_once,
    agents_have_experience_with_the_types_of_their_tasks,
);

const HOUR: i64 = 3_600_000_000;

fn backend(test: &TestLedger) -> Backend {
    if test.url.is_some() {
        Backend::Postgres
    } else {
        Backend::Sqlite
    }
}

/// Writes a session each of the agents `a` and `b` for every seventeen seconds of the last 28 hours.
async fn many_hours(test: &TestLedger, now: i64) {
    let id = match backend(test) {
        Backend::Postgres => "gen_random_uuid()",
        Backend::Sqlite => "randomblob(16)",
    };
    let sql = format!(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 6000) \
         INSERT INTO sessions (task_id, claim, attempt, agent_id, worker_id, started_at, ended_at, outcome, tokens_used, \
         cost_estimate, error_code, waited_micros) SELECT {id}, 1, 1, agent, {id}, {now} - n * 17001000, \
         {now} - n * 17000000, CASE n % 7 WHEN 0 THEN 'failed' WHEN 1 THEN 'agent_unavailable' ELSE 'completed' END, n % 3, \
         0.5, CASE n % 7 WHEN 0 THEN 'agent_failed' WHEN 1 THEN 'agent_unavailable' END, \
         CASE n % 2 WHEN 0 THEN n * 500 END \
         FROM n, (SELECT 'a' AS agent UNION ALL SELECT 'b') agents"
    );
    // Numbers beyond 32 bits.
    let sql = sql.replace("n * 17", "CAST(n AS BIGINT) * 17");
    let connection = test.ledger.connection();
    connection.execute_unprepared(&sql).await.unwrap();
    let old = format!("UPDATE agents SET registered_at = {}", now - 40 * HOUR);
    connection.execute_unprepared(&old).await.unwrap();
}

fn windows(found: &AgentPerformance) -> [&Performance; 5] {
    let AgentPerformance {
        quarter,
        hour,
        day,
        week,
        all,
    } = found;
    [quarter, hour, day, week, all].map(|window| &window.performance)
}

async fn what_is_summed_up_is_read_as_if_it_were_not(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 1).await;
    active_agent(ledger, "b", 1).await;
    let now = Timestamp::now();
    many_hours(test, now.as_micros()).await;
    let registered_at = ledger.agent(&agent).await.unwrap().unwrap().registered_at;
    let read = async || {
        let found = ledger.performance(&agent, registered_at, now).await;
        found.unwrap()
    };
    let before = read().await;
    let sessions = windows(&before).map(|sum| sum.outcomes.sessions());
    // The windows begin with a minute or an hour: with what is within, and a little more.
    let expected = |seconds: u64, more: u64| seconds / 17..=(seconds + more) / 17 + 1;
    assert!(expected(900, 60).contains(&sessions[0]), "{sessions:?}");
    assert!(expected(3_600, 60).contains(&sessions[1]), "{sessions:?}");
    assert!(
        expected(86_400, 3_600).contains(&sessions[2]),
        "{sessions:?}"
    );
    assert_eq!(sessions[3..], [6_000, 6_000]);
    let mut steps = 0;
    while ledger.roll_up(now).await.unwrap() == RolledUp::Some {
        steps += 1;
        if steps % 40 == 0 {
            let read = read().await;
            assert_eq!(windows(&read), windows(&before), "after {steps} steps");
        }
    }
    assert!(steps > 200, "{steps}");
    let after = read().await;
    assert_eq!(windows(&after), windows(&before));
    let week = after.week.performance;
    assert_eq!(week.errors["agent_failed"], 857);
    assert_eq!(week.errors["agent_unavailable"], 858);
    assert_eq!((week.outcomes.failed, week.outcomes.retried), (857, 858));
    assert_eq!((week.tokens, week.queue_wait.count()), (6_000, 3_000));
    let median = week.response_time.quantile(0.5).unwrap().as_secs_f64();
    assert!((2.5..3.6).contains(&median), "{median}");
}

async fn rolled_up(test: &TestLedger, now: Timestamp) {
    while test.ledger.roll_up(now).await.unwrap() == RolledUp::Some {}
}

/// Has the agent end a task with success, and one so that it is tried again; each took two seconds.
async fn two_sessions(test: &TestLedger, agent: &AgentId) {
    let now = Timestamp::now();
    let tasks = (0..2).map(|_| task(agent, json!({}), now)).collect();
    let started = bring(&test.ledger, WorkerId::generate(), tasks)
        .await
        .started;
    let then = started[0].claim.started_at.plus(Duration::from_secs(2));
    end(&test.ledger, &started[0].claim, completed(), then).await;
    end(&test.ledger, &started[1].claim, retryable(), then).await;
}

async fn a_session_counts_with_its_times_its_use_and_its_error(test: &TestLedger) {
    let agent = active_agent(&test.ledger, "a", 10).await;
    two_sessions(test, &agent).await;
    let now = Timestamp::now();
    let registered_at = now.minus(Duration::from_secs(60));
    let found = test.ledger.performance(&agent, registered_at, now).await;
    let hour = found.unwrap().hour.performance;
    assert_eq!((hour.outcomes.completed, hour.outcomes.retried), (1, 1));
    assert_eq!(hour.mean_response_time(), Some(Duration::from_secs(2)));
    assert_eq!(hour.queue_wait.count(), 2);
    assert_eq!(hour.errors["agent_unreachable"], 1);
}

async fn summing_up_twice_counts_once(test: &TestLedger) {
    let agent = active_agent(&test.ledger, "a", 10).await;
    two_sessions(test, &agent).await;
    let later = Timestamp::now().plus(Duration::from_secs(2 * 3_600));
    // Several workers at once, and again.
    let at_once = (0..4).map(|_| rolled_up(test, later));
    futures::future::join_all(at_once).await;
    rolled_up(test, later).await;
    let registered_at = later.minus(Duration::from_secs(3 * 3_600));
    let found = test.ledger.performance(&agent, registered_at, later).await;
    let found = found.unwrap();
    assert_eq!(found.all.performance.outcomes.sessions(), 2);
    assert_eq!(found.hour.performance.outcomes.sessions(), 0);
}

async fn agents_have_experience_with_the_types_of_their_tasks(test: &TestLedger) {
    let agent = active_agent(&test.ledger, "a", 10).await;
    two_sessions(test, &agent).await;
    let later = Timestamp::now().plus(Duration::from_secs(120));
    rolled_up(test, later).await;
    let found = test.ledger.experience("risk_assessment").await.unwrap();
    assert_eq!(found.len(), 1);
    let (of, done) = &found[0];
    assert_eq!((of, done.completed, done.failed), (&agent, 1, 0));
    let other = test.ledger.experience("other").await.unwrap();
    assert!(other.is_empty());
}
