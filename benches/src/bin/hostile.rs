//! Attacks an API and a worker of its own with hostile requests and messages, and says what came of it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use futures::future::join_all;
use orchestrator_benches::brain::Brain;
use orchestrator_benches::connection::{Connection, Target};
use orchestrator_benches::deployment::{Deployment, Servers};
use orchestrator_benches::hostile::messages::Publisher;
use orchestrator_benches::hostile::requests::{AGENT, attack};
use orchestrator_benches::hostile::tokens::Tokens;
use orchestrator_benches::hostile::watch::{Seen, Watch, memory_mib};
use orchestrator_benches::hostile::wire::{Caller, dribble};
use orchestrator_benches::orchestrator;
use orchestrator_benches::program::variables;

/// How long slow callers are watched: longer than a head may take.
const SLOW_PATIENCE: Duration = Duration::from_secs(90);
/// How long what was published may take to be dealt with.
const DRAINED_WITHIN: Duration = Duration::from_secs(900);
/// How long the processes rest before their memory is read for the last time.
const REST: Duration = Duration::from_secs(10);

/// Attacks an orchestrator that it starts, on the servers that TEST_DATABASE_URL, TEST_RABBITMQ_URL and TEST_REDIS_URL name.
#[derive(Parser)]
struct Arguments {
    /// Hostile requests.
    #[arg(long, default_value_t = 900_000)]
    requests: u64,
    /// Hostile messages.
    #[arg(long, default_value_t = 100_000)]
    messages: u64,
    /// Callers at a time.
    #[arg(long, default_value_t = 64)]
    callers: u8,
    /// Callers beside them who send a byte a second.
    #[arg(long, default_value_t = 200)]
    slow: u8,
}

/// How often which kind of attack was answered how, and what should not have been.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<(&'static str, String), u64>,
    wrong: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let servers = Servers::of_environment()?;
    let brain = Brain::start(Duration::ZERO)?;
    let tokens = Arc::new(Tokens::new()?);
    let settings = variables([
        ("REQUIRE_AUTH", "true".to_owned()),
        ("JWT_SECRET", tokens.secret.clone()),
        ("LOG_LEVEL", "error".to_owned()),
    ]);
    let (mut deployment, _) = Deployment::start(&servers, &brain, &settings).await?;
    deployment.target.token = Some(tokens.good.clone());
    let complaints = run(&arguments, &deployment, &tokens).await;
    let logs = deployment.logs();
    deployment.end().await?;
    let complaints = complaints.with_context(|| logs.clone())?;
    let mut out = std::io::stdout().lock();
    for complaint in &complaints {
        writeln!(out, "WRONG: {complaint}")?;
    }
    if complaints.is_empty() {
        writeln!(out, "everything was refused, and nothing else suffered")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{logs}")?;
    Ok(ExitCode::FAILURE)
}

async fn run(
    arguments: &Arguments,
    deployment: &Deployment,
    tokens: &Arc<Tokens>,
) -> Result<Vec<String>> {
    let target = &deployment.target;
    let mut connection = Connection::open(target).await?;
    orchestrator::register(&mut connection, AGENT, 100).await?;
    orchestrator::start(&mut connection, AGENT).await?;
    let watch = Watch::start(target.clone(), deployment.pids());
    let publisher = Publisher::connect(deployment.broker(), &deployment.prefix()).await?;

    let begun = Instant::now();
    let slow = join_all((0..arguments.slow).map(|n| dribble(target.address, n, SLOW_PATIENCE)));
    let slow = tokio::spawn(slow);
    let publishing = publisher.send(arguments.messages, tokens);
    let (tally, brought) = tokio::join!(requests(arguments, target, tokens), publishing);
    let (tally, brought) = (tally?, brought?);
    let took = begun.elapsed();
    let drained = drained(&publisher).await?;
    let all = begun.elapsed();
    let slow = slow.await?;
    let seen = watch.end().await?;
    tokio::time::sleep(REST).await;
    let after: Vec<f64> = deployment
        .pids()
        .iter()
        .map(|pid| memory_mib(*pid))
        .collect::<Result<_>>()?;

    report(&tally, &seen, &after)?;
    let mut out = std::io::stdout().lock();
    let (requests, messages) = (arguments.requests, arguments.messages);
    writeln!(
        out,
        "{requests} requests and {messages} messages sent in {took:.0?}, all dealt with after {all:.0?}"
    )?;
    drop(out);
    let mut complaints = tally.wrong;
    complaints.extend(
        seen.failed
            .iter()
            .map(|why| format!("a good request: {why}")),
    );
    if !drained {
        complaints.push("messages still wait".to_owned());
    }
    for slow in slow {
        if slow?.is_none() {
            complaints.push(format!(
                "a slow caller was still there after {SLOW_PATIENCE:?}"
            ));
        }
    }
    let expected = [
        ("tasks", seen.accepted + brought),
        ("agents", 1),
        ("callbacks", 0),
    ];
    for (table, expected) in expected {
        let found = deployment.count(table).await?;
        if found != expected {
            complaints.push(format!("{found} rows in {table} instead of {expected}"));
        }
    }
    let letters = deployment.count("dead_letters").await?;
    writeln!(
        std::io::stdout().lock(),
        "{letters} dead letters, {} tasks, as many as were good",
        seen.accepted + brought
    )?;
    // The first one has been idle for longer than is allowed.
    let mut connection = Connection::open(target).await?;
    if !orchestrator::is_ready(&mut connection).await? {
        complaints.push("it is not ready any more".to_owned());
    }
    publisher.close().await?;
    Ok(complaints)
}

