//! Agents that count who calls them: how many at the same time, and how often each task was paid for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orchestrator_common::domain::{AgentId, TaskId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a repeated `Idempotency-Key` means to the agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repetition {
    /// Nothing: every call runs, for as long as its caller is there.
    RunsAgain,
    /// A call joins the execution that runs, or gets the answer of the one that ended; none ends with its caller.
    Honoured,
}

/// A server with any number of agents; a task takes as many milliseconds as `millis` of its data says, else none.
#[derive(Debug)]
pub struct CountingAgents {
    address: SocketAddr,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Counts {
    repetition: Repetition,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    agents: HashMap<String, Agent>,
    executions: HashMap<String, Execution>,
}

/// Executions of one agent.
#[derive(Clone, Copy, Debug, Default)]
struct Agent {
    now: u32,
    most: u32,
    ever: u32,
}

/// Executions of one task.
#[derive(Clone, Debug, Default)]
struct Execution {
    ever: u32,
    /// W3C trace context of the latest one.
    traceparent: Option<String>,
    /// Becomes true when the latest one has ended.
    ended: Option<watch::Receiver<bool>>,
}

/// An execution under way.
struct Running {
    counts: Arc<Counts>,
    agent: String,
}

impl Running {
    fn begin(counts: &Arc<Counts>, state: &mut State, call: &Call) -> Self {
        let agent = state.agents.entry(call.agent.clone()).or_default();
        agent.ever += 1;
        agent.now += 1;
        agent.most = agent.most.max(agent.now);
        let execution = state.executions.entry(call.key.clone()).or_default();
        execution.ever += 1;
        execution.traceparent.clone_from(&call.traceparent);
        Self {
            counts: Arc::clone(counts),
            agent: call.agent.clone(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.counts.state();
        state.agents.entry(self.agent.clone()).or_default().now -= 1;
    }
}

impl Counts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CountingAgents {
    /// Listens on a free port until dropped.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(repetition: Repetition) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts {
            repetition,
            state: Mutex::default(),
        });
        let shared = Arc::clone(&counts);
        let accepting = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(serve(caller, Arc::clone(&shared)));
            }
        });
        Ok(Self {
            address,
            counts,
            accepting,
        })
    }

    /// Where an agent is called.
    #[must_use]
    pub fn endpoint(&self, agent_id: &AgentId) -> String {
        format!("http://{}/agents/{agent_id}", self.address)
    }

    /// Tasks that run on an agent now.
    #[must_use]
    pub fn running(&self, agent_id: &AgentId) -> u32 {
        self.of(agent_id).now
    }

    /// The most tasks that ever ran on an agent at the same time.
    #[must_use]
    pub fn most(&self, agent_id: &AgentId) -> u32 {
        self.of(agent_id).most
    }

    /// Executions that an agent ever began.
    #[must_use]
    pub fn executions(&self, agent_id: &AgentId) -> u32 {
        self.of(agent_id).ever
    }

    /// Executions of one task that were ever begun.
    #[must_use]
    pub fn executions_of(&self, task_id: TaskId) -> u32 {
        let state = self.counts.state();
        let execution = state.executions.get(&task_id.to_string());
        execution.map_or(0, |execution| execution.ever)
    }

    /// The trace context with which a task was given to its agent last.
    #[must_use]
    pub fn traceparent_of(&self, task_id: TaskId) -> Option<String> {
        let state = self.counts.state();
        let execution = state.executions.get(&task_id.to_string())?;
        execution.traceparent.clone()
    }

    fn of(&self, agent_id: &AgentId) -> Agent {
        let state = self.counts.state();
        let agent = state.agents.get(agent_id.as_str());
        agent.copied().unwrap_or_default()
    }
}

impl Drop for CountingAgents {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What a caller asks.
struct Call {
    agent: String,
    key: String,
    traceparent: Option<String>,
    millis: u64,
    task_id: Value,
}

/// Serves one connection by hand: HTTP servers go on with a call whose caller has gone, and this one is to notice.
async fn serve(mut caller: TcpStream, counts: Arc<Counts>) -> Option<()> {
    loop {
        let answer = match read(&mut caller).await? {
            None => json!({"status": {"state": "ready"}}),
            Some(call) => {
                let mut next_byte = [0];
                tokio::select! {
                    () = execute(&counts, &call) => {}
                    // Looks instead of waiting for readiness, which may be that of bytes that were read already.
                    _gone = caller.peek(&mut next_byte) => return None,
                }
                json!({"task_id": call.task_id, "status": "completed", "result": {}})
            }
        };
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        caller.write_all((head + &answer).as_bytes()).await.ok()?;
    }
}

/// Reads a request: a task, or nothing for a question about the agent's state; `None` when the caller has gone.
async fn read(caller: &mut TcpStream) -> Option<Option<Call>> {
    let mut request = Vec::new();
    loop {
        if caller.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let header = |wanted: &str| {
            head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case(wanted).then(|| value.to_owned())
            })
        };
        let length = header("content-length").and_then(|length| length.parse().ok());
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        let Ok(asked) = serde_json::from_str::<Value>(body) else {
            return Some(None);
        };
        let path = head.split(' ').nth(1).unwrap_or_default();
        return Some(Some(Call {
            agent: path.split('/').nth(2).unwrap_or_default().to_owned(),
            key: header("idempotency-key").unwrap_or_default(),
            traceparent: header("traceparent"),
            millis: asked["input_data"]["millis"].as_u64().unwrap_or(0),
            task_id: asked["task_id"].clone(),
        }));
    }
}

async fn execute(counts: &Arc<Counts>, call: &Call) {
    match counts.repetition {
        Repetition::RunsAgain => {
            let _running = Running::begin(counts, &mut counts.state(), call);
            tokio::time::sleep(Duration::from_millis(call.millis)).await;
        }
        Repetition::Honoured => {
            let mut ended = join(counts, call);
            // The sender goes only after it has said so.
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }
}

/// The execution of a task: the one that there is, or a new one.
fn join(counts: &Arc<Counts>, call: &Call) -> watch::Receiver<bool> {
    let mut state = counts.state();
    let known = state.executions.get(&call.key);
    if let Some(ended) = known.and_then(|execution| execution.ended.clone()) {
        return ended;
    }
    let running = Running::begin(counts, &mut state, call);
    let (end, ended) = watch::channel(false);
    let millis = call.millis;
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        drop(running);
        end.send_replace(true);
    });
    state.executions.entry(call.key.clone()).or_default().ended = Some(ended.clone());
    ended
}
