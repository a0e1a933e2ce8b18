//! Which instances an agent is to have: those that were registered, or as many as are wanted of those that are made.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{AgentId, AgentRecord, DEFAULT_WEIGHT, Fields, InstanceId, InstanceRecord, MAX_WEIGHT};

/// The most instances of one agent.
pub const MAX_INSTANCES: u32 = 100;

/// Names the hashes of long agent ids.
const NAMES: Uuid = Uuid::from_u128(0x2c1f_8a30_5f6e_5d47_9a0b_7e64_c3d8_1b52);

/// An instance that runs at an address of its own, as registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// Base address of the agent there.
    pub endpoint: String,
    /// Its share of the tasks, 1 to 1,000.
    pub weight: u32,
    /// How many tasks it may run at once, 1 to 100,000; the agent's limit when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_sessions: Option<u32>,
}

impl InstanceSpec {
    /// An instance of which only the address is given.
    #[must_use]
    pub fn at(endpoint: String) -> Self {
        Self {
            endpoint,
            weight: DEFAULT_WEIGHT,
            max_concurrent_sessions: None,
        }
    }

    /// Takes the field `instances`: a list of 1 to [`MAX_INSTANCES`] objects; notes what is wrong with them.
    pub fn take_list(fields: &mut Fields) -> Option<Vec<Self>> {
        let items = match fields.take("instances")? {
            Value::Array(items) if (1..=MAX_INSTANCES as usize).contains(&items.len()) => items,
            _ => {
                let accepts = format!("must be a list of 1 to {MAX_INSTANCES} objects");
                fields.fault("instances", accepts);
                return None;
            }
        };
        let mut list: Vec<Self> = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let place = format!("instances[{index}]");
            match Self::read(item) {
                Ok(spec) if list.iter().any(|other| other.endpoint == spec.endpoint) => {
                    fields.fault(&format!("{place}.endpoint"), "must not be named twice");
                }
                Ok(spec) => list.push(spec),
                Err(faults) => {
                    for fault in faults.0 {
                        let field = match fault.field.as_str() {
                            "" => place.clone(),
                            inside => format!("{place}.{inside}"),
                        };
                        fields.fault(&field, fault.message);
                    }
                }
            }
        }
        Some(list)
    }

    fn read(item: Value) -> Result<Self, super::Faults> {
        let mut fields = Fields::of(item)?;
        fields.require("endpoint");
        let accepts = "must be an absolute http or https address";
        let endpoint = fields.take_parsed("endpoint", accepts, super::submission::http_url);
        let weight = fields.take_integer("weight", 1, MAX_WEIGHT);
        let max_concurrent_sessions = fields.take_integer("max_concurrent_sessions", 1, 100_000);
        fields.finish()?;
        Ok(Self {
            // Without one there was a fault.
            endpoint: endpoint.map(String::from).unwrap_or_default(),
            weight: weight.unwrap_or(DEFAULT_WEIGHT),
            max_concurrent_sessions,
        })
    }
}

/// What an instance is for the Brain Factory that makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeInstance {
    /// Its number among the agent's, from 1.
    pub ordinal: u32,
    /// The agent id that the Brain Factory knows it by.
    pub name: AgentId,
}

/// The agent id that the Brain Factory knows an agent's instance by: the agent's own for the first.
///
/// The others are ids that nobody would give to an agent of their own. One that would be too long ends in a hash of the whole.
#[must_use]
pub fn instance_name(agent_id: &AgentId, ordinal: u32) -> AgentId {
    const LONGEST: usize = 100;
    if ordinal == 1 {
        return agent_id.clone();
    }
    let ending = format!("-instance-{ordinal}");
    let id = agent_id.as_str();
    let name = if id.len() + ending.len() <= LONGEST {
        format!("{id}{ending}")
    } else {
        let hash = Uuid::new_v5(&NAMES, id.as_bytes()).simple().to_string();
        // Agent ids are ASCII, so every position is a boundary.
        let kept = id
            .get(..LONGEST - ending.len() - hash.len())
            .unwrap_or_default();
        format!("{kept}{hash}{ending}")
    };
    AgentId::parse(&name).unwrap_or_else(|| agent_id.clone())
}