/// Sends the hostile requests from all callers.
async fn requests(arguments: &Arguments, target: &Target, tokens: &Arc<Tokens>) -> Result<Tally> {
    let next = Arc::new(AtomicU64::new(0));
    let callers = (0..arguments.callers).map(|number| {
        let (next, tokens) = (Arc::clone(&next), Arc::clone(tokens));
        let (address, last) = (target.address, arguments.requests);
        tokio::spawn(async move {
            let mut caller = Caller::new(address, number);
            let mut tally = Tally::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= last {
                    return Ok::<_, std::io::Error>(tally);
                }
                let attack = attack(number, &tokens);
                let fate = if attack.alone {
                    caller.send_alone(&attack.bytes).await?
                } else {
                    caller.send(&attack.bytes).await?
                };
                if !fate.is_refusal() && tally.wrong.len() < 20 {
                    let bytes = String::from_utf8_lossy(&attack.bytes);
                    let bytes: String = bytes.chars().take(400).collect();
                    tally
                        .wrong
                        .push(format!("{} of {}: {bytes:?}", fate.name(), attack.kind));
                }
                *tally.counts.entry((attack.kind, fate.name())).or_default() += 1;
            }
        })
    });
    let mut all = Tally::default();
    for caller in join_all(callers).await {
        let tally = caller??;
        for (key, count) in tally.counts {
            *all.counts.entry(key).or_default() += count;
        }
        all.wrong.extend(tally.wrong);
    }
    Ok(all)
}

/// Waits until nothing waits at the broker any more; `false` when something still does.
async fn drained(publisher: &Publisher) -> Result<bool> {
    let begun = Instant::now();
    while publisher.waiting().await? > 0 {
        if begun.elapsed() > DRAINED_WITHIN {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // What was taken from the queues a moment ago is written now.
    tokio::time::sleep(Duration::from_secs(3)).await;
    Ok(true)
}

fn report(tally: &Tally, seen: &Seen, after: &[f64]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "kind          answer       number")?;
    for ((kind, fate), count) in &tally.counts {
        writeln!(out, "{kind:<13} {fate:<12} {count:>7}")?;
    }
    writeln!(out, "memory in MiB: worker, API")?;
    let every = (seen.memory.len() / 12).max(1);
    for (at, memory) in seen.memory.iter().step_by(every) {
        let memory: Vec<String> = memory.iter().map(|mib| format!("{mib:.0}")).collect();
        writeln!(out, "{:>5} s  {}", at.as_secs(), memory.join("  "))?;
    }
    let after: Vec<String> = after.iter().map(|mib| format!("{mib:.0}")).collect();
    writeln!(out, "after    {}", after.join("  "))?;
    let mut took = seen.took.clone();
    took.sort_by(f64::total_cmp);
    let at = |share: usize| {
        took.get(took.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    writeln!(
        out,
        "good tasks: {} accepted, {} not; median {:.1} ms, 99 of 100 within {:.0} ms",
        seen.accepted,
        seen.failed.len(),
        at(50),
        at(99)
    )?;
    Ok(())
}
