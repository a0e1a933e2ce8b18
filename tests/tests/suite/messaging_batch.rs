//! Many tasks in one message: each is read, accepted, refused and put aside for itself.

use std::sync::Arc;

use lapin::BasicProperties;
use orchestrator_common::domain::{
    NewTask, Origin, Submission, SubmissionDefaults, TaskId, TaskStatus, Timestamp, WorkerId,
};
use orchestrator_common::messaging::{
    BatchMember, Command, Decoder, PublisherOptions, Reason, Refusal, Share, Source, accept_all,
    dead_letter, requeue,
};
use orchestrator_tests::eventually;
use orchestrator_tests::full_worker::FullStrength;
use orchestrator_tests::test_broker::TestBroker;
use serde_json::{Value, json};

fn worker() -> Origin {
    Origin::worker(WorkerId::generate())
}

fn read(body: &str, properties: &BasicProperties) -> Result<Vec<BatchMember>, Refusal> {
    read_as("task.execute_batch", body, properties)
}

fn read_as(
    key: &str,
    body: &str,
    properties: &BasicProperties,
) -> Result<Vec<BatchMember>, Refusal> {
    let received = Decoder::default().decode(key, properties, body.as_bytes(), Timestamp::now())?;
    match received.command {
        Command::ExecuteBatch(members) => Ok(members),
        other => panic!("unexpected {other:?}"),
    }
}

fn named(message_id: &str) -> BasicProperties {
    BasicProperties::default().with_message_id(message_id.into())
}

fn task(agent_id: &str, more: Value) -> Value {
    let mut task = json!({"agent_id": agent_id, "task_type": "t", "task_data": {}});
    for (name, value) in more.as_object().unwrap() {
        task[name] = value.clone();
    }
    task
}

