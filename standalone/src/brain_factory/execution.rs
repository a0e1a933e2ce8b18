//! One execution, from the call to its answer. It goes on when the caller hangs up.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::FutureExt;
use orchestrator_common::brain_factory::contract::{ExecuteRequest, TIMED_OUT_PREFIX};
use poem::http::StatusCode;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::agents::Agent;
use super::answer::{Answer, Verdict};
use super::blueprint::Persona;
use super::flights::{Entered, FlightKey, Pending, Seat};
use super::graph::NOTE;
use super::model::{Assignment, Usage};
use super::server::Factory;
use super::simulation::Simulation;

/// Seconds that a task has when it names none.
const DEFAULT_TIMEOUT: u32 = 300;

/// An execute call, understood.
pub(super) struct Call {
    pub(super) agent: Arc<Agent>,
    pub(super) request: ExecuteRequest,
    /// Bytes of the request's body: about what its input measures.
    pub(super) size: usize,
    /// `X-Attempt`, counted from 1.
    pub(super) attempt: u32,
}

/// Executes the call, or joins the execution that has the same key.
pub(super) async fn answer(factory: &Arc<Factory>, call: Call, key: Option<&str>) -> Answer {
    let counters = &factory.counters;
    let pending = match key {
        None => {
            let (seat, pending) = Seat::alone();
            start(factory, call, seat);
            pending
        }
        Some(key) => {
            let key = FlightKey {
                incarnation: call.agent.live.incarnation,
                task_id: call.request.task_id.as_str().into(),
                key: key.into(),
            };
            match factory.flights.enter(key) {
                Entered::Stored(answer) => {
                    counters.replayed.fetch_add(1, Ordering::Relaxed);
                    return answer;
                }
                Entered::Running(pending) => {
                    counters.joined.fetch_add(1, Ordering::Relaxed);
                    pending
                }
                Entered::First(seat, pending) => {
                    start(factory, call, seat);
                    pending
                }
            }
        }
    };
    wait(pending).await
}

async fn wait(pending: Pending) -> Answer {
    pending.await.unwrap_or_else(|_| {
        let detail = json!("The Brain Factory is stopping");
        Answer::detail(StatusCode::SERVICE_UNAVAILABLE, &detail)
    })
}

/// Spawns the execution: the caller may go, the execution stays until it ends or the server stops.
fn start(factory: &Arc<Factory>, call: Call, seat: Seat) {
    let own = Arc::clone(factory);
    let stopped = factory.stopped.clone();
    factory
        .running
        .spawn(stopped.run_until_cancelled_owned(async move {
            let task_id = call.request.task_id.clone();
            let answer = contained(&task_id, execute(&own, call)).await;
            seat.settle(answer);
        }));
}

/// The answer of `execution`, also when it panics.
pub(super) async fn contained(task_id: &str, execution: impl Future<Output = Answer>) -> Answer {
    let ended = AssertUnwindSafe(execution).catch_unwind().await;
    ended.unwrap_or_else(|_| {
        tracing::error!(task_id, "an execution panicked");
        let verdict = Verdict {
            result: Err("Reasoning failed: internal error of the agent".to_owned()),
            metadata: Map::new(),
        };
        Answer::executed(task_id, &verdict, Duration::ZERO)
    })
}

