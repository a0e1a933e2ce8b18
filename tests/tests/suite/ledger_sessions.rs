//! Reading sessions and conversations, on SQLite and on PostgreSQL.

use std::time::Duration;

use orchestrator_common::domain::{
    AgentId, ConversationState, ErrorCode, SessionId, SessionOutcome, SessionRecord, Timestamp,
    WorkerId,
};
use orchestrator_common::ledger::SessionQuery;
use orchestrator_tests::ledger::{TestLedger, default_options, task};
use orchestrator_tests::ledger_steps::{active_agent, bring, claim, completed, end, retryable};
use orchestrator_tests::on_both_databases;
use serde_json::json;

on_both_databases!(default_options();
    sessions_that_run_come_first_and_then_the_latest_ended,
    sessions_are_found_by_every_filter,
    a_conversation_is_what_its_tasks_came_to,
    a_conversation_that_was_idle_is_opened_anew_by_its_next_task,
);

fn all_of(agent: &AgentId) -> SessionQuery {
    SessionQuery {
        agent_id: agent.clone(),
        outcome: None,
        session_id: None,
        task_id: None,
        since: None,
        before: None,
        limit: 100,
    }
}

async fn list(test: &TestLedger, query: &SessionQuery) -> Vec<SessionRecord> {
    let page = test.ledger.session_page(query).await.unwrap();
    assert_eq!(page.next, None);
    page.sessions
}

async fn sessions_that_run_come_first_and_then_the_latest_ended(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 100).await;
    let now = Timestamp::now();
    let tasks = (0..10).map(|_| task(&agent, json!({}), now)).collect();
    let started = bring(ledger, WorkerId::generate(), tasks).await.started;
    for (n, started) in (0..7).zip(&started) {
        let after = Duration::from_secs(100 - n);
        end(ledger, &started.claim, completed(), now.plus(after)).await;
    }
    let whole = list(test, &all_of(&agent)).await;
    let (running, ended) = whole.split_at(3);
    for session in running {
        assert_eq!(
            (session.ended_at, session.outcome),
            (None, SessionOutcome::Running)
        );
        assert!(session.waited.is_some());
    }
    for session in ended {
        assert_eq!(
            (session.error, session.outcome),
            (None, SessionOutcome::Completed)
        );
        assert!(session.waited.is_some());
    }
    assert!(
        ended
            .windows(2)
            .all(|pair| pair[0].ended_at > pair[1].ended_at)
    );
    let ids = |sessions: &[SessionRecord]| -> Vec<_> {
        sessions.iter().map(|session| session.task_id).collect()
    };
    for limit in [1, 2, 3, 4, 7] {
        let mut query = SessionQuery {
            limit,
            ..all_of(&agent)
        };
        let mut paged = Vec::new();
        loop {
            let page = ledger.session_page(&query).await.unwrap();
            assert!(page.sessions.len() <= usize::try_from(limit).unwrap());
            paged.extend(page.sessions);
            query.before = page.next;
            if query.before.is_none() {
                break;
            }
        }
        assert_eq!(ids(&paged), ids(&whole), "{limit} a page");
    }
}

async fn sessions_are_found_by_every_filter(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 100).await;
    let other = active_agent(ledger, "b", 100).await;
    let now = Timestamp::now();
    let worker = WorkerId::generate();
    let tasks = vec![
        task(&agent, json!({"session_id": "chat"}), now),
        task(&agent, json!({}), now),
        task(&other, json!({"session_id": "chat"}), now),
    ];
    let (chatty, plain) = (tasks[0].task_id, tasks[1].task_id);
    for started in bring(ledger, worker, tasks).await.started {
        let outcome = if started.claim.task_id == plain {
            retryable()
        } else {
            completed()
        };
        end(ledger, &started.claim, outcome, now).await;
    }
    let due = now.plus(Duration::from_secs(3_600));
    let promoted = ledger.promote_due(due).await.unwrap();
    assert_eq!(promoted.agents, std::slice::from_ref(&agent));
    let later = now.plus(Duration::from_secs(7_200));
    claim(ledger, worker, &agent, later).await;

    let of = async |query: SessionQuery| -> Vec<_> {
        let found = list(test, &query).await;
        found
            .iter()
            .map(|session| (session.task_id, session.outcome, session.attempt))
            .collect()
    };
    let all = || all_of(&agent);
    let retried = (plain, SessionOutcome::Retried, 1);
    let running = (plain, SessionOutcome::Running, 2);
    let chat = (chatty, SessionOutcome::Completed, 1);
    assert_eq!(of(all()).await.len(), 3);
    let task_id = Some(plain);
    assert_eq!(
        of(SessionQuery { task_id, ..all() }).await,
        [running, retried]
    );
    let session_id = SessionId::parse("chat");
    assert_eq!(
        of(SessionQuery {
            session_id,
            ..all()
        })
        .await,
        [chat]
    );
    let since = Some(later);
    assert_eq!(of(SessionQuery { since, ..all() }).await, [running]);
    for (outcome, expected) in [
        (SessionOutcome::Retried, vec![retried]),
        (SessionOutcome::Running, vec![running]),
        (SessionOutcome::Completed, vec![chat]),
        (SessionOutcome::Failed, vec![]),
    ] {
        let outcome = Some(outcome);
        assert_eq!(of(SessionQuery { outcome, ..all() }).await, expected);
    }
    let outcome = Some(SessionOutcome::Retried);
    let failed = list(test, &SessionQuery { outcome, ..all() }).await;
    assert_eq!(failed[0].error, Some(ErrorCode::AgentUnreachable));
}

