//! Starts the built `agent-orchestrator` on nothing but an empty folder and measures it, several times over.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use orchestrator_benches::distribution::milliseconds;
use orchestrator_benches::embedded::Embedded;
use orchestrator_benches::latency::{self, Waiting};
use orchestrator_benches::orchestrator;
use orchestrator_benches::process;
use orchestrator_benches::program::{built, variable};
use orchestrator_benches::report::{Figure, Report};
use orchestrator_benches::throughput::{self, Plan};

/// Measures the embedded default: start-up, throughput, latency, processor time and memory.
#[derive(Parser)]
struct Arguments {
    /// The program; by default the `agent-orchestrator` that was built beside this one.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Runs, each with a new process on a new folder; the figures are their medians.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Agents that share the tasks.
    #[arg(long, default_value_t = 4)]
    agents: usize,
    /// Concurrent sessions of each agent.
    #[arg(long, default_value_t = 256)]
    sessions: u32,
    /// Tasks to submit from many clients.
    #[arg(long, default_value_t = 50_000)]
    tasks: usize,
    /// Connections, each with one request under way.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Bytes of input that a task carries.
    #[arg(long, default_value_t = 128)]
    payload_bytes: usize,
    /// Tasks to submit one at a time.
    #[arg(long, default_value_t = 500)]
    count: usize,
    /// Seconds until a throughput run is given up.
    #[arg(long, default_value_t = 300)]
    deadline_seconds: u64,
    /// A variable for the program's environment, as NAME=VALUE; repeatable.
    #[arg(long = "env", value_parser = variable)]
    variables: Vec<(String, String)>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let program = match &arguments.program {
        Some(program) => std::path::absolute(program)?,
        None => built("agent-orchestrator")?,
    };
    let mut report = Report::default();
    for run in 1..=arguments.runs {
        let figures = measure(&arguments, &program)
            .await
            .with_context(|| format!("run {run} of {}", arguments.runs))?;
        report.add(&figures);
    }
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", report.json())?;
    } else {
        let (runs, tasks) = (arguments.runs, arguments.tasks);
        writeln!(
            out,
            "median (least – greatest) of {runs} runs, {tasks} tasks each"
        )?;
        write!(out, "{}", report.table())?;
    }
    Ok(())
}

/// One run on a new process: the first task, then one task at a time, then many at once.
async fn measure(arguments: &Arguments, program: &Path) -> Result<Vec<Figure>> {
    let mut embedded = Embedded::start(program, &arguments.variables)?;
    let mut connection = embedded.ready().await?;
    let ready = embedded.started().elapsed();

    // Never started by a call of ours: the first task starts its agent.
    orchestrator::register(&mut connection, "first", arguments.sessions).await?;
    latency::one(&mut connection, "first", Waiting::Polling).await?;
    let first_task = embedded.started().elapsed();

    let agents: Vec<String> = (0..arguments.agents.max(1))
        .map(|number| format!("bench-{number}"))
        .collect();
    for agent in &agents {
        orchestrator::register(&mut connection, agent, arguments.sessions).await?;
        orchestrator::start(&mut connection, agent).await?;
    }
    let mut figures = vec![
        Figure::new("ready_after_ms", milliseconds(ready)),
        Figure::new("first_task_after_ms", milliseconds(first_task)),
        Figure::new(
            "first_task_memory_mib",
            process::peak_memory_mib(&[embedded.pid()])?,
        ),
    ];
    let (target, agent, count) = (&embedded.target, &agents[0], arguments.count);
    let polled = latency::measure(target, agent, count, Waiting::Polling).await?;
    figures.extend(polled.figures(["polled_p50_ms", "polled_p99_ms", "polled_max_ms"]));
    let held = latency::measure(target, agent, count, Waiting::Held).await?;
    figures.extend(held.figures(["held_p50_ms", "held_p99_ms", "held_max_ms"]));

    let plan = Plan {
        agents,
        tasks: arguments.tasks,
        clients: arguments.clients,
        payload_bytes: arguments.payload_bytes,
        deadline: Duration::from_secs(arguments.deadline_seconds),
        pids: vec![embedded.pid()],
        server_pids: Vec::new(),
    };
    let throughput = throughput::measure(&embedded.target, &plan)
        .await
        .with_context(|| format!("its log ends with:\n{}", embedded.log_end()))?;
    if !throughput.all_completed() {
        bail!("not every task was completed: {:?}", throughput.outcomes);
    }
    figures.extend(throughput.figures());
    Ok(figures)
}
