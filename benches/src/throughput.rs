//! Many tasks from many clients at once: how fast they are accepted, and how fast all of them have an outcome.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use time::OffsetDateTime;

use crate::connection::{Connection, Target};
use crate::distribution::Latency;
use crate::orchestrator::{self, TaskState};
use crate::process;
use crate::report::Figure;

/// What to submit, and from how many connections.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Agents that share the tasks evenly.
    pub agents: Vec<String>,
    /// Tasks in all.
    pub tasks: usize,
    /// Connections; each has one request under way at any time.
    pub clients: usize,
    /// Bytes of input that a task carries.
    pub payload_bytes: usize,
    /// How long all of it may take.
    pub deadline: Duration,
    /// Processes of the orchestrator whose processor time and memory are of interest.
    pub pids: Vec<u32>,
    /// Processes of the servers beside it whose processor time is of interest.
    pub server_pids: Vec<u32>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Throughput {
    /// Tasks that were accepted and were then asked for until they had an outcome.
    pub tasks: usize,
    /// How many ended as what.
    pub outcomes: BTreeMap<String, usize>,
    /// Accepted tasks a second, from the first request to the last acceptance.
    pub submitted_per_second: f64,
    /// How long a submission took to be answered.
    pub submit_latency: Latency,
    /// Tasks a second, from the first request to the latest outcome by the orchestrator's own clock.
    pub recorded_per_second: Option<f64>,
    /// Tasks a second, from the first request until clients have asked for every outcome and seen it.
    pub seen_per_second: f64,
    /// Processor time of the orchestrator for each task, from its submission to its outcome, in microseconds.
    pub cpu_us_per_task: Option<f64>,
    /// The same, of the servers beside it.
    pub servers_cpu_us_per_task: Option<f64>,
    /// The same of the orchestrator, with every outcome read over HTTP.
    pub read_cpu_us_per_task: Option<f64>,
    /// The most memory that the observed processes ever held, in MiB.
    pub peak_memory_mib: Option<f64>,
    /// Processor time of this load generator for each task, in microseconds.
    pub own_cpu_us_per_task: f64,
}

impl Throughput {
    /// Whether every task was completed.
    #[must_use]
    pub fn all_completed(&self) -> bool {
        self.outcomes.get("completed") == Some(&self.tasks)
    }

    /// Seconds from the first request to the latest outcome, by the orchestrator's own clock.
    #[must_use]
    pub fn recorded_seconds(&self) -> Option<f64> {
        Some(self.tasks as f64 / self.recorded_per_second?)
    }

    /// The figures, for a report.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        let latency = self.submit_latency;
        let latency = latency.figures(["submit_p50_ms", "submit_p99_ms", "submit_max_ms"]);
        let rates = [
            ("submitted_per_second", Some(self.submitted_per_second)),
            ("recorded_per_second", self.recorded_per_second),
            ("seen_per_second", Some(self.seen_per_second)),
        ];
        let costs = [
            ("cpu_us_per_task", self.cpu_us_per_task),
            ("servers_cpu_us_per_task", self.servers_cpu_us_per_task),
            ("read_cpu_us_per_task", self.read_cpu_us_per_task),
            ("peak_memory_mib", self.peak_memory_mib),
            ("generator_cpu_us_per_task", Some(self.own_cpu_us_per_task)),
        ];
        let known = |(name, value): (&'static str, Option<f64>)| Some(Figure::new(name, value?));
        let mut figures: Vec<Figure> = rates.into_iter().filter_map(known).collect();
        figures.extend(latency);
        figures.extend(costs.into_iter().filter_map(known));
        figures
    }
}

