//! The engine against tasks that end in any way and order, told once or more.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::{AgentId, TaskId, Timestamp};

/// One run, its tasks, and what is known of them.
struct World {
    run_id: RunId,
    definition: Definition,
    input: Value,
    status: RunStatus,
    state: RunState,
    /// Every task that was ever made, with its step.
    made: BTreeMap<TaskId, Creation>,
    open: BTreeSet<TaskId>,
    cancelled: BTreeSet<TaskId>,
    output: Option<Value>,
    now: i64,
}

impl World {
    fn new(body: Value, input: Value) -> Self {
        let definition = Draft::read(body).checked(|_| true, |_| true).unwrap();
        Self {
            run_id: RunId::generate(),
            state: RunState::new(&definition),
            definition,
            input,
            status: RunStatus::Running,
            made: BTreeMap::new(),
            open: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            output: None,
            now: 0,
        }
    }

    /// The result of each task is its input.
    fn results(&self) -> Results {
        let mut results = Results::new();
        for (n, state) in self.state.steps.iter().enumerate() {
            let result = |child| {
                let is_completed = state.children.get(child) == Some(ChildStatus::Completed);
                let task = self.made.get(&state.task_id(self.run_id, n, child));
                task.filter(|_| is_completed)
                    .map_or(Value::Null, |task| task.task_data.clone())
            };
            let all: Vec<Value> = (0..state.children.len()).map(result).collect();
            let single = all.first().cloned().unwrap_or_default();
            let fans_out = self.definition.steps[n].fans_out();
            results.insert(n, if fans_out { Value::Array(all) } else { single });
        }
        results
    }

    fn advance(&mut self, ended: &[(TaskId, ChildOutcome)], room: usize) {
        let agents = BTreeMap::from([(
            "d".to_owned(),
            vec![AgentId::parse("x").unwrap(), AgentId::parse("y").unwrap()],
        )]);
        let mut results = Results::new();
        let decisions = loop {
            let (mut status, mut state) = (self.status, self.state.clone());
            let facts = Facts {
                run_id: self.run_id,
                definition: &self.definition,
                input: &self.input,
                results: &results,
                agents: &agents,
                ended,
                room,
                now: Timestamp::from_micros(self.now),
            };
            let decisions = advance(&mut status, &mut state, &facts);
            let needs = decisions.needs.clone();
            if needs.is_empty() {
                (self.status, self.state) = (status, state);
                break decisions;
            }
            assert!(
                needs.iter().all(|step| !results.contains_key(step)),
                "asked twice"
            );
            self.state = std::mem::replace(&mut state, self.state.clone());
            let all = self.results();
            self.state = state;
            results.extend(needs.into_iter().map(|step| (step, all[&step].clone())));
        };
        for creation in decisions.create {
            let task_id = creation.task_id;
            assert!(
                self.made.insert(task_id, creation).is_none(),
                "a task was made twice"
            );
            self.open.insert(task_id);
        }
        self.cancelled.extend(decisions.cancel);
        self.output = decisions.output.or(self.output.take());
        if !self.status.has_ended() {
            // Something will wake it, or it would stand still for ever.
            assert!(
                !self.open.is_empty() || decisions.wake_at.is_some() || self.waits_for_somebody(),
                "nothing would ever happen to it: {:?}",
                self.state
            );
        }
    }

    fn waits_for_somebody(&self) -> bool {
        self.state
            .steps
            .iter()
            .any(|step| step.status == StepStatus::Waiting)
    }

    fn end(&mut self, step: &str, child: usize, completed: bool) {
        let place = self.definition.place(step).unwrap();
        let task_id = self.state.steps[place].task_id(self.run_id, place, child);
        assert!(
            self.open.remove(&task_id),
            "{step} {child} does not run: {:?}",
            self.state
        );
        self.advance(&[(task_id, outcome(completed))], 100);
    }

    fn statuses(&self) -> Vec<&'static str> {
        self.state
            .steps
            .iter()
            .map(|step| step.status.as_str())
            .collect()
    }

    fn data(&self, step: &str, child: usize) -> Value {
        let place = self.definition.place(step).unwrap();
        let task_id = self.state.steps[place].task_id(self.run_id, place, child);
        self.made[&task_id].task_data.clone()
    }
}

fn outcome(completed: bool) -> ChildOutcome {
    if completed {
        ChildOutcome::Completed
    } else {
        ChildOutcome::Failed(StepError {
            code: "agent_failed".into(),
            message: "no".into(),
        })
    }
}

fn task(id: &str, more: Value) -> Value {
    let mut step = json!({"id": id, "agent_id": "a", "task_type": "t"});
    for (field, value) in more.as_object().into_iter().flatten() {
        step[field] = value.clone();
    }
    step
}

