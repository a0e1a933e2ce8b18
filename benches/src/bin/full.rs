//! Starts the built API and worker on RabbitMQ, PostgreSQL and Redis and measures them, several times over.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use futures::future::try_join_all;
use orchestrator_benches::brain::Brain;
use orchestrator_benches::connection::Connection;
use orchestrator_benches::deployment::{Deployment, Servers};
use orchestrator_benches::distribution::milliseconds;
use orchestrator_benches::latency::{self, Waiting};
use orchestrator_benches::report::Figure;
use orchestrator_benches::runs::Runs;
use orchestrator_benches::throughput;
use orchestrator_benches::workload::{Workload, ready_agents};
use orchestrator_benches::{orchestrator, process};

/// Measures one API and one worker: throughput, processor time, latency, tasks in flight, and a killed worker.
///
/// `--tasks 0` leaves the throughput out.
#[derive(Parser)]
struct Arguments {
    /// Tasks to submit one at a time; 0 leaves the measurement out.
    #[arg(long, default_value_t = 1_000)]
    count: usize,
    /// Tasks of ten seconds to have in flight at once; 0 leaves the measurement out.
    #[arg(long, default_value_t = 10_000)]
    in_flight: usize,
    /// Tasks of one second, at half of which the only worker is killed; 0 leaves the measurement out.
    #[arg(long, default_value_t = 500)]
    killed: usize,
    #[command(flatten)]
    workload: Workload,
    #[command(flatten)]
    runs: Runs,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let servers = Servers::of_environment()?;
    let (runs, tasks) = (&arguments.runs, arguments.workload.tasks);
    runs.print(tasks, async || {
        Box::pin(measure(&arguments, &servers)).await
    })
    .await
}

/// One run of every measurement that is wanted, each on new processes.
async fn measure(arguments: &Arguments, servers: &Servers) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if arguments.workload.tasks > 0 || arguments.count > 0 {
        figures.extend(many_and_one_at_a_time(arguments, servers).await?);
    }
    if arguments.in_flight > 0 {
        figures.extend(in_flight(arguments, servers).await?);
    }
    if arguments.killed > 0 {
        figures.extend(killed_worker(arguments, servers).await?);
    }
    Ok(figures)
}

/// Agents that answer at once: one task at a time, then many from many clients.
async fn many_and_one_at_a_time(arguments: &Arguments, servers: &Servers) -> Result<Vec<Figure>> {
    let work = &arguments.workload;
    let brain = Brain::start(Duration::ZERO)?;
    let (deployment, mut connection) =
        Deployment::start(servers, &brain, &arguments.runs.variables).await?;
    let agents = ready_agents(&mut connection, "bench", work.agents, work.sessions).await?;
    let mut figures = Vec::new();
    if arguments.count > 0 {
        let (target, agent, count) = (&deployment.target, &agents[0], arguments.count);
        let submit = latency::submissions(target, agent, count).await?;
        figures.extend(submit.figures([
            "one_submit_p50_ms",
            "one_submit_p99_ms",
            "one_submit_max_ms",
        ]));
        let polled = latency::measure(target, agent, count, Waiting::Polling).await?;
        figures.extend(polled.figures(["polled_p50_ms", "polled_p99_ms", "polled_max_ms"]));
        let held = latency::measure(target, agent, count, Waiting::Held).await?;
        figures.extend(held.figures(["held_p50_ms", "held_p99_ms", "held_max_ms"]));
    }
    if arguments.workload.tasks > 0 {
        let plan = work.plan(agents, work.tasks, deployment.pids(), Servers::pids()?);
        let throughput = throughput::measure(&deployment.target, &plan)
            .await
            .with_context(|| deployment.logs())?;
        if !throughput.all_completed() {
            bail!("not every task was completed: {:?}", throughput.outcomes);
        }
        figures.extend(throughput.figures());
    }
    deployment.end().await?;
    Ok(figures)
}

