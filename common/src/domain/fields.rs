//! Reading a JSON object field by field: every fault is found and named, not only the first.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

/// The deepest JSON nesting that is accepted anywhere.
pub const MAX_NESTING: usize = 64;

/// One thing wrong with a request: where, and what is accepted there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The name of the field, with dots for nested ones; empty for the body as a whole.
    pub field: String,
    /// What the field accepts.
    pub message: String,
}

/// Everything wrong with a request; never empty when it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// A single fault.
    #[must_use]
    pub fn one(field: &str, message: impl Into<String>) -> Self {
        Self(vec![Fault {
            field: field.to_owned(),
            message: message.into(),
        }])
    }

    /// Adds a fault.
    pub fn add(&mut self, field: &str, message: impl Into<String>) {
        self.0.push(Fault {
            field: field.to_owned(),
            message: message.into(),
        });
    }

    /// `value` when there is no fault.
    ///
    /// # Errors
    /// The faults.
    pub fn none_or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{} {}", fault.field, fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// A JSON object being read: each `take_*` removes a field and notes a fault when its value is not acceptable.
///
/// A field that is absent or `null` is `None` without a fault; [`Self::require`] makes absence one.
#[derive(Debug)]
pub struct Fields {
    map: Map<String, Value>,
    faults: Faults,
}

impl Fields {
    /// Starts reading; a body that is not an object is refused at once.
    ///
    /// # Errors
    /// One fault on the body as a whole.
    pub fn of(body: Value) -> Result<Self, Faults> {
        match body {
            Value::Object(map) => Ok(Self {
                map,
                faults: Faults::default(),
            }),
            other => Err(Faults::one(
                "",
                format!("must be a JSON object, not {}", kind_of(&other)),
            )),
        }
    }

    /// Removes a field, whatever it holds; `null` counts as absent.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.map
            .shift_remove(field)
            .filter(|value| !value.is_null())
    }

    /// Whether the field is present and not `null`.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.map.get(field).is_some_and(|value| !value.is_null())
    }

    /// Notes a fault.
    pub fn fault(&mut self, field: &str, message: impl Into<String>) {
        self.faults.add(field, message);
    }

    /// Notes that the required `field` is missing, when it is absent.
    pub fn require(&mut self, field: &str) {
        if !self.has(field) {
            self.fault(field, "is required");
        }
    }

    /// A string of `min` to `max` characters without control characters.
    pub fn take_text(&mut self, field: &str, min: usize, max: usize) -> Option<String> {
        let accepts =
            || format!("must be a string of {min} to {max} characters without control characters");
        match self.take(field)? {
            Value::String(text)
                if (min..=max).contains(&text.chars().count())
                    && !text.chars().any(char::is_control) =>
            {
                Some(text)
            }
            _ => {
                self.fault(field, accepts());
                None
            }
        }
    }

    /// A string that `parse` understands; `accepts` says what that is.
    pub fn take_parsed<T>(
        &mut self,
        field: &str,
        accepts: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(field)?;
        let parsed = value.as_str().and_then(parse);
        if parsed.is_none() {
            self.fault(field, accepts);
        }
        parsed
    }

    /// A whole number of `min` to `max`.
    pub fn take_integer(&mut self, field: &str, min: u32, max: u32) -> Option<u32> {
        let value = self.take(field)?;
        let number = value
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| (min..=max).contains(n));
        if number.is_none() {
            self.fault(field, format!("must be a whole number from {min} to {max}"));
        }
        number
    }

    /// An object.
    pub fn take_object(&mut self, field: &str) -> Option<Map<String, Value>> {
        match self.take(field)? {
            Value::Object(map) => Some(map),
            _ => {
                self.fault(field, "must be a JSON object");
                None
            }
        }
    }

    /// Ends the reading; fields that nobody took are faults.
    ///
    /// # Errors
    /// All faults noted so far.
    pub fn finish(mut self) -> Result<(), Faults> {
        for field in self.map.keys() {
            self.faults.add(field, "is not a known field");
        }
        self.finish_keeping_unknown().map(|_| ())
    }

    /// Ends the reading and returns the fields that nobody took.
    ///
    /// # Errors
    /// All faults noted so far.
    pub fn finish_keeping_unknown(self) -> Result<Map<String, Value>, Faults> {
        if self.faults.0.is_empty() {
            Ok(self.map)
        } else {
            Err(self.faults)
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// How deeply `value` nests: 0 for a scalar, 1 for a flat object or array.
#[must_use]
pub fn nesting_of(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nesting_of).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(nesting_of).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_faults_are_reported_at_once_and_named() {
        let mut fields =
            Fields::of(json!({"a": 5, "b": "x".repeat(11), "d": 1, "n": null})).unwrap();
        assert_eq!(fields.take_text("a", 1, 10), None);
        assert_eq!(fields.take_text("b", 1, 10), None);
        assert_eq!(fields.take_integer("n", 1, 2), None);
        fields.require("c");
        let faults = fields.finish().unwrap_err();
        let named: Vec<_> = faults.0.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(named, ["a", "b", "c", "d"]);
    }

    #[test]
    fn nesting_is_counted_by_containers() {
        assert_eq!(nesting_of(&json!(1)), 0);
        assert_eq!(nesting_of(&json!({"a": [1, {"b": []}]})), 4);
    }
}