fn started(steps: Value, input: Value) -> World {
    let mut world = World::new(json!({"steps": steps}), input);
    world.advance(&[], 100);
    world
}

#[test]
fn results_flow_along_the_graph_into_the_output() {
    let steps = json!([
        task("a", json!({"task_data": {"n": {"$ref": "/input/n"}}})),
        task(
            "b",
            json!({"depends_on": ["a"], "task_data": {"m": {"$ref": "/steps/a/result/n"}, "none": {"$ref": "/input/x", "default": 0}}})
        ),
    ]);
    let output = json!({"b": {"$ref": "/steps/b/result"}, "status": {"$ref": "/steps/a/status"}, "x": {"$ref": "/input/x"}});
    let mut world = World::new(json!({"steps": steps, "output": output}), json!({"n": 7}));
    world.advance(&[], 100);
    assert_eq!(world.statuses(), ["running", "pending"]);
    world.end("a", 0, true);
    assert_eq!(world.data("b", 0), json!({"m": 7, "none": 0}));
    world.end("b", 0, true);
    assert_eq!(world.status, RunStatus::Completed);
    assert_eq!(
        world.output,
        Some(json!({"b": {"m": 7, "none": 0}, "status": "completed", "x": null}))
    );
}

#[test]
fn a_step_that_is_not_wanted_is_skipped_and_so_is_what_only_follows_it() {
    let steps = json!([
        task(
            "a",
            json!({"when": {"path": "/input/n", "op": "gt", "value": 10}})
        ),
        task("b", json!({"depends_on": ["a"]})),
        task("c", json!({})),
        task("d", json!({"depends_on": ["b", "c"]})),
    ]);
    let mut world = started(steps, json!({"n": 1}));
    assert_eq!(
        world.statuses(),
        ["skipped", "skipped", "running", "pending"]
    );
    world.end("c", 0, true);
    world.end("d", 0, true);
    assert_eq!(world.status, RunStatus::Completed);
}

#[test]
fn a_quorum_starts_the_next_step_and_survives_a_failure() {
    let steps = json!([
        task("a", json!({"on_failure": "continue"})),
        task("b", json!({"on_failure": "continue"})),
        task("c", json!({"on_failure": "continue"})),
        task(
            "d",
            json!({"depends_on": ["a", "b", "c"], "join": {"quorum": 2}})
        ),
    ]);
    let mut world = started(steps.clone(), json!({}));
    world.end("a", 0, false);
    world.end("b", 0, true);
    assert_eq!(world.statuses()[3], "pending");
    world.end("c", 0, true);
    assert_eq!(world.statuses()[3], "running");
    world.end("d", 0, true);
    assert_eq!(world.status, RunStatus::Completed);

    let mut world = started(steps, json!({}));
    world.end("a", 0, false);
    world.end("b", 0, false);
    assert_eq!(world.status, RunStatus::Failing);
    world.end("c", 0, true);
    assert_eq!(world.status, RunStatus::Failed);
    assert_eq!(
        world.state.steps[3].error.as_ref().unwrap().code,
        "join_missed"
    );
}

#[test]
fn a_fan_out_keeps_its_concurrency_and_cancels_what_nobody_needs() {
    let steps = json!([task(
        "f",
        json!({
            "task_data": {"it": {"$ref": "/item"}, "at": {"$ref": "/index"}},
            "for_each": {"items": "/input/l", "max_concurrent": 2, "join": {"quorum": 2}},
        })
    )]);
    let mut world = started(steps, json!({"l": ["x", "y", "z", "w"]}));
    assert_eq!(world.open.len(), 2);
    world.end("f", 0, false);
    assert_eq!(world.open.len(), 2);
    assert_eq!(world.data("f", 2), json!({"it": "z", "at": 2}));
    world.end("f", 1, true);
    world.end("f", 3, true);
    assert_eq!(world.statuses(), ["completed"]);
    // The third still runs: the run ends with it.
    assert_eq!(
        (world.cancelled.len(), world.status),
        (1, RunStatus::Running)
    );
    world.end("f", 2, false);
    assert_eq!(world.status, RunStatus::Completed);
}

#[test]
fn a_fan_out_over_what_is_no_list_fails_and_one_over_nothing_completes() {
    let steps = |list: &str| json!([task("f", json!({"for_each": {"items": list}}))]);
    let world = started(steps("/input/none"), json!({}));
    assert_eq!(world.status, RunStatus::Failed);
    assert_eq!(
        world.state.steps[0].error.as_ref().unwrap().code,
        "not_a_list"
    );
    let world = started(steps("/input/l"), json!({"l": []}));
    assert_eq!(world.status, RunStatus::Completed);
    let many: Vec<u32> = (0..=10_000).collect();
    let world = started(steps("/input/l"), json!({"l": many}));
    assert_eq!(
        world.state.steps[0].error.as_ref().unwrap().code,
        "fan_out_too_large"
    );
}