const TIMEOUT: Duration = Duration::from_secs(600);

async fn a_conversation_is_what_its_tasks_came_to(test: &TestLedger) {
    let ledger = &test.ledger;
    let agents = [
        active_agent(ledger, "a", 100).await,
        active_agent(ledger, "b", 100).await,
    ];
    let now = Timestamp::now();
    let session_id = SessionId::parse("chat").unwrap();
    let unknown = ledger.conversation(&session_id, TIMEOUT, now).await;
    assert!(unknown.unwrap().is_none());
    let of_session = json!({"session_id": "chat"});
    let mut tasks: Vec<_> = agents
        .iter()
        .map(|agent| task(agent, of_session.clone(), now))
        .collect();
    tasks.push(task(&agents[0], json!({"session_id": "other"}), now));
    let started = bring(ledger, WorkerId::generate(), tasks).await.started;
    let then = now.plus(Duration::from_secs(5));
    let chat: Vec<_> = started
        .iter()
        .filter(|started| started.task.session_id.as_ref() == Some(&session_id))
        .collect();
    end(ledger, &chat[0].claim, completed(), then).await;
    let much_later = now.plus(TIMEOUT * 3);
    let found = async |at| {
        let found = ledger.conversation(&session_id, TIMEOUT, at).await;
        found.unwrap().unwrap()
    };
    let open = found(much_later).await;
    assert_eq!((open.state, open.ends_at), (ConversationState::Open, None));
    assert_eq!((open.tasks["running"], open.tasks["completed"]), (1, 1));
    end(ledger, &chat[1].claim, completed(), then).await;
    let ended = found(much_later).await;
    assert_eq!(ended.state, ConversationState::Ended);
    assert_eq!(ended.ends_at, Some(then.plus(TIMEOUT)));
    assert_eq!(
        (ended.first_at, ended.last_at, ended.opened_at),
        (now, then, now)
    );
    assert_eq!((ended.times_opened, ended.attempts), (1, 2));
    assert_eq!(ended.agents.len(), 2);
}

async fn a_conversation_that_was_idle_is_opened_anew_by_its_next_task(test: &TestLedger) {
    let ledger = &test.ledger;
    let agent = active_agent(ledger, "a", 100).await;
    let start = Timestamp::now().minus(TIMEOUT * 10);
    // The second comes within the time, the third after it.
    let gaps = [Duration::ZERO, TIMEOUT / 2, TIMEOUT * 3];
    let mut last = start;
    for gap in gaps {
        last = start.plus(gap);
        let one = task(&agent, json!({"session_id": "chat"}), last);
        let id = one.task_id;
        ledger.ingest(vec![one], last).await.unwrap();
        let started = claim(ledger, WorkerId::generate(), &agent, last).await;
        assert_eq!(started[0].claim.task_id, id);
        end(ledger, &started[0].claim, completed(), last).await;
    }
    let session_id = SessionId::parse("chat").unwrap();
    let found = ledger.conversation(&session_id, TIMEOUT, last).await;
    let found = found.unwrap().unwrap();
    assert_eq!((found.times_opened, found.opened_at), (2, last));
    assert_eq!(
        (found.state, found.first_at),
        (ConversationState::Open, start)
    );
}
