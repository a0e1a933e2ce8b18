//! The condition of a rule: one test, or a group of which all or any must hold.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::super::findings::Fault;
use super::component::Names;
use super::path::Path;
use super::run::{GraphError, Scope};

pub(super) enum Condition {
    All(Vec<Self>),
    Any(Vec<Self>),
    Test {
        path: Path,
        operator: Operator,
        operand: Value,
    },
}

#[derive(Clone, Copy)]
pub(super) enum Operator {
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
    In,
    Contains,
    Exists,
}

const OPERATORS: [(&str, Operator); 9] = [
    ("eq", Operator::Eq),
    ("ne", Operator::Ne),
    ("gt", Operator::Gt),
    ("gte", Operator::Gte),
    ("lt", Operator::Lt),
    ("lte", Operator::Lte),
    ("in", Operator::In),
    ("contains", Operator::Contains),
    ("exists", Operator::Exists),
];

impl Condition {
    pub(super) fn read(from: &Value, field: &str, names: &Names<'_>) -> Result<Self, Fault> {
        for (name, group) in [
            ("all", Self::All as fn(Vec<Self>) -> Self),
            ("any", Self::Any),
        ] {
            if let Some(members) = from.get(name) {
                return Ok(group(read_group(
                    members,
                    &format!("{field}.{name}"),
                    names,
                )?));
            }
        }
        let path = from.get("path").and_then(Value::as_str).ok_or_else(|| {
            Fault::new(
                format!("{field}.path"),
                "A condition needs a path, or a group in all or any",
            )
        })?;
        let path = Path::read(path, names)
            .map_err(|message| Fault::new(format!("{field}.path"), message))?;
        let (name, operator) = from
            .get("op")
            .or_else(|| from.get("operator"))
            .and_then(Value::as_str)
            .and_then(|named| OPERATORS.into_iter().find(|(name, _)| *name == named))
            .ok_or_else(|| {
                let fault = Fault::new(format!("{field}.op"), "A condition needs an operator");
                fault.suggest("Use eq, ne, gt, gte, lt, lte, in, contains or exists")
            })?;
        let operand = from.get("value").cloned().unwrap_or(Value::Null);
        let fits = match operator {
            Operator::Eq | Operator::Ne => from.get("value").is_some(),
            Operator::Gt | Operator::Gte | Operator::Lt | Operator::Lte => {
                operand.is_number() || operand.is_string()
            }
            Operator::In => operand.is_array(),
            Operator::Contains => !operand.is_null(),
            Operator::Exists => operand.is_null() || operand.is_boolean(),
        };
        if !fits {
            let message = format!("'{name}' cannot be used with this value");
            return Err(Fault::new(format!("{field}.value"), message));
        }
        Ok(Self::Test {
            path,
            operator,
            operand,
        })
    }

    pub(super) fn references(&self) -> Vec<usize> {
        match self {
            Self::All(members) | Self::Any(members) => {
                members.iter().flat_map(Self::references).collect()
            }
            Self::Test { path, .. } => path.reference().into_iter().collect(),
        }
    }

    /// Whether it holds. Groups stop at the first member that decides them.
    pub(super) fn holds(&self, component: &str, scope: &Scope<'_>) -> Result<bool, GraphError> {
        match self {
            Self::All(members) => {
                for member in members {
                    if !member.holds(component, scope)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Any(members) => {
                for member in members {
                    if member.holds(component, scope)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Test {
                path,
                operator,
                operand,
            } => test(component, path, *operator, operand, scope),
        }
    }
}

fn read_group(members: &Value, field: &str, names: &Names<'_>) -> Result<Vec<Condition>, Fault> {
    let members = members
        .as_array()
        .filter(|members| !members.is_empty())
        .ok_or_else(|| Fault::new(field, "A group needs a list of conditions"))?;
    let read = |(index, member)| Condition::read(member, &format!("{field}[{index}]"), names);
    members.iter().enumerate().map(read).collect()
}

fn test(
    component: &str,
    path: &Path,
    operator: Operator,
    operand: &Value,
    scope: &Scope<'_>,
) -> Result<bool, GraphError> {
    let found = path.find(scope);
    if let Operator::Exists = operator {
        let wanted = operand != &Value::Bool(false);
        return Ok(found.is_some_and(|value| !value.is_null()) == wanted);
    }
    let found = found.ok_or_else(|| GraphError::missing(component, path))?;
    let ordering = || {
        compare(found, operand).ok_or_else(|| {
            GraphError::mismatch(
                component,
                path,
                found,
                if operand.is_number() {
                    "a number"
                } else {
                    "a text"
                },
            )
        })
    };
    Ok(match operator {
        Operator::Eq => same(found, operand),
        Operator::Ne => !same(found, operand),
        Operator::Gt => ordering()?.is_gt(),
        Operator::Gte => ordering()?.is_ge(),
        Operator::Lt => ordering()?.is_lt(),
        Operator::Lte => ordering()?.is_le(),
        Operator::In => operand
            .as_array()
            .is_some_and(|list| list.iter().any(|item| same(item, found))),
        Operator::Contains => match (found, operand) {
            (Value::Array(items), _) => items.iter().any(|item| same(item, operand)),
            (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
            _ => {
                return Err(GraphError::mismatch(
                    component,
                    path,
                    found,
                    "a list or a text",
                ));
            }
        },
        Operator::Exists => false,
    })
}

/// Whether two values are the same; `1` and `1.0` are.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => order(one, other) == Some(Ordering::Equal),
        _ => one == other,
    }
}

/// Numbers by size, texts by their characters (so ISO dates by time); anything else has no order.
fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => order(one, other),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

/// Whole numbers are compared exactly, others as floating point.
fn order(one: &Number, other: &Number) -> Option<Ordering> {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}
