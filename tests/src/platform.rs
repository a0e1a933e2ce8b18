//! A programmable platform over HTTP: a Brain Factory that makes agents and tells the orchestrator of them, and agents with a
//! speed, a capacity and faults of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How an agent behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    /// As it should.
    Works,
    /// It answers every task with status 500; its state is well all the same.
    Fails,
    /// It hangs up on every caller.
    HangsUp,
}

/// One agent of the platform.
#[derive(Clone, Debug)]
pub struct FakeAgent {
    /// How long a task takes on average: each between half and one and a half times as long.
    pub takes: Duration,
    /// How many tasks it runs at once; it says "busy" to more.
    pub capacity: u32,
    /// How it behaves.
    pub manner: Manner,
    /// Tasks that run now.
    pub running: u32,
    /// The most that ever ran at once.
    pub most: u32,
    /// Tasks that it completed.
    pub completed: u32,
    /// Tasks that it was too busy for.
    pub refused: u32,
    /// Tasks that it failed or hung up on.
    pub failed: u32,
    /// Questions about its state.
    pub probes: u32,
    /// Tasks that it says it runs.
    pub claims_to_run: Vec<String>,
}

impl FakeAgent {
    /// An agent that works, with this speed and capacity.
    #[must_use]
    pub fn new(takes: Duration, capacity: u32) -> Self {
        Self {
            takes,
            capacity,
            manner: Manner::Works,
            running: 0,
            most: 0,
            completed: 0,
            refused: 0,
            failed: 0,
            probes: 0,
            claims_to_run: Vec::new(),
        }
    }
}

/// The platform; gone when dropped.
#[derive(Debug)]
pub struct FakePlatform {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    agents: BTreeMap<String, FakeAgent>,
    /// Names of agents in the order in which the factory was asked to make them.
    made: Vec<String>,
    /// Where the factory registers what it makes.
    orchestrator: Option<SocketAddr>,
}

impl FakePlatform {
    /// Listens on a free port until dropped.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(serve(caller, address, Arc::clone(&shared)));
            }
        });
        Ok(Self {
            address,
            state,
            accepting,
        })
    }

    /// Has the factory register what it makes with the orchestrator there, as the real one does, before it answers.
    pub fn register_with(&self, orchestrator: SocketAddr) {
        lock(&self.state).orchestrator = Some(orchestrator);
    }

    /// Puts an agent there; returns where it is called.
    pub fn put(&self, name: &str, agent: FakeAgent) -> String {
        lock(&self.state).agents.insert(name.to_owned(), agent);
        format!("http://{}/agents/{name}", self.address)
    }

    /// Forgets an agent, as a restart of its brain does.
    pub fn forget(&self, name: &str) {
        lock(&self.state).agents.remove(name);
    }

    /// An agent as it is now; one that is not there has done nothing.
    #[must_use]
    pub fn agent(&self, name: &str) -> FakeAgent {
        let state = lock(&self.state);
        let agent = state.agents.get(name).cloned();
        agent.unwrap_or(FakeAgent::new(Duration::ZERO, 0))
    }

    /// Changes an agent.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut FakeAgent)) {
        if let Some(agent) = lock(&self.state).agents.get_mut(name) {
            change(agent);
        }
    }

    /// The names of all agents that are there.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        lock(&self.state).agents.keys().cloned().collect()
    }

    /// Which agents the factory was asked to make, in this order.
    #[must_use]
    pub fn made(&self) -> Vec<String> {
        lock(&self.state).made.clone()
    }
}