async fn execute(factory: &Factory, mut call: Call) -> Answer {
    let task_id = call.request.task_id.clone();
    let simulation = if factory.simulation {
        match Simulation::take(&mut call.request.input_data) {
            Ok(simulation) => simulation,
            Err(error) => return Answer::malformed(&format!("_simulate: {error}")),
        }
    } else {
        Simulation::default()
    };
    let blueprint = &call.agent.blueprint;
    let number = factory.counters.call(&task_id);
    if simulation.forget.includes(number) {
        factory.agents.remove(&blueprint.agent_id);
        return Answer::unknown_agent(&blueprint.agent_id);
    }
    if simulation.busy.includes(number) {
        return Answer::busy(&task_id);
    }
    let Some(_slot) = call.agent.live.begin(&task_id, blueprint.limit) else {
        return Answer::busy(&task_id);
    };
    let _executing = factory.counters.begin(&task_id);
    let started = Instant::now();
    let seconds = call.request.timeout_seconds.filter(|seconds| *seconds > 0);
    let seconds = seconds.unwrap_or(DEFAULT_TIMEOUT);
    let usage = Usage::default();
    let work = async {
        if simulation.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(simulation.delay_ms)).await;
        }
        match misbehave(&simulation, call.attempt) {
            Some(misbehaviour) => misbehaviour,
            None => Ok(think(factory, call, &usage).await),
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(seconds.into()), work).await;
    let timed_out = || Ok(Err(format!("{TIMED_OUT_PREFIX} after {seconds} seconds")));
    let result = match ended.unwrap_or_else(|_| timed_out()) {
        Ok(result) => result,
        Err(refusal) => return refusal,
    };
    let ending = if result.is_ok() {
        &factory.counters.completed
    } else {
        &factory.counters.failed
    };
    ending.fetch_add(1, Ordering::Relaxed);
    let mut metadata = factory.metadata(&usage);
    simulation.pretend_usage(&mut metadata);
    Answer::executed(&task_id, &Verdict { result, metadata }, started.elapsed())
}

/// The result of a task, or why it has none.
type Thought = Result<Box<RawValue>, String>;

/// What the simulation puts in the place of the agent's own work.
fn misbehave(simulation: &Simulation, attempt: u32) -> Option<Result<Thought, Answer>> {
    let refusal = |status: StatusCode| {
        let answer = Answer::detail(status, &json!("Simulated"));
        Some(Err(answer.retry_after(simulation.retry_after)))
    };
    if simulation.drop_connection {
        let answer = Answer::detail(StatusCode::OK, &json!("Simulated"));
        return Some(Err(answer.broken()));
    }
    if attempt <= simulation.fail_attempts {
        return refusal(StatusCode::SERVICE_UNAVAILABLE);
    }
    if let Some(status) = simulation.status {
        return refusal(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    }
    simulation.fail.clone().map(|message| Ok(Err(message)))
}

/// The agent's own work: with the model if there is one, else by its graph.
async fn think(factory: &Factory, call: Call, usage: &Usage) -> Thought {
    let blueprint = &call.agent.blueprint;
    let input = Arc::new(call.request.input_data);
    if let Some(model) = &factory.model {
        let assignment = Assignment {
            blueprint,
            description: &call.request.description,
            constraints: &call.request.constraints,
            input: &input,
            size: call.size,
        };
        let reasoned = model.reason(&assignment, usage).await;
        return reasoned.map_err(|error| format!("Reasoning failed: {error}"));
    }
    if blueprint.graph.is_empty() {
        return restate(&blueprint.persona, &call.request.description, &input);
    }
    let run = blueprint.graph.run(&input, call.size, true);
    run.map_err(|error| error.to_string())
}

/// The result of an agent that has neither a model nor a graph: it says so, and what it was given.
fn restate(persona: &Persona, description: &str, input: &Value) -> Thought {
    #[derive(serde::Serialize)]
    struct Restated<'a> {
        mode: &'static str,
        note: String,
        persona: Value,
        task: &'a str,
        input: &'a Value,
    }
    let restated = Restated {
        mode: "deterministic",
        note: format!("{NOTE} The agent has no components, so nothing was worked out."),
        persona: json!({"name": persona.name, "description": persona.description, "domain": persona.domain}),
        task: description,
        input,
    };
    serde_json::value::to_raw_value(&restated).map_err(|error| format!("Reasoning failed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_fails_its_own_task_and_nothing_else() {
        let answer = contained("t", async { panic!("broken") }).await;
        let answer = answer.into_response().into_body().into_string().await;
        let answer: Value = serde_json::from_str(&answer.unwrap()).unwrap();
        assert_eq!(answer["status"], "failed");
        assert_eq!(answer["task_id"], "t");
    }
}
