//! Between rows and the domain. A row that does not fit the domain is an error, never a guess.

use std::str::FromStr;
use std::sync::Arc;

use sea_orm::Value;
use serde_json::value::RawValue;

use super::LedgerError;
use super::entity::{agent_instances, agent_profiles, agents, tasks};
use crate::domain::{
    AgentId, AgentRecord, AgentTotals, Capacity, Circuit, ErrorCode, InstanceRecord, InstanceSpec,
    Json, MadeInstance, NewTask, Origin, Priority, SessionId, TaskError, TaskRecord, TaskStatus,
    Timestamp, Usage,
};

pub(super) fn agent_id(text: &str) -> Result<AgentId, LedgerError> {
    AgentId::parse(text).ok_or_else(|| corrupt("agent_id", text))
}

pub(super) fn session_id(text: &str) -> Result<SessionId, LedgerError> {
    SessionId::parse(text).ok_or_else(|| corrupt("session_id", text))
}

/// A value of one of the domain's own lists of names.
pub(super) fn name<T: FromStr>(column: &str, text: &str) -> Result<T, LedgerError> {
    text.parse().map_err(|_| corrupt(column, text))
}

pub(super) fn at(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(Timestamp::from_micros)
}

pub(super) fn json(column: &str, text: String) -> Result<Json, LedgerError> {
    RawValue::from_string(text)
        .map(Arc::from)
        .map_err(|_| corrupt(column, "no JSON"))
}

pub(super) fn count<T: TryFrom<i64>>(column: &str, number: i64) -> Result<T, LedgerError> {
    T::try_from(number).map_err(|_| corrupt(column, &number.to_string()))
}

/// A count for a column of 32 bits; counts that large do not occur.
pub(super) fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) fn text_of(json: Option<&Json>) -> Value {
    Value::from(json.map(|json| json.get().to_owned()))
}

fn corrupt(column: &str, text: &str) -> LedgerError {
    LedgerError::Corrupt(format!("{column} is {text:?}"))
}

impl TryFrom<tasks::Model> for TaskRecord {
    type Error = LedgerError;

    fn try_from(row: tasks::Model) -> Result<Self, Self::Error> {
        let error = match row.error_code {
            Some(code) => Some(TaskError {
                code: name::<ErrorCode>("error_code", &code)?,
                message: row.error_message.unwrap_or_default(),
            }),
            None => None,
        };
        let priority = count::<u32>("priority", row.priority.into())?;
        Ok(Self {
            status: name::<TaskStatus>("status", &row.status)?,
            attempt: count("attempt", row.attempt.into())?,
            started_at: at(row.started_at),
            completed_at: at(row.completed_at),
            worker_id: row.worker_id.map(Into::into),
            instance_id: row.instance_id.map(Into::into),
            cancel_requested: row.cancel_requested,
            result: row.result.map(|text| json("result", text)).transpose()?,
            error,
            usage: Usage {
                tokens_used: row
                    .tokens_used
                    .map(|tokens| count("tokens_used", tokens))
                    .transpose()?,
                cost_estimate: row.cost_estimate,
            },
            task: NewTask {
                task_id: row.task_id.into(),
                agent_id: agent_id(&row.agent_id)?,
                task_type: row.task_type,
                task_data: json("task_data", row.task_data)?,
                priority: Priority::new(priority)
                    .ok_or_else(|| corrupt("priority", &priority.to_string()))?,
                timeout_seconds: count("timeout_seconds", row.timeout_seconds.into())?,
                callback_url: row
                    .callback_url
                    .map(|url| url.parse().map_err(|_| corrupt("callback_url", &url)))
                    .transpose()?,
                max_attempts: count("max_attempts", row.max_attempts.into())?,
                run_at: at(row.run_at),
                expires_at: at(row.expires_at),
                parent_task_id: row.parent_task_id.map(Into::into),
                session_id: row.session_id.as_deref().map(session_id).transpose()?,
                metadata: row
                    .metadata
                    .map(|text| json("metadata", text))
                    .transpose()?,
                submitted_at: Timestamp::from_micros(row.submitted_at),
                correlation_id: row.correlation_id,
                reply_to: row.reply_to,
                traceparent: row.traceparent,
                fingerprint: row.fingerprint.and_then(|bytes| bytes.try_into().ok()),
                origin: row.submitted_by.map(|actor| {
                    let request_id = row.request_id;
                    Arc::new(Origin { actor, request_id })
                }),
                workflow_run_id: row.workflow_run_id.map(Into::into),
            },
        })
    }
}

