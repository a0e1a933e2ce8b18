//! Drives a running orchestrator and prints what it measured.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use orchestrator_benches::connection::{Connection, Target};
use orchestrator_benches::latency::{self, Waiting};
use orchestrator_benches::report::{Figure, Report};
use orchestrator_benches::throughput;
use orchestrator_benches::workload::{Workload, ready_agents};
use orchestrator_benches::{orchestrator, process};
use uuid::Uuid;

/// Measures an orchestrator that is already running.
#[derive(Parser)]
struct Arguments {
    /// Where its API listens.
    #[arg(long, default_value = "127.0.0.1:8200")]
    address: SocketAddr,
    /// Token for an API that demands one; needs the admin level.
    #[arg(long, env = "ORCHESTRATOR_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// What to measure.
    #[arg(long, value_enum, default_value_t = Mode::Throughput)]
    mode: Mode,
    #[command(flatten)]
    workload: Workload,
    /// Tasks, one at a time (latency).
    #[arg(long, default_value_t = 500)]
    count: usize,
    /// Let the orchestrator hold the answer until the outcome is there, instead of polling (latency).
    #[arg(long)]
    held: bool,
    /// A process of the orchestrator on this machine whose processor time and peak memory to report; repeatable.
    #[arg(long = "pid")]
    pids: Vec<u32>,
    /// A process of a server beside it whose processor time to report (throughput); repeatable.
    #[arg(long = "server-pid")]
    server_pids: Vec<u32>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Many tasks from many clients.
    Throughput,
    /// One task at a time.
    Latency,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let target = Target {
        address: arguments.address,
        token: arguments.token.clone(),
    };
    let run = Uuid::now_v7().simple().to_string();
    let (number, sessions) = (arguments.workload.agents, arguments.workload.sessions);
    let mut connection = Connection::open(&target).await?;
    let agents = ready_agents(&mut connection, &format!("bench-{run}"), number, sessions).await?;

    let measured = measure(&arguments, &target, &agents).await;
    for agent in &agents {
        orchestrator::unregister(&mut connection, agent).await?;
    }
    let (figures, verdict) = measured?;

    let mut report = Report::default();
    report.add(&figures);
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", report.json())?;
    } else {
        write!(out, "{}", report.table())?;
    }
    match verdict {
        None => Ok(ExitCode::SUCCESS),
        Some(complaint) => {
            writeln!(std::io::stderr(), "{complaint}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The figures, and what is wrong with them if something is.
async fn measure(
    arguments: &Arguments,
    target: &Target,
    agents: &[String],
) -> Result<(Vec<Figure>, Option<String>)> {
    match arguments.mode {
        Mode::Throughput => {
            let work = &arguments.workload;
            let plan = work.plan(
                agents.to_vec(),
                work.tasks,
                arguments.pids.clone(),
                arguments.server_pids.clone(),
            );
            let throughput = throughput::measure(target, &plan).await?;
            let complaint = (!throughput.all_completed())
                .then(|| format!("not every task was completed: {:?}", throughput.outcomes));
            Ok((throughput.figures(), complaint))
        }
        Mode::Latency => {
            let waiting = if arguments.held {
                Waiting::Held
            } else {
                Waiting::Polling
            };
            let before = process::cpu_time(&arguments.pids)?;
            let latency = latency::measure(target, &agents[0], arguments.count, waiting).await?;
            let mut figures = latency.figures(["task_p50_ms", "task_p99_ms", "task_max_ms"]);
            if !arguments.pids.is_empty() {
                let cpu = process::cpu_time(&arguments.pids)?.saturating_sub(before);
                let micros = cpu.as_secs_f64() * 1e6 / arguments.count as f64;
                figures.push(Figure::new("cpu_us_per_task", micros));
            }
            Ok((figures, None))
        }
    }
}