impl Drop for FakePlatform {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Asked {
    method: String,
    path: String,
    body: Value,
}

async fn serve(
    mut caller: TcpStream,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
) -> std::io::Result<()> {
    caller.set_nodelay(true)?;
    let mut read = Vec::new();
    while let Some(asked) = next(&mut caller, &mut read).await? {
        let Some((status, answer)) = answer(&asked, address, &state).await else {
            return Ok(());
        };
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        caller.write_all((head + &answer).as_bytes()).await?;
    }
    Ok(())
}

async fn next(caller: &mut TcpStream, read: &mut Vec<u8>) -> std::io::Result<Option<Asked>> {
    loop {
        let text = String::from_utf8_lossy(read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                let is_length = name.eq_ignore_ascii_case("content-length");
                is_length.then(|| value.parse::<usize>().ok()).flatten()
            });
            let length = length.unwrap_or(0);
            if body.len() >= length {
                let mut line = head.split(' ');
                let asked = Asked {
                    method: line.next().unwrap_or_default().to_owned(),
                    path: line.next().unwrap_or_default().to_owned(),
                    body: serde_json::from_str(&body[..length]).unwrap_or_default(),
                };
                read.drain(..head.len() + 4 + length);
                return Ok(Some(asked));
            }
        }
        if caller.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

/// Status and body; nothing for a caller who is hung up on.
async fn answer(asked: &Asked, address: SocketAddr, state: &Mutex<State>) -> Option<(u16, Value)> {
    let parts: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
    match (asked.method.as_str(), parts.as_slice()) {
        ("POST", ["generate-agent"]) => Some((200, generate(asked, address, state).await)),
        ("POST", ["agents", name, "execute"]) => execute(name, asked, state).await,
        ("GET", ["agents", name, "status"]) => {
            let mut state = lock(state);
            let Some(agent) = state.agents.get_mut(*name) else {
                return Some((404, json!({"detail": "Agent not found"})));
            };
            agent.probes += 1;
            if agent.manner == Manner::HangsUp {
                return None;
            }
            let doing = if agent.running < agent.capacity {
                "ready"
            } else {
                "executing"
            };
            let body = json!({"status": {"state": doing}, "active_tasks": agent.claims_to_run,
                "task_history_count": agent.completed, "memory_usage_mb": 64.0});
            Some((200, body))
        }
        ("DELETE", ["agents", name]) => {
            let gone = lock(state).agents.remove(*name).is_some();
            let status = if gone { "success" } else { "not_found" };
            Some((200, json!({"termination_status": status})))
        }
        _ => Some((200, json!({"status": "healthy"}))),
    }
}

async fn generate(asked: &Asked, address: SocketAddr, state: &Mutex<State>) -> Value {
    let config = &asked.body["agent_config"];
    let name = config["agent_id"].as_str().unwrap_or_default().to_owned();
    let orchestrator = {
        let mut state = lock(state);
        state.made.push(name.clone());
        let agent = FakeAgent::new(Duration::from_millis(5), 1_000);
        state.agents.insert(name.clone(), agent);
        state.orchestrator
    };
    if let Some(orchestrator) = orchestrator {
        let body = json!({"agent_id": name, "agent_name": config["name"], "domain": config["persona"]["domain"],
            "deployment_id": format!("deployment_{name}"), "brain_config": {"reasoning_pattern": "ReAct",
            "memory_config": {}, "plugin_config": {}}});
        let url = format!("http://{orchestrator}/orchestrator/register-agent");
        let told = reqwest::Client::new().post(url).json(&body).send().await;
        if !told.is_ok_and(|answer| answer.status() == 200) {
            return json!({"success": false, "agent_id": name, "status": "failed",
                "error_message": "the orchestrator did not take the registration"});
        }
    }
    json!({"success": true, "agent_id": name, "status": "ready",
        "agent_endpoint": format!("http://{address}/agents/{name}")})
}

async fn execute(name: &str, asked: &Asked, state: &Mutex<State>) -> Option<(u16, Value)> {
    let task_id = asked.body["task_id"].clone();
    let failed = |why: &str| {
        let body = json!({"task_id": task_id, "status": "failed", "error_message": why});
        Some((200, body))
    };
    let takes = {
        let mut state = lock(state);
        let Some(agent) = state.agents.get_mut(name) else {
            return Some((404, json!({"detail": "Agent not found"})));
        };
        match agent.manner {
            Manner::Works => {}
            Manner::Fails => {
                agent.failed += 1;
                return Some((500, json!({"detail": "broken"})));
            }
            Manner::HangsUp => {
                agent.failed += 1;
                return None;
            }
        }
        if agent.running >= agent.capacity {
            agent.refused += 1;
            drop(state);
            return failed("Agent not ready for task execution. Current state: executing");
        }
        agent.running += 1;
        agent.most = agent.most.max(agent.running);
        agent.takes
    };
    let share = u32::try_from(uuid::Uuid::new_v4().as_u128() % 1_000).unwrap_or(0);
    tokio::time::sleep(takes / 2 + takes * share / 1_000).await;
    let mut state = lock(state);
    if let Some(agent) = state.agents.get_mut(name) {
        agent.running = agent.running.saturating_sub(1);
        agent.completed += 1;
    }
    drop(state);
    Some((
        200,
        json!({"task_id": task_id, "status": "completed", "result": {"by": name}}),
    ))
}
