//! Callers who submit task after task over HTTP, and keep account of what they were promised.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orchestrator_common::domain::{AgentId, TaskId};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Api;
use crate::eventually;

/// The pause of a caller between two tasks, so that a test has a load that a busy machine can carry.
const PACE: Duration = Duration::from_millis(15);
/// The pause before a task that was not accepted is submitted again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the callers do.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// How many there are. Half of them repeat what was not accepted, with its `Idempotency-Key`; the others have none.
    pub callers: usize,
    /// Whom they give tasks to, in turn.
    pub agents: Vec<AgentId>,
    /// How long a task takes.
    pub millis: u64,
    /// How long every tenth takes.
    pub long_millis: u64,
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    account: Arc<Account>,
    callers: JoinSet<()>,
}

#[derive(Debug)]
struct Account {
    options: LoadOptions,
    apis: Mutex<Vec<String>>,
    accepted: Mutex<Vec<TaskId>>,
    refused: AtomicU64,
    unanswered: AtomicUsize,
    waiting: AtomicUsize,
    stop: AtomicBool,
}

/// What a load came to.
#[derive(Debug)]
pub struct Submitted {
    /// Tasks that were accepted.
    pub accepted: Vec<TaskId>,
    /// Refusals (503) and broken connections; what they meant was submitted again, or given up by its caller.
    pub refused: u64,
    /// Tasks without `Idempotency-Key` of which nobody knows whether they were accepted.
    pub unanswered: usize,
}

impl Submitted {
    /// Tasks that were accepted otherwise.
    #[must_use]
    pub fn exactly(accepted: Vec<TaskId>) -> Self {
        Self {
            accepted,
            refused: 0,
            unanswered: 0,
        }
    }
}

impl Load {
    /// Starts the callers.
    #[must_use]
    pub fn start(options: LoadOptions, apis: &[&Api]) -> Self {
        let account = Arc::new(Account {
            apis: Mutex::new(apis.iter().map(|api| api.url.clone()).collect()),
            accepted: Mutex::default(),
            refused: AtomicU64::default(),
            unanswered: AtomicUsize::default(),
            waiting: AtomicUsize::default(),
            stop: AtomicBool::default(),
            options,
        });
        let mut callers = JoinSet::new();
        for caller in 0..account.options.callers {
            callers.spawn(submit_all(Arc::clone(&account), caller));
        }
        Self { account, callers }
    }

    /// Lets the callers know one more API.
    pub fn turn_to(&self, api: &Api) {
        locked(&self.account.apis).push(api.url.clone());
    }

    /// How many callers there are.
    #[must_use]
    pub fn callers(&self) -> usize {
        self.account.options.callers
    }

    /// How many of them wait for an answer now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.account.waiting.load(Relaxed)
    }

    /// What was accepted so far.
    #[must_use]
    pub fn accepted(&self) -> Vec<TaskId> {
        locked(&self.account.accepted).clone()
    }

    /// Waits until `number` more tasks are accepted.
    ///
    /// # Panics
    /// When that takes too long, or a caller got an answer that it should not get.
    pub async fn more(&mut self, number: usize, when: &str) {
        let enough = self.accepted().len() + number;
        eventually(&format!("{number} tasks are accepted {when}"), async || {
            if let Some(ended) = self.callers.try_join_next() {
                panic!("a caller ended: {ended:?}");
            }
            locked(&self.account.accepted).len() >= enough
        })
        .await;
    }

    /// Stops the callers, each after its present task is accepted.
    ///
    /// # Panics
    /// When a caller got an answer that it should not get.
    pub async fn stop(mut self) -> Submitted {
        self.account.stop.store(true, Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("no caller fails");
        }
        Submitted {
            accepted: self.accepted(),
            refused: self.account.refused.load(Relaxed),
            unanswered: self.account.unanswered.load(Relaxed),
        }
    }
}

enum Answer {
    Accepted(TaskId),
    /// Told that it was not accepted.
    Refused,
    /// The connection broke, or nothing came.
    None,
}

async fn submit_all(account: Arc<Account>, caller: usize) {
    let http = reqwest::Client::builder()
        .timeout(PATIENCE)
        .build()
        .expect("a client needs nothing");
    let repeats = caller.is_multiple_of(2);
    let agents = &account.options.agents;
    let mut turn = caller;
    while !account.stop.load(Relaxed) {
        let agent_id = &agents[turn % agents.len()];
        turn += 1;
        let millis = if turn.is_multiple_of(10) {
            account.options.long_millis
        } else {
            account.options.millis
        };
        let task = json!({"agent_id": agent_id, "task_type": "t", "task_data": {"millis": millis}});
        let key = repeats.then(|| Uuid::new_v4().to_string());
        while !submit(&account, &http, turn, &task, key.as_deref()).await && repeats {
            turn += 1;
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep(PACE).await;
    }
}

/// Submits once; returns whether the task was accepted.
async fn submit(
    account: &Account,
    http: &reqwest::Client,
    turn: usize,
    task: &Value,
    key: Option<&str>,
) -> bool {
    let api = {
        let apis = locked(&account.apis);
        apis[turn % apis.len()].clone()
    };
    let mut request = http
        .post(format!("{api}/orchestrator/execute-task"))
        .json(task);
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    account.waiting.fetch_add(1, Relaxed);
    let answer = answer_to(request).await;
    account.waiting.fetch_sub(1, Relaxed);
    match answer {
        Answer::Accepted(task_id) => {
            locked(&account.accepted).push(task_id);
            return true;
        }
        Answer::Refused => {}
        Answer::None if key.is_none() => {
            account.unanswered.fetch_add(1, Relaxed);
        }
        Answer::None => {}
    }
    account.refused.fetch_add(1, Relaxed);
    false
}

async fn answer_to(request: reqwest::RequestBuilder) -> Answer {
    let Ok(response) = request.send().await else {
        return Answer::None;
    };
    let status = response.status();
    let Ok(body) = response.json::<Value>().await else {
        return Answer::None;
    };
    match status.as_u16() {
        200 | 202 => {
            let task_id = body["task_id"].as_str().and_then(|id| id.parse().ok());
            Answer::Accepted(task_id.expect("an accepted task has an identifier"))
        }
        503 => Answer::Refused,
        _ => panic!("{status}: {body}"),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
