//! The client against servers that behave like the platform, and against servers that misbehave.

mod agent_config;
mod connections;
mod execute;
mod factory;

use std::time::Duration;

use serde_json::value::RawValue;
use url::Url;
use uuid::Uuid;

use super::{BrainFactoryClient, ExecuteCall};
use crate::domain::{Priority, TaskId};

fn client_of(base: &str) -> BrainFactoryClient {
    let base = Url::parse(base).unwrap();
    BrainFactoryClient::at(&base, Duration::from_secs(20)).unwrap()
}

fn call_with(input: &RawValue) -> ExecuteCall<'_> {
    ExecuteCall {
        task_id: TaskId::from(Uuid::from_u128(7)),
        attempt: 2,
        description: "risk_assessment",
        input_data: input,
        priority: Priority::new(5).unwrap(),
        timeout_seconds: 30,
        traceparent: None,
    }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}