#[test]
fn a_reference_that_leads_nowhere_fails_its_step() {
    let steps = json!([task("a", json!({"task_data": {"x": {"$ref": "/input/x"}}}))]);
    let world = started(steps, json!({}));
    assert_eq!(world.status, RunStatus::Failed);
    assert_eq!(
        world.state.steps[0].error.as_ref().unwrap().code,
        "unresolved_reference"
    );
    assert!(world.made.is_empty());
}

#[test]
fn an_approval_is_taken_once_and_only_for_what_was_read() {
    let steps = json!([
        {"id": "ask", "type": "approval", "message": "Really?", "data": {"n": {"$ref": "/input/n"}}, "timeout_seconds": 60},
        task("b", json!({"depends_on": ["ask"], "task_data": {"why": {"$ref": "/steps/ask/result/comment"}}})),
    ]);
    let mut world = started(steps, json!({"n": 7}));
    assert_eq!(world.statuses(), ["waiting", "pending"]);
    let asked = world.state.steps[0].approval.clone().unwrap();
    assert_eq!(asked.data, json!({"n": 7}));
    let decision = |hash: &str| Decision {
        verdict: Verdict::Approve,
        hash: hash.to_owned(),
        comment: Some("fine".into()),
    };
    let decide = |world: &mut World, decision: &Decision| {
        decide(
            world.status,
            &mut world.state,
            &world.definition,
            "ask",
            decision,
            "alice",
            Timestamp::from_micros(1),
        )
    };
    assert_eq!(
        decide(&mut world, &decision("stale")),
        Err(NotDecided::Stale)
    );
    assert_eq!(decide(&mut world, &decision(&asked.hash)), Ok(()));
    let again = decide(&mut world, &decision(&asked.hash));
    assert_eq!(again, Err(NotDecided::NotWaiting(StepStatus::Completed)));
    world.advance(&[], 100);
    assert_eq!(world.data("b", 0), json!({"why": "fine"}));
}

#[test]
fn an_approval_that_nobody_gives_expires() {
    let steps = json!([{"id": "ask", "type": "approval", "timeout_seconds": 60}]);
    let mut world = started(steps, json!({}));
    world.now = 60_000_000;
    world.advance(&[], 100);
    assert_eq!(world.status, RunStatus::Failed);
    assert_eq!(
        world.state.steps[0].error.as_ref().unwrap().code,
        "approval_expired"
    );
}

#[test]
fn a_resumed_run_keeps_what_completed() {
    let steps = json!([
        task("f", json!({"for_each": {"items": "/input/l"}})),
        task("g", json!({"depends_on": ["f"]})),
    ]);
    let mut world = started(steps, json!({"l": [1, 2, 3]}));
    world.end("f", 0, true);
    world.end("f", 1, false);
    world.end("f", 2, true);
    assert_eq!(world.status, RunStatus::Failed);
    assert!(resume(
        &mut world.status,
        &mut world.state,
        &world.definition
    ));
    world.advance(&[], 100);
    assert_eq!(world.open.len(), 1);
    world.end("f", 1, true);
    world.end("g", 0, true);
    assert_eq!(world.status, RunStatus::Completed);
    assert_eq!(world.made.len(), 5);
    assert!(!resume(
        &mut world.status,
        &mut world.state,
        &world.definition
    ));
}

#[test]
fn a_cancelled_run_ends_with_its_last_task() {
    let steps = json!([
        task("a", json!({})),
        task("b", json!({"depends_on": ["a"]}))
    ]);
    let mut world = started(steps, json!({}));
    assert!(cancel(&mut world.status));
    world.advance(&[], 100);
    assert_eq!(
        (world.status, world.cancelled.len()),
        (RunStatus::Cancelling, 1)
    );
    // Its result came before anybody could stop it: it is kept, and nothing follows.
    world.end("a", 0, true);
    assert_eq!((world.status, world.made.len()), (RunStatus::Cancelled, 1));
    assert!(!cancel(&mut world.status));
}