#[test]
fn what_is_no_batch_is_refused_as_a_whole() {
    let nothing = BasicProperties::default();
    let reason = |body: &str| read(body, &nothing).unwrap_err().reason;
    assert_eq!(reason("{"), Reason::NotJson);
    assert_eq!(reason(r#"{"tasks":[[}"#), Reason::NotJson);
    assert_eq!(reason("[]"), Reason::Invalid);
    assert_eq!(reason("{}"), Reason::Invalid);
    assert_eq!(reason(r#"{"tasks":{}}"#), Reason::Invalid);
    assert_eq!(reason(r#"{"tasks":[]}"#), Reason::Invalid);
    assert_eq!(reason(r#"{"tasks":[{}],"surprise":1}"#), Reason::Invalid);
    assert_eq!(
        reason(r#"{"tasks":[{}],"kind":"task.execute"}"#),
        Reason::Invalid
    );
    assert_eq!(
        reason(r#"{"tasks":[{}],"version":2}"#),
        Reason::UnknownVersion
    );
    let many = json!({"tasks": vec![json!({}); 1_001]}).to_string();
    let refusal = read(&many, &nothing).unwrap_err();
    assert!(refusal.detail.contains("1 to 1000"), "{refusal}");
    let large = json!({"tasks": [{"x": "y".repeat(1_048_576)}]}).to_string();
    assert_eq!(reason(&large), Reason::TooLarge);
}

#[test]
fn each_task_is_accepted_or_refused_for_itself() {
    let body = json!({"version": 1, "kind": "task.execute_batch", "tasks": [
        task("a", json!({"priority": 7})), 5, {"agent_id": "a b", "surprise": 1},
        task("a", json!({"task_data": "text"})),
        task("a", json!({"reply_to": 5})), task("b", json!({})),
    ]})
    .to_string();
    for key in ["task.execute_batch", "orchestrator.tasks"] {
        let members = read_as(key, &body, &BasicProperties::default()).unwrap();
        let reasons: Vec<_> = members
            .iter()
            .map(|member| member.as_ref().err().map(|refusal| refusal.reason))
            .collect();
        let invalid = Some(Reason::Invalid);
        assert_eq!(reasons, [None, invalid, invalid, invalid, invalid, None]);
        let faults = &members[2].as_ref().unwrap_err().faults.0;
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["task_type", "agent_id", "task_data", "surprise"]);
        assert_eq!(
            members[4].as_ref().unwrap_err().faults.0[0].field,
            "reply_to"
        );
        assert_eq!(members[0].as_ref().unwrap().priority.get(), 7);
        assert_eq!(members[5].as_ref().unwrap().agent_id.as_str(), "b");
    }
}

#[test]
fn a_task_that_nests_too_deep_harms_no_other() {
    let deep = format!("{}1{}", r#"{"x":"#.repeat(200), "}".repeat(200));
    let body = format!(r#"{{"tasks":[{deep},{}]}}"#, task("a", json!({})));
    let members = read(&body, &BasicProperties::default()).unwrap();
    assert_eq!(members[0].as_ref().unwrap_err().reason, Reason::NotJson);
    assert!(members[1].is_ok());
}

#[test]
fn what_the_properties_say_counts_for_each_task_that_says_nothing_itself() {
    let body = json!({"tasks": [
        task("a", json!({"correlation_id": "own", "reply_to": "mine"})), task("a", json!({})),
    ]})
    .to_string();
    let of_all = BasicProperties::default()
        .with_correlation_id("all".into())
        .with_reply_to("ours".into());
    let members = read(&body, &of_all).unwrap();
    let said: Vec<_> = members
        .iter()
        .map(|member| {
            let task = member.as_ref().unwrap();
            (task.correlation_id.as_deref(), task.reply_to.as_deref())
        })
        .collect();
    assert_eq!(
        said,
        [(Some("own"), Some("mine")), (Some("all"), Some("ours"))]
    );
}

#[test]
fn a_message_that_comes_twice_has_the_same_tasks_and_each_of_them_its_own_identity() {
    let id = TaskId::generate();
    let body = json!({"tasks": [task("a", json!({})), task("a", json!({})), task("a", json!({"task_id": id}))]});
    let ids = |message_id: &str| -> Vec<TaskId> {
        let members = read(&body.to_string(), &named(message_id)).unwrap();
        members
            .into_iter()
            .map(|member| member.unwrap().task_id)
            .collect()
    };
    let uuid = TaskId::generate().to_string();
    for name in ["7", uuid.as_str()] {
        let first = ids(name);
        assert_eq!(first, ids(name));
        assert_ne!(first[0], first[1]);
        assert_eq!(first[2], id);
        assert_ne!(first[0], ids("8")[0]);
    }
}

fn new_task() -> Arc<NewTask> {
    let submission = Submission::parse(task("a", json!({})), SubmissionDefaults::default());
    let task = submission
        .unwrap()
        .into_task(TaskId::generate(), Timestamp::now());
    Arc::new(task)
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_wait_together_share_messages_but_never_with_another_authorization() {
    let broker = TestBroker::new(false).unwrap();
    let options = PublisherOptions {
        lanes: 1,
        ..PublisherOptions::default()
    };
    let publisher = broker.publisher(&broker.settings, options).unwrap();
    eventually("connected", async || publisher.is_connected()).await;
    let tasks: Vec<_> = (0..200).map(|_| new_task()).collect();
    let publishing = tasks.iter().enumerate().map(|(n, task)| {
        let header = Arc::from(if n < 100 { "Bearer one" } else { "Bearer two" });
        publisher.publish_task(Arc::clone(task), Some(header))
    });
    for fate in futures::future::join_all(publishing).await {
        assert_eq!(fate, Ok(()));
    }
    let messages = broker.depth(Source::Tasks).await.unwrap();
    assert!((2..=100).contains(&messages), "{messages} messages");

    let mut supervisor = broker.supervisor(&broker.settings).unwrap();
    let mut arriving = supervisor.subscribe(Source::Tasks, 500);
    let (_consuming, _) = supervisor.start();
    let mut expected = tasks.iter().enumerate();
    let mut read = 0;
    while read < tasks.len() {
        for message in arriving.recv_batch(500).await {
            let (key, properties) = (message.routing_key(), message.properties());
            let decoder = Decoder::default();
            let received = decoder.decode(key, properties, message.body(), Timestamp::now());
            let received = received.unwrap();
            let ids: Vec<TaskId> = match received.command {
                Command::Execute(task) => vec![task.task_id],
                Command::ExecuteBatch(members) => members
                    .into_iter()
                    .map(|member| member.unwrap().task_id)
                    .collect(),
                other => panic!("unexpected {other:?}"),
            };
            for id in ids {
                let (n, task) = expected.next().unwrap();
                assert_eq!(id, task.task_id, "in the order in which they waited");
                let own = if n < 100 { "Bearer one" } else { "Bearer two" };
                assert_eq!(received.authorization.as_ref().unwrap().expose(), own);
                read += 1;
            }
            accept_all(vec![Share::whole(message)]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_settled_with_its_last_task_and_comes_again_when_one_came_to_nothing() {
    let broker = TestBroker::new(true).unwrap();
    let options = PublisherOptions::default();
    let publisher = broker.publisher(&broker.settings, options).unwrap();
    eventually("connected", async || publisher.is_connected()).await;
    let proxy = broker.proxy().await.unwrap();
    let cut_off = broker.publisher(&broker.through(&proxy), options).unwrap();
    proxy.take_down();
    let publishing = (0..3).map(|_| publisher.publish_task(new_task(), None));
    for fate in futures::future::join_all(publishing).await {
        assert_eq!(fate, Ok(()));
    }

    let mut supervisor = broker.supervisor(&broker.settings).unwrap();
    let mut arriving = supervisor.subscribe(Source::Tasks, 1);
    let (_consuming, _) = supervisor.start();
    let refusal = Refusal::new(Reason::UnknownAgent, "agent a is not registered");
    let mut first = None;
    for message in arriving.recv_batch(1).await {
        first = Some(message.body().to_vec());
        let mut shares: Vec<Share> = Share::each(message, 3).collect();
        let refused = shares.pop().unwrap();
        accept_all(shares).await;
        assert!(
            dead_letter(refused, &refusal, &worker(), &cut_off, &broker.topology)
                .await
                .is_err()
        );
    }
    for message in arriving.recv_batch(1).await {
        assert!(message.is_redelivered());
        assert_eq!(Some(message.body().to_vec()), first);
        let mut shares: Vec<Share> = Share::each(message, 3).collect();
        let (last, middle) = (shares.pop().unwrap(), shares.pop().unwrap());
        accept_all(vec![last]).await;
        dead_letter(middle, &refusal, &worker(), &publisher, &broker.topology)
            .await
            .unwrap();
        assert_eq!(broker.depth(Source::DeadLetters).await.unwrap(), 1);
        accept_all(shares).await;
    }
    // With a prefetch of one, the next message shows that this one is settled.
    publisher.publish_task(new_task(), None).await.unwrap();
    for message in arriving.recv_batch(1).await {
        assert!(!message.is_redelivered());
        requeue(message).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_tasks_of_a_batch_run_and_the_others_are_put_aside_and_answered_one_by_one() {
    let full = FullStrength::start().await.unwrap();
    let worker = full.worker(10).await.unwrap();
    let agent_id = full.agent("a", 5).await.unwrap();
    let agent_id = agent_id.as_str();
    let replies = full.queue().await.unwrap();
    let ids: Vec<TaskId> = (0..4).map(|_| TaskId::generate()).collect();
    let other = json!({"task_id": ids[3], "agent_id": "nobody", "task_type": "t", "task_data": {"n": 3},
        "correlation_id": "fourth"});
    let body = json!({"tasks": [
        task(agent_id, json!({"task_id": ids[0]})), task(agent_id, json!({"task_id": ids[1], "priority": 11})),
        task(agent_id, json!({"task_id": ids[2]})), other,
    ]})
    .to_string();
    let properties = named("b-1").with_reply_to(replies.clone());
    full.send_raw("task.execute_batch", properties, body.as_bytes())
        .await
        .unwrap();
    for id in [ids[0], ids[2]] {
        full.reaches(id, TaskStatus::Completed).await.unwrap();
    }
    let dead = full.broker.topology.queue(Source::DeadLetters).clone();
    let mut letters = [
        full.next(&dead).await.unwrap(),
        full.next(&dead).await.unwrap(),
    ];
    letters.sort_by_key(|letter| letter.header("x-reason"));
    assert!(
        letters
            .iter()
            .all(|letter| letter.routing_key == "task.execute")
    );
    assert_eq!(letters[0].header("x-reason"), "invalid");
    assert_eq!(letters[0].body["priority"], 11);
    assert_eq!(letters[1].header("x-reason"), "unknown_agent");
    let alone =
        json!({"task_id": ids[3], "agent_id": "nobody", "task_type": "t", "task_data": {"n": 3}});
    assert_eq!(letters[1].body, alone);
    let properties = &letters[1].properties;
    assert_eq!(
        properties.message_id().as_ref().unwrap().as_str(),
        ids[3].to_string()
    );
    assert_eq!(
        properties.correlation_id().as_ref().unwrap().as_str(),
        "fourth"
    );
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        let reply = full.next(&replies).await.unwrap().body;
        let said = reply["reason"].as_str().or(reply["status"].as_str());
        outcomes.push(said.unwrap().to_owned());
    }
    outcomes.sort();
    assert_eq!(
        outcomes,
        ["completed", "completed", "invalid", "unknown_agent"]
    );
    worker.stop().await.unwrap();
    assert_eq!(full.broker.depth(Source::Tasks).await.unwrap(), 0);
    full.remove().await;
}
