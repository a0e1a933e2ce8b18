//! Starts the built `agent-orchestrator` on nothing but an empty folder and measures it, several times over.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;
use orchestrator_benches::distribution::milliseconds;
use orchestrator_benches::embedded::Embedded;
use orchestrator_benches::latency::{self, Waiting};
use orchestrator_benches::orchestrator;
use orchestrator_benches::process;
use orchestrator_benches::program::built;
use orchestrator_benches::report::Figure;
use orchestrator_benches::runs::Runs;
use orchestrator_benches::throughput;
use orchestrator_benches::workload::{Workload, ready_agents};

/// Measures the embedded default: start-up, throughput, latency, processor time and memory.
#[derive(Parser)]
struct Arguments {
    /// The program; by default the `agent-orchestrator` that was built beside this one.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Tasks to submit one at a time.
    #[arg(long, default_value_t = 500)]
    count: usize,
    #[command(flatten)]
    workload: Workload,
    #[command(flatten)]
    runs: Runs,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let program = match &arguments.program {
        Some(program) => std::path::absolute(program)?,
        None => built("agent-orchestrator")?,
    };
    let (runs, tasks) = (&arguments.runs, arguments.workload.tasks);
    runs.print(tasks, async || measure(&arguments, &program).await)
        .await
}

/// One run on a new process: the first task, then one task at a time, then many at once.
async fn measure(arguments: &Arguments, program: &Path) -> Result<Vec<Figure>> {
    let work = &arguments.workload;
    let mut embedded = Embedded::start(program, &arguments.runs.variables)?;
    let mut connection = embedded.ready().await?;
    let ready = embedded.started().elapsed();

    // Never started by a call of ours: the first task starts its agent.
    orchestrator::register(&mut connection, "first", work.sessions).await?;
    latency::one(&mut connection, "first", Waiting::Polling).await?;
    let first_task = embedded.started().elapsed();

    let agents = ready_agents(&mut connection, "bench", work.agents, work.sessions).await?;
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

    let plan = work.plan(agents, work.tasks, vec![embedded.pid()], Vec::new());
    let throughput = throughput::measure(&embedded.target, &plan)
        .await
        .with_context(|| format!("its log ends with:\n{}", embedded.log_end()))?;
    if !throughput.all_completed() {
        bail!("not every task was completed: {:?}", throughput.outcomes);
    }
    figures.extend(throughput.figures());
    Ok(figures)
}