impl TryFrom<agent_instances::Model> for InstanceRecord {
    type Error = LedgerError;

    fn try_from(row: agent_instances::Model) -> Result<Self, Self::Error> {
        Ok(Self {
            instance_id: row.instance_id.into(),
            endpoint: row.endpoint,
            state: name("state", &row.state)?,
            capacity: row
                .capacity
                .map(|capacity| count("capacity", capacity.into()))
                .transpose()?,
            running: count("running", row.running.into())?,
            created_at: Timestamp::from_micros(row.created_at),
            last_health_check: at(row.last_health_check),
            memory_usage_mb: row.memory_usage_mb,
            made: made_instance(row.ordinal, row.made_as.as_deref())?,
            draining: row.draining,
            weight: count("weight", row.weight.into())?,
            learnt: Capacity {
                learnt: row
                    .learnt_limit
                    .map(|learnt| count("learnt_limit", learnt.into()))
                    .transpose()?,
                lowered_at: Timestamp::from_micros(row.limit_lowered_at),
                short: row.latency_short,
                long: row.latency_long,
                samples: count("latency_samples", row.latency_samples.into())?,
            },
            circuit: Circuit {
                state: name("circuit", &row.circuit)?,
                since: Timestamp::from_micros(row.circuit_since),
                until: at(row.circuit_until),
                failures: count("circuit_failures", row.circuit_failures.into())?,
                failure_rate: row.failure_rate,
                openings: count("circuit_openings", row.circuit_openings.into())?,
            },
        })
    }
}

fn made_instance(
    ordinal: Option<i32>,
    made_as: Option<&str>,
) -> Result<Option<MadeInstance>, LedgerError> {
    let Some((ordinal, made_as)) = ordinal.zip(made_as) else {
        return Ok(None);
    };
    Ok(Some(MadeInstance {
        ordinal: count("ordinal", ordinal.into())?,
        name: agent_id(made_as)?,
    }))
}

/// The places where an agent was registered to run; `endpoint` is what an older version wrote.
fn registered_instances(
    list: Option<&str>,
    endpoint: Option<String>,
) -> Result<Vec<InstanceSpec>, LedgerError> {
    match list {
        Some(list) => serde_json::from_str(list).map_err(|_| corrupt("instances", "no list")),
        None => Ok(endpoint.map(InstanceSpec::at).into_iter().collect()),
    }
}

/// An agent out of its three tables.
pub(super) fn agent(
    row: agents::Model,
    profile: agent_profiles::Model,
    instances: Vec<agent_instances::Model>,
) -> Result<AgentRecord, LedgerError> {
    Ok(AgentRecord {
        agent_id: agent_id(&row.agent_id)?,
        agent_name: profile.agent_name,
        domain: profile.domain,
        brain_config: profile
            .brain_config
            .map(|text| serde_json::from_str(&text).map_err(|_| corrupt("brain_config", "no JSON")))
            .transpose()?,
        deployment_id: profile.deployment_id,
        registered_instances: registered_instances(profile.instances.as_deref(), profile.endpoint)?,
        instances_wanted: count("instances_wanted", row.instances_wanted.into())?,
        load_balancing: name("load_balancing", &row.load_balancing)?,
        extra: serde_json::from_str(&profile.extra)
            .map_err(|_| corrupt("extra", "no JSON object"))?,
        desired: name("desired", &row.desired)?,
        status: name("status", &row.status)?,
        status_reason: row.status_reason,
        max_concurrent_sessions: row
            .max_concurrent_sessions
            .map(|limit| count("max_concurrent_sessions", limit.into()))
            .transpose()?,
        running: count("running", row.running.into())?,
        queued: count("queued", row.queued)?,
        totals: AgentTotals {
            sessions: count("sessions", row.sessions)?,
            completed: count("completed", row.completed)?,
            failed: count("failed", row.failed)?,
            busy_seconds: std::time::Duration::from_micros(count("busy_micros", row.busy_micros)?)
                .as_secs_f64(),
            tokens: count("tokens", row.tokens)?,
            cost: row.cost,
        },
        instances: instances
            .into_iter()
            .map(InstanceRecord::try_from)
            .collect::<Result<_, _>>()?,
        registered_at: Timestamp::from_micros(row.registered_at),
        started_at: at(row.started_at),
    })
}