#[test]
fn a_large_fan_out_is_made_in_parts_when_there_is_little_room() {
    let list: Vec<u32> = (0..1_000).collect();
    let body = json!({"steps": [task("f", json!({"agent_id": null, "domain": "d", "for_each": {"items": "/input"}}))]});
    let mut world = World::new(body, json!(list));
    for made in [300, 600, 900, 1_000, 1_000] {
        world.advance(&[], 300);
        assert_eq!(world.made.len(), made);
    }
    let of_x = world
        .made
        .values()
        .filter(|task| task.agent_id.as_str() == "x")
        .count();
    assert_eq!(of_x, 500);
}

/// A graph of up to eight steps, each after some of those before it.
fn graphs() -> impl Strategy<Value = Value> {
    let one = (any::<u8>(), 0u8..3, any::<bool>(), 0u8..6, 0u32..4);
    proptest::collection::vec(one, 1..9).prop_map(|steps| {
        let made = steps.into_iter().enumerate().map(|(n, (before, join, goes_on, kind, quorum))| {
            let depends_on: Vec<String> = (0..n).filter(|m| before >> m & 1 == 1).map(|m| format!("s{m}")).collect();
            let count = u32::try_from(depends_on.len()).unwrap();
            let join = match join {
                0 => json!("all"),
                1 => json!("any"),
                _ if count == 0 => json!("all"),
                _ => json!({"quorum": quorum.clamp(1, count)}),
            };
            let mut step = json!({
                "id": format!("s{n}"), "depends_on": depends_on, "join": join,
                "on_failure": if goes_on { "continue" } else { "fail" },
            });
            let more = match kind {
                0 => json!({"type": "approval", "timeout_seconds": 5}),
                1 => json!({"agent_id": "a", "task_type": "t", "for_each": {"items": "/input/l", "max_concurrent": 2, "join": {"quorum": quorum.max(1)}}}),
                2 => json!({"agent_id": "a", "task_type": "t", "for_each": {"items": "/input/l"}}),
                3 => json!({"agent_id": "a", "task_type": "t", "when": {"path": "/input/n", "op": "eq", "value": 1}}),
                _ => json!({"agent_id": "a", "task_type": "t"}),
            };
            for (field, value) in more.as_object().into_iter().flatten() {
                step[field] = value.clone();
            }
            step
        });
        json!({"steps": made.collect::<Vec<_>>()})
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_a_run_ends_in_one_legal_state(
        body in graphs(),
        choices in proptest::collection::vec((any::<u8>(), any::<u8>()), 200),
        cancelled_at in proptest::option::of(0usize..20),
        resumptions in 0u32..3,
    ) {
        let mut world = World::new(body, json!({"l": [1, 2, 3, 4], "n": 0}));
        world.advance(&[], 3);
        let mut told = Vec::new();
        let mut left = resumptions;
        for (turn, (which, how)) in choices.into_iter().enumerate() {
            if world.status.has_ended() && world.status == RunStatus::Failed && left > 0 {
                left -= 1;
                prop_assert!(resume(&mut world.status, &mut world.state, &world.definition));
                world.advance(&[], 3);
                continue;
            }
            if world.status.has_ended() {
                break;
            }
            if cancelled_at == Some(turn) {
                prop_assert!(cancel(&mut world.status) || world.status == RunStatus::Cancelling);
            }
            world.now += 1_000_000;
            let mut ended = Vec::new();
            if let Some(task_id) = world.open.iter().nth(usize::from(which) % world.open.len().max(1)).copied() {
                world.open.remove(&task_id);
                let fails = world.cancelled.contains(&task_id) && how % 2 == 0 || how % 5 == 0;
                ended.push((task_id, outcome(!fails)));
            }
            // Told again, whatever has become of it since.
            if how % 3 == 0 && let Some(again) = told.get(usize::from(which) % told.len().max(1)) {
                ended.push(Clone::clone(again));
            }
            told.extend(ended.iter().cloned());
            let before = world.state.steps.clone();
            world.advance(&ended, 3);
            for (before, after) in before.iter().zip(&world.state.steps) {
                let undone = before.status.has_ended() && before.status != after.status;
                prop_assert!(!undone, "a step that has ended changed: {before:?} {after:?}");
            }
        }
        prop_assert!(world.status.has_ended(), "{:?}", world.state);
        prop_assert!(world.open.is_empty(), "tasks are left over");
        let failed = world.definition.steps.iter().zip(&world.state.steps).any(|(step, stands)| {
            stands.status == StepStatus::Failed && step.on_failure == OnFailure::Fail
        });
        let all_over = world.state.steps.iter().all(|step| step.status.has_ended());
        match world.status {
            RunStatus::Completed => prop_assert!(all_over && !failed),
            RunStatus::Failed => prop_assert!(failed),
            RunStatus::Cancelled => prop_assert!(cancelled_at.is_some() && all_over),
            other => prop_assert!(false, "{other}"),
        }
    }
}
