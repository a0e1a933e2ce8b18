//! A decision: the first threshold that a number meets gives the label.

use serde_json::{Value, json};

use super::super::findings::Fault;
use super::component::Names;
use super::path::Path;
use super::run::{GraphError, Output, Scope};

pub(super) struct Decision {
    /// Where the number is; without it the outputs of the connected components are added up.
    value: Option<Path>,
    thresholds: Vec<Threshold>,
    default: Option<String>,
}

struct Threshold {
    min: f64,
    max: f64,
    decision: String,
}

impl Decision {
    pub(super) fn read(settings: &Value, field: &str, names: &Names<'_>) -> Result<Self, Fault> {
        let value = match settings.get("value").or_else(|| settings.get("path")) {
            None => None,
            Some(path) => {
                let path = path.as_str().ok_or("A value is a path".to_owned());
                let path = path.and_then(|path| Path::read(path, names));
                Some(path.map_err(|message| Fault::new(format!("{field}.value"), message))?)
            }
        };
        let listed = settings
            .get("thresholds")
            .and_then(Value::as_array)
            .filter(|listed| !listed.is_empty())
            .ok_or_else(|| {
                Fault::new(
                    format!("{field}.thresholds"),
                    "A decision needs a list of thresholds",
                )
            })?;
        let read = |(index, threshold)| {
            Threshold::read(threshold, &format!("{field}.thresholds[{index}]"))
        };
        Ok(Self {
            value,
            thresholds: listed
                .iter()
                .enumerate()
                .map(read)
                .collect::<Result<_, _>>()?,
            default: settings
                .get("default")
                .and_then(Value::as_str)
                .map(str::to_owned),
        })
    }

    pub(super) fn references(&self) -> Vec<usize> {
        self.value.iter().filter_map(Path::reference).collect()
    }

    /// Whether it has no number of its own and needs connected components.
    pub(super) const fn adds_up(&self) -> bool {
        self.value.is_none()
    }

    pub(super) fn run(
        &self,
        component: &str,
        inputs: &[usize],
        scope: &Scope<'_>,
    ) -> Result<Output, GraphError> {
        let number = match &self.value {
            Some(path) => {
                let found = path
                    .find(scope)
                    .ok_or_else(|| GraphError::missing(component, path))?;
                let number = found.as_f64();
                number.ok_or_else(|| GraphError::mismatch(component, path, found, "a number"))?
            }
            None => {
                let numbers = inputs.iter().map(|index| {
                    let number = scope.output(*index).and_then(Value::as_f64);
                    number.ok_or_else(|| GraphError::NotANumber {
                        component: component.to_owned(),
                        input: scope.id(*index).to_owned(),
                    })
                });
                numbers.sum::<Result<f64, _>>()?
            }
        };
        let met = self
            .thresholds
            .iter()
            .find(|threshold| (threshold.min..=threshold.max).contains(&number));
        let label = met.map(|threshold| &threshold.decision);
        let label = label
            .or(self.default.as_ref())
            .ok_or_else(|| GraphError::Undecided {
                component: component.to_owned(),
                number,
            })?;
        Ok(Output::small(
            json!({"decision": label, "value": plain(number)}),
        ))
    }
}

impl Threshold {
    fn read(from: &Value, field: &str) -> Result<Self, Fault> {
        let bound = |name: &str| match from.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_f64()
                .map(Some)
                .ok_or_else(|| Fault::new(format!("{field}.{name}"), "A bound is a number")),
        };
        let (min, max) = (bound("min")?, bound("max")?);
        if min.is_none() && max.is_none() {
            return Err(Fault::new(field, "A threshold needs min or max"));
        }
        let decision = from.get("decision").and_then(Value::as_str);
        Ok(Self {
            min: min.unwrap_or(f64::NEG_INFINITY),
            max: max.unwrap_or(f64::INFINITY),
            decision: decision
                .ok_or_else(|| {
                    Fault::new(format!("{field}.decision"), "A threshold needs a decision")
                })?
                .to_owned(),
        })
    }
}

/// A whole number without its `.0`.
fn plain(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Value::from(number as i64);
    }
    Value::from(number)
}
