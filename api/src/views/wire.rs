//! Domain values as the document shows them: one wrapper gives each its schema and leaves its form to serde.

use std::borrow::Cow;

use orchestrator_common::domain::workflow::{RunId, RunStatus, StepStatus};
use orchestrator_common::domain::{
    AgentId, AgentStatus, CallbackStatus, CircuitState, DesiredState, ErrorCode, InstanceId,
    InstanceState, Json, LoadBalancing, SessionId, TaskId, TaskStatus, Timestamp, WorkerId,
};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{
    ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type,
};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// The schema of a domain type.
pub(crate) trait WireSchema: Send + Sync + Sized {
    /// Shown wherever the type occurs.
    fn schema() -> MetaSchema;
}

/// A domain value in an answer or a documented request.
#[derive(Clone, Debug)]
pub(crate) struct Wire<T>(pub(crate) T);

impl<T: Serialize> Serialize for Wire<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<T: WireSchema> Type for Wire<T> {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        T::schema().ty.into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(T::schema()))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl<T: WireSchema + Serialize> ToJSON for Wire<T> {
    fn to_json(&self) -> Option<Value> {
        serde_json::to_value(&self.0).ok()
    }
}

impl<T: WireSchema + DeserializeOwned> ParseFromJSON for Wire<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        serde_json::from_value(value.unwrap_or_default())
            .map(Self)
            .map_err(ParseError::custom)
    }
}

/// A value that can be given in a query.
pub(crate) trait QueryValue: WireSchema {
    /// What is accepted, for the fault.
    const ACCEPTS: &'static str;

    /// Reads it; `None` when it is not acceptable.
    fn read(text: &str) -> Option<Self>;
}

/// A query parameter that may be unacceptable: the handler notes the fault, so that all of them are named at once.
#[derive(Debug)]
pub(crate) struct Loose<T>(pub(crate) Option<T>);

impl<T: QueryValue> Type for Loose<T> {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        T::schema().ty.into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(T::schema()))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl<T: QueryValue> ParseFromParameter for Loose<T> {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        Ok(Self(T::read(text)))
    }
}

pub(super) fn named(names: impl Iterator<Item = &'static str>) -> MetaSchema {
    MetaSchema {
        enum_items: names.map(Value::from).collect(),
        ..MetaSchema::new("string")
    }
}

impl WireSchema for AgentStatus {
    fn schema() -> MetaSchema {
        named(Self::ALL.iter().map(|state| state.as_str()))
    }
}

impl QueryValue for AgentStatus {
    const ACCEPTS: &'static str =
        "must be one of registered, starting, active, paused, stopping, stopped, failed";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl WireSchema for DesiredState {
    fn schema() -> MetaSchema {
        named(Self::ALL.iter().map(|state| state.as_str()))
    }
}

impl WireSchema for InstanceState {
    fn schema() -> MetaSchema {
        named(Self::ALL.iter().map(|state| state.as_str()))
    }
}

impl WireSchema for CircuitState {
    fn schema() -> MetaSchema {
        named(Self::ALL.iter().map(|state| state.as_str()))
    }
}

impl WireSchema for LoadBalancing {
    fn schema() -> MetaSchema {
        named(Self::ALL.iter().map(|policy| policy.as_str()))
    }
}

impl WireSchema for TaskStatus {
    fn schema() -> MetaSchema {
        named(Self::ALL.iter().map(|status| status.as_str()))
    }
}

impl WireSchema for CallbackStatus {
    fn schema() -> MetaSchema {
        named(Self::ALL.iter().map(|status| status.as_str()))
    }
}

impl WireSchema for ErrorCode {
    fn schema() -> MetaSchema {
        named(Self::ALL.iter().map(|code| code.as_str()))
    }
}

impl WireSchema for Timestamp {
    fn schema() -> MetaSchema {
        MetaSchema::new_with_format("string", "date-time")
    }
}

impl WireSchema for TaskId {
    fn schema() -> MetaSchema {
        MetaSchema::new_with_format("string", "uuid")
    }
}

impl WireSchema for WorkerId {
    fn schema() -> MetaSchema {
        MetaSchema::new_with_format("string", "uuid")
    }
}

impl WireSchema for InstanceId {
    fn schema() -> MetaSchema {
        MetaSchema::new_with_format("string", "uuid")
    }
}

/// An identifier that a caller chose.
fn chosen() -> MetaSchema {
    MetaSchema {
        min_length: Some(1),
        max_length: Some(100),
        pattern: Some("^[A-Za-z0-9._:-]+$".to_owned()),
        ..MetaSchema::new("string")
    }
}

impl WireSchema for AgentId {
    fn schema() -> MetaSchema {
        chosen()
    }
}

impl WireSchema for SessionId {
    fn schema() -> MetaSchema {
        chosen()
    }
}

impl QueryValue for SessionId {
    const ACCEPTS: &'static str = Self::ACCEPTS;

    fn read(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl QueryValue for AgentId {
    const ACCEPTS: &'static str = Self::ACCEPTS;

    fn read(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

/// Whatever an agent answered: any JSON.
impl WireSchema for Json {
    fn schema() -> MetaSchema {
        MetaSchema::ANY
    }
}

impl WireSchema for Value {
    fn schema() -> MetaSchema {
        MetaSchema::new("object")
    }
}

impl WireSchema for Map<String, Value> {
    fn schema() -> MetaSchema {
        MetaSchema::new("object")
    }
}

/// A run of a workflow.
impl WireSchema for RunId {
    fn schema() -> MetaSchema {
        MetaSchema::new_with_format("string", "uuid")
    }
}

impl WireSchema for RunStatus {
    fn schema() -> MetaSchema {
        named(Self::ALL.iter().map(|status| status.as_str()))
    }
}

impl WireSchema for StepStatus {
    fn schema() -> MetaSchema {
        named(Self::ALL.iter().map(|status| status.as_str()))
    }
}

impl WireSchema for bool {
    fn schema() -> MetaSchema {
        MetaSchema::new("boolean")
    }
}

impl QueryValue for bool {
    const ACCEPTS: &'static str = "must be true or false";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}
