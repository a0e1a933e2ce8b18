//! How those fare who mean no harm, and what memory it takes, while others attack.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hyper::Method;
use tokio::task::JoinHandle;

use super::requests::AGENT;
use crate::connection::{Connection, Target};
use crate::orchestrator;

/// Time between two good requests.
const INTERVAL: Duration = Duration::from_millis(250);

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Good tasks that were accepted.
    pub accepted: u64,
    /// How long each of them took to be accepted, in milliseconds.
    pub took: Vec<f64>,
    /// Good requests that were not answered as they should have been, and why.
    pub failed: Vec<String>,
    /// Memory of API and worker, in MiB, at each look.
    pub memory: Vec<(Duration, Vec<f64>)>,
}

/// Watches until it is told to stop.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    watching: JoinHandle<Seen>,
}

impl Watch {
    /// Begins to submit good tasks and to look at health and memory.
    #[must_use]
    pub fn start(target: Target, pids: Vec<u32>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let watching = tokio::spawn(watch(target, pids, Arc::clone(&stop)));
        Self { stop, watching }
    }

    /// Ends the watch.
    ///
    /// # Errors
    /// When it ended by itself.
    pub async fn end(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.watching.await?)
    }
}

async fn watch(target: Target, pids: Vec<u32>, stop: Arc<AtomicBool>) -> Seen {
    let begun = Instant::now();
    let mut seen = Seen::default();
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        let memory: Vec<f64> = pids
            .iter()
            .filter_map(|pid| memory_mib(*pid).ok())
            .collect();
        seen.memory.push((begun.elapsed(), memory));
        let asked = Instant::now();
        match good(&target, &mut connection).await {
            Ok(()) => {
                seen.accepted += 1;
                seen.took.push(asked.elapsed().as_secs_f64() * 1_000.0);
            }
            Err(error) => {
                connection = None;
                seen.failed.push(format!("{error:#}"));
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
    seen
}

/// A look at the health, and a good task.
async fn good(target: &Target, connection: &mut Option<Connection>) -> Result<()> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::open(target).await?),
    };
    connection
        .call_ok(Method::GET, "/health/ready", None)
        .await?;
    orchestrator::submit(connection, orchestrator::task_body(AGENT, "good")).await?;
    Ok(())
}

/// The memory that a process holds now, in MiB.
///
/// # Errors
/// When there is no such process.
pub fn memory_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let line = line.context("a process without memory")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1_024.0)
}
