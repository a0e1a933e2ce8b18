//! From what a caller sent to a valid definition: every fault is found, with its place, before anything runs.

use serde_json::{Map, Value};

use super::condition::Condition;
use super::definition::{ApprovalWork, Definition, ForEach, Join, Step, Target, TaskWork, Work};
use super::graph::{Ancestors, ancestors};
use super::reference::{Names, Reference};
use super::step_fields::{StepFields, TaskFields, WorkFields};
use super::template::Template;
use crate::domain::{AgentId, Faults, Fields, MAX_NESTING, SubmissionDefaults, nesting_of};

/// A definition that was read, with all that is wrong with it but agents that nobody knows.
#[derive(Debug)]
pub struct Draft {
    definition: Definition,
    faults: Faults,
    targets: Vec<(String, Target)>,
}

impl Draft {
    /// Reads `steps`, `description` and `output` out of a JSON object.
    #[must_use]
    pub fn read(body: Value) -> Self {
        let mut faults = Faults::default();
        let mut draft = Self {
            definition: Definition {
                description: None,
                steps: Vec::new(),
                output: None,
            },
            faults: Faults::default(),
            targets: Vec::new(),
        };
        if let Some(fault) = too_much(&body) {
            draft.faults = Faults::one("", fault);
            return draft;
        }
        match Fields::of(body) {
            Ok(mut fields) => {
                draft.take(&mut fields, &mut faults);
                note_flat(&mut faults, fields.finish());
            }
            Err(inner) => faults = inner,
        }
        draft.faults = faults;
        draft
    }

    /// The agents that are named.
    pub fn agents(&self) -> impl Iterator<Item = &AgentId> {
        self.targets.iter().filter_map(|(_, target)| match target {
            Target::Agent(agent_id) => Some(agent_id),
            Target::Domain(_) => None,
        })
    }

    /// The domains that are named.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter_map(|(_, target)| match target {
            Target::Domain(domain) => Some(domain.as_str()),
            Target::Agent(_) => None,
        })
    }

    /// The definition, now that it is known which agents there are.
    ///
    /// # Errors
    /// Every fault, each with its place, such as `steps[2].depends_on[0]`.
    pub fn checked(
        mut self,
        has_agent: impl Fn(&AgentId) -> bool,
        has_domain: impl Fn(&str) -> bool,
    ) -> Result<Definition, Faults> {
        for (place, target) in &self.targets {
            match target {
                Target::Agent(agent_id) if !has_agent(agent_id) => {
                    let message = format!("agent {agent_id} is not registered");
                    self.faults.add(&format!("{place}.agent_id"), message);
                }
                Target::Domain(domain) if !has_domain(domain) => {
                    let message = format!("no agent of the domain {domain:?} is registered");
                    self.faults.add(&format!("{place}.domain"), message);
                }
                Target::Agent(_) | Target::Domain(_) => {}
            }
        }
        self.faults.none_or(self.definition)
    }

    fn take(&mut self, fields: &mut Fields, faults: &mut Faults) {
        self.definition.description = fields.take_text("description", 1, 1_000);
        let steps = match fields.take("steps") {
            Some(Value::Array(steps)) if (1..=Definition::MAX_STEPS).contains(&steps.len()) => {
                steps
            }
            Some(_) | None => {
                let most = Definition::MAX_STEPS;
                faults.add("steps", format!("must be a list of 1 to {most} steps"));
                Vec::new()
            }
        };
        let output = fields.take("output");
        let read: Vec<StepFields> = steps
            .into_iter()
            .enumerate()
            .map(|(n, step)| StepFields::read(step, &place_of(n), faults))
            .collect();
        let ids: Vec<Option<String>> = read.iter().map(|step| step.id.clone()).collect();
        let names = names_of(&ids, faults);
        let before = dependencies(&read, &names, faults);
        let ancestors = match ancestors(&before) {
            Ok(ancestors) => Some(ancestors),
            Err(cycle) => {
                for step in cycle {
                    let place = format!("{}.depends_on", place_of(step));
                    faults.add(
                        &place,
                        "the step comes before itself: the dependencies go round",
                    );
                }
                None
            }
        };
        for (n, (step, depends_on)) in read.into_iter().zip(before).enumerate() {
            let place = place_of(n);
            if let Some(step) = self.step(step, depends_on, &place, &names, faults) {
                check_references(&step, n, ancestors.as_ref(), &place, &ids, faults);
                self.definition.steps.push(step);
            }
        }
        self.definition.output = output.map(|output| {
            let template = Template::read(output, &names, "output", faults);
            template.visit(&mut |reference| {
                if reference.is_of_child() {
                    faults.add(
                        "output",
                        format!("{} has a meaning only within for_each", reference.as_str()),
                    );
                }
            });
            template
        });
    }

    fn step(
        &mut self,
        step: StepFields,
        depends_on: Vec<usize>,
        place: &str,
        names: &Names<'_>,
        faults: &mut Faults,
    ) -> Option<Step> {
        check_quorum(
            step.join,
            depends_on.len(),
            &format!("{place}.join"),
            faults,
        );
        let when = step
            .when
            .map(|condition| Condition::read(condition, names, &format!("{place}.when"), faults));
        let work = match step.work? {
            WorkFields::Task(task) => self
                .task(task, step.timeout_seconds, place, names, faults)
                .map(|task| Work::Task(Box::new(task))),
            WorkFields::Approval { message, data } => Some(Work::Approval(ApprovalWork {
                message,
                data: data
                    .map(|data| Template::read(data, names, &format!("{place}.data"), faults)),
                timeout_seconds: step.timeout_seconds,
            })),
        };
        Some(Step {
            id: step.id?,
            depends_on,
            join: step.join,
            when: match when {
                Some(condition) => Some(condition?),
                None => None,
            },
            on_failure: step.on_failure,
            work: work?,
        })
    }

    fn task(
        &mut self,
        task: TaskFields,
        timeout_seconds: Option<u32>,
        place: &str,
        names: &Names<'_>,
        faults: &mut Faults,
    ) -> Option<TaskWork> {
        if let Some(target) = &task.target {
            self.targets.push((place.to_owned(), target.clone()));
        }
        let data = Value::Object(task.task_data);
        let task_data = Template::read(data, names, &format!("{place}.task_data"), faults);
        let for_each = task.for_each.map(|for_each| {
            let place = format!("{place}.for_each.items");
            let items = for_each.items.and_then(|items| {
                let items = Reference::parse(&items, names);
                items.map_err(|why| faults.add(&place, why)).ok()
            })?;
            Some(ForEach {
                items,
                max_concurrent: for_each.max_concurrent,
                join: for_each.join,
            })
        });
        Some(TaskWork {
            target: task.target?,
            task_type: task.task_type?,
            task_data,
            for_each: match for_each {
                Some(for_each) => Some(for_each?),
                None => None,
            },
            max_attempts: task.max_attempts,
            timeout_seconds: timeout_seconds
                .unwrap_or(SubmissionDefaults::default().timeout_seconds),
            priority: task.priority,
        })
    }
}