/// Agents that take ten seconds, and as many tasks at once as were asked for.
async fn in_flight(arguments: &Arguments, servers: &Servers) -> Result<Vec<Figure>> {
    let number = arguments.in_flight;
    let brain = Brain::start(Duration::from_secs(10))?;
    let mut variables = vec![("WORKER_CONCURRENCY".to_owned(), number.to_string())];
    variables.extend(arguments.runs.variables.iter().cloned());
    let (deployment, mut connection) = Deployment::start(servers, &brain, &variables).await?;
    let sessions = u32::try_from(number)?;
    let agents = ready_agents(&mut connection, "bench", 1, sessions).await?;
    let work = &arguments.workload;
    let plan = work.plan(agents, number, deployment.pids(), Vec::new());
    let throughput = throughput::measure(&deployment.target, &plan)
        .await
        .with_context(|| deployment.logs())?;
    if !throughput.all_completed() {
        bail!("not every task was completed: {:?}", throughput.outcomes);
    }
    let seconds = throughput.recorded_seconds().unwrap_or(f64::NAN);
    let worker = [deployment.workers[0].pid()];
    let figures = vec![
        Figure::new("in_flight_most", brain.counts().most as f64),
        Figure::new("in_flight_all_done_s", seconds),
        Figure::new("in_flight_worker_mib", process::peak_memory_mib(&worker)?),
    ];
    deployment.end().await?;
    Ok(figures)
}

/// Agents that take one second; the only worker is killed when half of the tasks are done, and started again at once.
async fn killed_worker(arguments: &Arguments, servers: &Servers) -> Result<Vec<Figure>> {
    let number = arguments.killed;
    let half = number / 2;
    let brain = Brain::start(Duration::from_secs(1))?;
    let (mut deployment, mut connection) =
        Deployment::start(servers, &brain, &arguments.runs.variables).await?;
    let sessions = u32::try_from(half)?;
    let agents = ready_agents(&mut connection, "bench", 1, sessions).await?;
    let body = orchestrator::task_body(&agents[0], "x");
    let clients: Vec<Connection> =
        try_join_all((0..arguments.workload.clients).map(|_| Connection::open(&deployment.target)))
            .await?;
    let submitting = clients
        .into_iter()
        .enumerate()
        .map(|(client, mut connection)| {
            let body = body.clone();
            async move {
                let mut ids = Vec::new();
                for _ in (client..number).step_by(arguments.workload.clients) {
                    ids.push(orchestrator::submit(&mut connection, body.clone()).await?);
                }
                Ok::<_, anyhow::Error>(ids)
            }
        });
    let ids: Vec<String> = try_join_all(submitting)
        .await?
        .into_iter()
        .flatten()
        .collect();

    // The second half is under way once more tasks were begun than may run at the same time.
    let deadline = Instant::now() + arguments.workload.deadline();
    while brain.counts().paid <= half as u64 {
        if Instant::now() > deadline {
            bail!("the second half never began\n{}", deployment.logs());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (killed, wall_clock) = (Instant::now(), time::OffsetDateTime::now_utc());
    deployment.kill_workers();
    deployment.add_worker()?;
    let mut last = wall_clock;
    let mut retried: usize = 0;
    for id in &ids {
        let state = orchestrator::outcome(&mut connection, id, deadline)
            .await
            .with_context(|| deployment.logs())?;
        if state.status != "completed" {
            bail!("task {id} ended as {}", state.status);
        }
        retried += usize::from(state.attempt > 1);
        last = last.max(state.recorded_at().context("an outcome without its time")?);
    }
    let counts = brain.counts();
    let paid_twice = counts.paid.saturating_sub(number as u64);
    let figures = vec![
        Figure::new("killed_all_done_s", (last - wall_clock).as_seconds_f64()),
        Figure::new(
            "killed_all_seen_s",
            milliseconds(killed.elapsed()) / 1_000.0,
        ),
        Figure::new("killed_run_again", retried as f64),
        Figure::new("killed_paid_twice", paid_twice as f64),
    ];
    deployment.end().await?;
    Ok(figures)
}
