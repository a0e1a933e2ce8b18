//! How an agent does, as callers see it.

use orchestrator_common::domain::{AgentId, AgentRecord, Performance, Timestamp};
use orchestrator_common::ledger::{AgentPerformance, WindowPerformance};
use poem_openapi::Object;
use poem_openapi::types::Example;
use serde::Serialize;

use super::Wire;
use super::cluster::Counts;

/// How long something took, in seconds. The quantiles are read from a histogram and are off by a fifth at most.
#[derive(Debug, Default, Object, Serialize)]
pub(crate) struct Times {
    /// On average; null without any.
    #[oai(nullable)]
    mean: Option<f64>,
    /// Half took no longer.
    #[oai(nullable)]
    p50: Option<f64>,
    /// 95 of 100 took no longer.
    #[oai(nullable)]
    p95: Option<f64>,
}

/// How an agent did over a time.
#[derive(Debug, Object, Serialize)]
pub(crate) struct WindowView {
    /// The beginning of the time: of a minute for `1h`, of an hour for `24h` and `7d`, but not before the agent was
    /// registered.
    since: Wire<Timestamp>,
    /// Its length until now, in seconds.
    seconds: f64,
    /// Tasks that had their outcome after an attempt, by it: `completed`, `failed`, `timed_out`, `cancelled`.
    tasks: Wire<Counts>,
    /// Sessions that ended.
    sessions: u64,
    /// Sessions that failed after which the task was to be tried again.
    retried_sessions: u64,
    /// Completed tasks among those that completed, failed or timed out, 0 to 1; null without any.
    #[oai(nullable)]
    success_rate: Option<f64>,
    /// How long sessions took.
    response_time: Times,
    /// How long tasks waited for a slot of the agent before their first session.
    queue_wait: Times,
    /// Tasks that had their outcome, per minute.
    throughput_per_minute: f64,
    /// Tokens that sessions used, as far as the agent reported them.
    tokens_used: u64,
    /// What sessions cost in US dollars, as far as the agent reported it.
    cost_estimate: f64,
    /// Sessions that failed, by the code of the error.
    errors: Wire<Counts>,
}

impl WindowView {
    // Counts stay far below 2^53, where every whole number is still exact.
    #[allow(clippy::cast_precision_loss)]
    fn new(window: WindowPerformance, now: Timestamp) -> Self {
        let WindowPerformance { since, performance } = window;
        let seconds = now.since(since).as_secs_f64();
        let outcomes = performance.outcomes;
        let minutes = seconds / 60.0;
        let tasks = [
            ("completed", outcomes.completed),
            ("failed", outcomes.failed),
            ("timed_out", outcomes.timed_out),
            ("cancelled", outcomes.cancelled),
        ];
        Self {
            since: Wire(since),
            seconds,
            tasks: Wire(tasks.map(|(name, n)| (name.to_owned(), n)).into()),
            sessions: outcomes.sessions(),
            retried_sessions: outcomes.retried,
            success_rate: outcomes.success_rate(),
            response_time: response_times(&performance),
            queue_wait: queue_waits(&performance),
            throughput_per_minute: if minutes > 0.0 {
                outcomes.tasks() as f64 / minutes
            } else {
                0.0
            },
            tokens_used: performance.tokens,
            cost_estimate: performance.cost,
            errors: Wire(performance.errors),
        }
    }
}

fn response_times(performance: &Performance) -> Times {
    let quantile = |share| performance.response_time.quantile(share);
    times(
        performance.mean_response_time(),
        quantile(0.5),
        quantile(0.95),
    )
}

fn queue_waits(performance: &Performance) -> Times {
    let quantile = |share| performance.queue_wait.quantile(share);
    times(performance.mean_queue_wait(), quantile(0.5), quantile(0.95))
}