fn place_of(step: usize) -> String {
    format!("steps[{step}]")
}

/// Faults of the body itself, whose fields have no place before their names.
fn note_flat(faults: &mut Faults, read: Result<(), Faults>) {
    faults
        .0
        .extend(read.err().into_iter().flat_map(|inner| inner.0));
}

/// Why a body is not even looked at.
fn too_much(body: &Value) -> Option<String> {
    if nesting_of(body) > MAX_NESTING {
        return Some(format!("must not nest deeper than {MAX_NESTING} levels"));
    }
    let bytes = serde_json::to_string(body).map_or(usize::MAX, |text| text.len());
    let most = Definition::MAX_BYTES;
    (bytes > most).then(|| format!("must not be larger than {most} bytes"))
}

fn names_of<'a>(ids: &'a [Option<String>], faults: &mut Faults) -> Names<'a> {
    let mut names = Names::new();
    for (n, id) in ids.iter().enumerate() {
        let Some(id) = id else { continue };
        if let Some(first) = names.get(id.as_str()) {
            let message = format!("is the name of steps[{first}] already");
            faults.add(&format!("{}.id", place_of(n)), message);
        } else {
            names.insert(id, n);
        }
    }
    names
}

fn dependencies(steps: &[StepFields], names: &Names<'_>, faults: &mut Faults) -> Vec<Vec<usize>> {
    let of_step = |(n, step): (usize, &StepFields)| {
        let mut before = Vec::with_capacity(step.depends_on.len());
        for (m, name) in step.depends_on.iter().enumerate() {
            let place = format!("{}.depends_on[{m}]", place_of(n));
            match name.as_str().map(|name| names.get(name)) {
                Some(Some(parent)) if before.contains(parent) => {
                    faults.add(&place, "is named twice")
                }
                Some(Some(parent)) => before.push(*parent),
                Some(None) => faults.add(&place, format!("{name} is no step")),
                None => faults.add(&place, "must be the name of a step"),
            }
        }
        before
    };
    steps.iter().enumerate().map(of_step).collect()
}

fn check_quorum(join: Join, of: usize, place: &str, faults: &mut Faults) {
    match join {
        Join::Quorum(number) if usize::try_from(number).is_ok_and(|number| number > of) => {
            faults.add(place, format!("asks for {number} of {of} dependencies"));
        }
        Join::All | Join::Any | Join::Quorum(_) => {}
    }
}

/// A step may refer only to what is there when it starts.
fn check_references(
    step: &Step,
    n: usize,
    ancestors: Option<&Ancestors>,
    place: &str,
    ids: &[Option<String>],
    faults: &mut Faults,
) {
    let mut wrong = |reference: &Reference, field: &str, in_child: bool| {
        let place = format!("{place}.{field}");
        if reference.is_of_child() && !in_child {
            let message = format!(
                "{} has a meaning only in the task_data of a step with for_each",
                reference.as_str()
            );
            faults.add(&place, message);
        }
        if let (Some(other), Some(ancestors)) = (reference.step(), ancestors)
            && !ancestors.precedes(other, n)
        {
            let name = ids
                .get(other)
                .and_then(Option::as_deref)
                .unwrap_or_default();
            let message = format!(
                "{} refers to {name:?}, which does not come before this step (see depends_on)",
                reference.as_str()
            );
            faults.add(&place, message);
        }
    };
    if let Some(condition) = &step.when {
        condition.visit(&mut |reference| wrong(reference, "when", false));
    }
    match &step.work {
        Work::Task(task) => {
            let fans_out = task.for_each.is_some();
            task.task_data
                .visit(&mut |reference| wrong(reference, "task_data", fans_out));
            if let Some(for_each) = &task.for_each {
                wrong(&for_each.items, "for_each.items", false);
            }
        }
        Work::Approval(approval) => {
            if let Some(data) = &approval.data {
                data.visit(&mut |reference| wrong(reference, "data", false));
            }
        }
    }
}

/// The fields of a definition out of a larger body.
pub(super) fn definition_fields(fields: &mut Fields) -> Option<Value> {
    let mut body = Map::new();
    for name in ["description", "steps", "output"] {
        if let Some(value) = fields.take(name) {
            body.insert(name.to_owned(), value);
        }
    }
    (!body.is_empty()).then_some(Value::Object(body))
}