/// Submits every task, then asks for each until it has an outcome.
///
/// # Errors
/// When a task is refused, gets lost, or has no outcome at the deadline.
pub async fn measure(target: &Target, plan: &Plan) -> Result<Throughput> {
    if plan.agents.is_empty() || plan.clients == 0 || plan.tasks == 0 {
        bail!("needs at least one agent, one client and one task");
    }
    let connections = try_join_all((0..plan.clients).map(|_| Connection::open(target))).await?;
    let payload = "x".repeat(plan.payload_bytes);
    let bodies: Vec<String> = plan
        .agents
        .iter()
        .map(|agent| orchestrator::task_body(agent, &payload))
        .collect();
    let own = [std::process::id()];
    let cpu_before = process::cpu_time(&plan.pids)?;
    let servers_before = process::cpu_time_of_group(&plan.server_pids);
    let own_before = process::cpu_time(&own)?;
    let wall_clock = OffsetDateTime::now_utc();
    let started = Instant::now();
    let deadline = started + plan.deadline;

    let submitting = connections
        .into_iter()
        .enumerate()
        .map(|(client, connection)| {
            // The client numbers are strides, so that every client serves every agent.
            let turns = (client..plan.tasks).step_by(plan.clients);
            submit_all(connection, turns, &bodies)
        });
    let submitted = tokio::time::timeout_at(deadline.into(), try_join_all(submitting))
        .await
        .with_context(|| format!("not every task was accepted within {:?}", plan.deadline))??;
    let submit_time = started.elapsed();

    let mut latencies = Vec::with_capacity(plan.tasks);
    let mut readers = Vec::with_capacity(plan.clients);
    for client in submitted {
        latencies.extend(client.latencies);
        readers.push((client.connection, client.task_ids));
    }
    // Each client's last outcome first: until then nearly all processor time goes into the tasks themselves.
    let last = readers.iter_mut().filter_map(|(connection, task_ids)| {
        let task_id = task_ids.last()?;
        Some(orchestrator::outcome(connection, task_id, deadline))
    });
    try_join_all(last).await?;
    let cpu = process::cpu_time(&plan.pids)?.saturating_sub(cpu_before);
    let servers_cpu = process::cpu_time_of_group(&plan.server_pids).saturating_sub(servers_before);
    let reading = readers
        .into_iter()
        .map(|(connection, task_ids)| read_all(connection, task_ids, deadline));
    let outcomes: Vec<TaskState> = try_join_all(reading).await?.into_iter().flatten().collect();
    let seen_time = started.elapsed();

    let read_cpu = process::cpu_time(&plan.pids)?.saturating_sub(cpu_before);
    let own_cpu = process::cpu_time(&own)?.saturating_sub(own_before);
    let observed = !plan.pids.is_empty();
    let micros_per_task = |cpu: Duration| cpu.as_secs_f64() * 1e6 / outcomes.len() as f64;
    let recorded_time = outcomes
        .iter()
        .filter_map(TaskState::recorded_at)
        .max()
        .map(|last| (last - wall_clock).as_seconds_f64())
        .filter(|seconds| *seconds > 0.0);
    let tasks = outcomes.len() as f64;
    Ok(Throughput {
        tasks: outcomes.len(),
        submitted_per_second: tasks / submit_time.as_secs_f64(),
        submit_latency: Latency::of(latencies).context("nothing was submitted")?,
        recorded_per_second: recorded_time.map(|seconds| tasks / seconds),
        seen_per_second: tasks / seen_time.as_secs_f64(),
        cpu_us_per_task: observed.then(|| micros_per_task(cpu)),
        servers_cpu_us_per_task: (!plan.server_pids.is_empty())
            .then(|| micros_per_task(servers_cpu)),
        read_cpu_us_per_task: observed.then(|| micros_per_task(read_cpu)),
        peak_memory_mib: if observed {
            Some(process::peak_memory_mib(&plan.pids)?)
        } else {
            None
        },
        own_cpu_us_per_task: micros_per_task(own_cpu),
        outcomes: count_by_status(outcomes),
    })
}

struct Submitted {
    connection: Connection,
    task_ids: Vec<String>,
    latencies: Vec<Duration>,
}

async fn submit_all(
    mut connection: Connection,
    turns: impl ExactSizeIterator<Item = usize>,
    bodies: &[String],
) -> Result<Submitted> {
    let mut task_ids = Vec::with_capacity(turns.len());
    let mut latencies = Vec::with_capacity(turns.len());
    for turn in turns {
        let body = bodies[turn % bodies.len()].clone();
        let sent = Instant::now();
        task_ids.push(orchestrator::submit(&mut connection, body).await?);
        latencies.push(sent.elapsed());
    }
    Ok(Submitted {
        connection,
        task_ids,
        latencies,
    })
}

/// Asks for one task after the other, in the order of submission.
async fn read_all(
    mut connection: Connection,
    task_ids: Vec<String>,
    deadline: Instant,
) -> Result<Vec<TaskState>> {
    let mut outcomes = Vec::with_capacity(task_ids.len());
    for task_id in task_ids {
        outcomes.push(orchestrator::outcome(&mut connection, &task_id, deadline).await?);
    }
    Ok(outcomes)
}

fn count_by_status(outcomes: Vec<TaskState>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for state in outcomes {
        *counts.entry(state.status).or_insert(0) += 1;
    }
    counts
}