fn times(
    mean: Option<std::time::Duration>,
    p50: Option<std::time::Duration>,
    p95: Option<std::time::Duration>,
) -> Times {
    let seconds = |time: Option<std::time::Duration>| time.map(|time| time.as_secs_f64());
    Times {
        mean: seconds(mean),
        p50: seconds(p50),
        p95: seconds(p95),
    }
}

/// The times over which an agent is looked at.
#[derive(Debug, Object, Serialize)]
pub(crate) struct Windows {
    /// The last hour.
    #[oai(rename = "1h")]
    #[serde(rename = "1h")]
    hour: WindowView,
    /// The last 24 hours.
    #[oai(rename = "24h")]
    #[serde(rename = "24h")]
    day: WindowView,
    /// The last 7 days.
    #[oai(rename = "7d")]
    #[serde(rename = "7d")]
    week: WindowView,
    /// Since it was registered.
    all: WindowView,
}

/// How much an agent has to do now.
#[derive(Debug, Object, Serialize)]
pub(crate) struct LoadView {
    /// Sessions that run.
    active_sessions: u32,
    /// How many may run at once, across all workers.
    max_concurrent_sessions: u32,
    /// The first by the second.
    utilization: f64,
    /// Tasks that wait for a slot.
    queue_depth: u32,
}

/// How an agent does.
#[derive(Debug, Object, Serialize)]
#[oai(example)]
pub(crate) struct AgentMetrics {
    /// The agent.
    agent_id: String,
    /// When it was looked at.
    at: Wire<Timestamp>,
    /// How much it has to do now.
    load: LoadView,
    /// How it did.
    windows: Windows,
}

impl AgentMetrics {
    /// `default_limit` holds when the agent has no limit of its own.
    pub(crate) fn new(
        agent: &AgentRecord,
        default_limit: u32,
        performance: AgentPerformance,
        now: Timestamp,
    ) -> Self {
        let limit = agent.max_concurrent_sessions.unwrap_or(default_limit);
        Self::of(&agent.agent_id, load(agent, limit), performance, now)
    }

    fn of(
        agent_id: &AgentId,
        load: LoadView,
        performance: AgentPerformance,
        now: Timestamp,
    ) -> Self {
        let AgentPerformance {
            quarter: _,
            hour,
            day,
            week,
            all,
        } = performance;
        Self {
            agent_id: agent_id.to_string(),
            at: Wire(now),
            load,
            windows: Windows {
                hour: WindowView::new(hour, now),
                day: WindowView::new(day, now),
                week: WindowView::new(week, now),
                all: WindowView::new(all, now),
            },
        }
    }
}

fn load(agent: &AgentRecord, limit: u32) -> LoadView {
    LoadView {
        active_sessions: agent.running,
        max_concurrent_sessions: limit,
        utilization: f64::from(agent.running) / f64::from(limit.max(1)),
        queue_depth: agent.queued,
    }
}

impl Example for AgentMetrics {
    fn example() -> Self {
        let now = Timestamp::from_micros(1_772_366_400_000_000);
        let window = |seconds: i64| {
            let since = Timestamp::from_micros(now.as_micros() - seconds * 1_000_000);
            let mut performance = Performance::default();
            performance.outcomes.completed = 57;
            performance.outcomes.failed = 3;
            performance.busy_micros = 90_000_000;
            performance.response_time.add(39, 60);
            performance.waited_micros = 6_000_000;
            performance.queue_wait.add(26, 60);
            performance.tokens = 48_720;
            performance.cost = 0.2436;
            performance.errors = Counts::from([("agent_failed".to_owned(), 3)]);
            WindowView::new(WindowPerformance { since, performance }, now)
        };
        Self {
            agent_id: "underwriting_agent_01".into(),
            at: Wire(now),
            load: LoadView {
                active_sessions: 2,
                max_concurrent_sessions: 10,
                utilization: 0.2,
                queue_depth: 0,
            },
            windows: Windows {
                hour: window(3_600),
                day: window(86_400),
                week: window(604_800),
                all: window(2_592_000),
            },
        }
    }
}