/// One thing to be changed about an agent's instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstancePlan {
    /// A new one.
    Add {
        /// What it is for the Brain Factory, unless it has an address of its own.
        made: Option<MadeInstance>,
        /// Its address, which is empty for one that is to be made; its weight and capacity.
        spec: InstanceSpec,
    },
    /// One that is there and is wanted, with this weight and capacity.
    Keep(InstanceId, InstanceSpec),
    /// One that is no longer wanted: it gets no more tasks and goes.
    Drain(InstanceId),
}

/// What has to be changed so that the agent has the instances that it is to have. `is_taken` says whether another agent has
/// an id, which is then nobody's instance.
#[must_use]
pub fn plan_instances(
    agent: &AgentRecord,
    is_taken: impl Fn(&AgentId) -> bool,
) -> Vec<InstancePlan> {
    if agent.registered_instances.is_empty() {
        plan_made(agent, is_taken)
    } else {
        plan_registered(agent)
    }
}

fn plan_registered(agent: &AgentRecord) -> Vec<InstancePlan> {
    let mut plan = Vec::new();
    let mut wanted = agent.registered_instances.clone();
    for instance in &agent.instances {
        let found = wanted
            .iter()
            .position(|spec| instance.made.is_none() && spec.endpoint == instance.endpoint);
        match found {
            Some(position) => keep(instance, wanted.swap_remove(position), &mut plan),
            None => drain(instance, &mut plan),
        }
    }
    // In the order in which they were registered.
    let missing = agent.registered_instances.iter();
    let missing = missing.filter(|spec| wanted.contains(spec));
    plan.extend(missing.map(|spec| InstancePlan::Add {
        made: None,
        spec: spec.clone(),
    }));
    plan
}

fn plan_made(agent: &AgentRecord, is_taken: impl Fn(&AgentId) -> bool) -> Vec<InstancePlan> {
    let mut plan = Vec::new();
    let mut have: Vec<(u32, &InstanceRecord)> = Vec::new();
    for instance in &agent.instances {
        match &instance.made {
            Some(made) => have.push((made.ordinal, instance)),
            None => drain(instance, &mut plan),
        }
    }
    // Those that stay anyway come before those that would have gone.
    have.sort_by_key(|(ordinal, instance)| (instance.draining, *ordinal));
    let wanted = agent.instances_wanted as usize;
    for (position, (_, instance)) in have.iter().enumerate() {
        if position < wanted {
            let spec = InstanceSpec::at(instance.endpoint.clone());
            keep(instance, spec, &mut plan);
        } else {
            drain(instance, &mut plan);
        }
    }
    let free = (1..=MAX_INSTANCES * 2)
        .filter(|ordinal| have.iter().all(|(taken, _)| taken != ordinal))
        .map(|ordinal| MadeInstance {
            ordinal,
            name: instance_name(&agent.agent_id, ordinal),
        })
        .filter(|made| made.ordinal == 1 || !is_taken(&made.name));
    plan.extend(
        free.take(wanted.saturating_sub(have.len()))
            .map(|made| InstancePlan::Add {
                made: Some(made),
                spec: InstanceSpec::at(String::new()),
            }),
    );
    plan
}

fn keep(instance: &InstanceRecord, spec: InstanceSpec, plan: &mut Vec<InstancePlan>) {
    let is_so = !instance.draining
        && instance.weight == spec.weight
        && instance.capacity == spec.max_concurrent_sessions;
    if !is_so {
        plan.push(InstancePlan::Keep(instance.instance_id, spec));
    }
}

fn drain(instance: &InstanceRecord, plan: &mut Vec<InstancePlan>) {
    if !instance.draining {
        plan.push(InstancePlan::Drain(instance.instance_id));
    }
}

#[cfg(test)]
#[path = "instances_tests.rs"]
mod tests;
