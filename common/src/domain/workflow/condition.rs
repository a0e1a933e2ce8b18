//! Conditions: whether a step is carried out at all.

use std::cmp::Ordering;

use serde_json::Value;

use super::reference::{Names, Reference};
use crate::domain::{Faults, Fields};

/// The most tests of one condition.
const MAX_TESTS: usize = 100;

/// A test of what a reference leads to, or several of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// All hold.
    All(Vec<Self>),
    /// At least one holds.
    Any(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// What the reference leads to compares with the value as the operator says. What leads nowhere is only `ne`.
    Test(Reference, Operator, Value),
}

macro_rules! operators {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// How a test compares.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Operator { $($(#[$doc])* $variant,)* }

        impl Operator {
            const ALL: &[(&str, Self)] = &[$(($text, Self::$variant),)*];
        }
    };
}

operators! {
    /// Equal, numbers by their value.
    Eq = "eq",
    /// Not equal.
    Ne = "ne",
    /// Greater: of two numbers or two strings.
    Gt = "gt",
    /// Greater or equal.
    Gte = "gte",
    /// Less.
    Lt = "lt",
    /// Less or equal.
    Lte = "lte",
    /// Equal to one element of a list.
    In = "in",
    /// A list with an equal element, or a string with that part.
    Contains = "contains",
    /// Whether it leads anywhere, other than to null.
    Exists = "exists",
}

impl Condition {
    /// Reads a condition; faults are noted under `place`.
    pub(super) fn read(
        value: Value,
        names: &Names<'_>,
        place: &str,
        faults: &mut Faults,
    ) -> Option<Self> {
        let mut tests = 0;
        let condition = read(value, names, place, faults, &mut tests);
        if tests > MAX_TESTS {
            faults.add(place, format!("must not hold more than {MAX_TESTS} tests"));
        }
        condition
    }

    /// Whether it holds; `look_up` says what a reference leads to.
    pub(super) fn holds(&self, look_up: &impl Fn(&Reference) -> Option<Value>) -> bool {
        match self {
            Self::All(members) => members.iter().all(|member| member.holds(look_up)),
            Self::Any(members) => members.iter().any(|member| member.holds(look_up)),
            Self::Not(member) => !member.holds(look_up),
            Self::Test(reference, operator, operand) => {
                compare(look_up(reference).as_ref(), *operator, operand)
            }
        }
    }

    /// Calls `visit` with every reference.
    pub(super) fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a Reference)) {
        match self {
            Self::All(members) | Self::Any(members) => {
                members.iter().for_each(|member| member.visit(visit));
            }
            Self::Not(member) => member.visit(visit),
            Self::Test(reference, ..) => visit(reference),
        }
    }
}

fn read(
    value: Value,
    names: &Names<'_>,
    place: &str,
    faults: &mut Faults,
    tests: &mut usize,
) -> Option<Condition> {
    let mut fields = match Fields::of(value) {
        Ok(fields) => fields,
        Err(_) => {
            faults.add(
                place,
                "must be an object of path, op and value, or of all, any or not",
            );
            return None;
        }
    };
    let condition = if let Some(member) = fields.take("not") {
        let member = read(member, names, &format!("{place}.not"), faults, tests);
        member.map(|member| Condition::Not(Box::new(member)))
    } else if let Some(members) = fields.take("all") {
        read_group(members, names, &format!("{place}.all"), faults, tests).map(Condition::All)
    } else if let Some(members) = fields.take("any") {
        read_group(members, names, &format!("{place}.any"), faults, tests).map(Condition::Any)
    } else {
        *tests += 1;
        read_test(&mut fields, names, place, faults)
    };
    super::step_fields::note(faults, place, fields.finish());
    condition
}

fn read_group(
    members: Value,
    names: &Names<'_>,
    place: &str,
    faults: &mut Faults,
    tests: &mut usize,
) -> Option<Vec<Condition>> {
    let Value::Array(members) = members else {
        faults.add(place, "must be a list of conditions");
        return None;
    };
    if members.is_empty() {
        faults.add(place, "must not be empty");
    }
    let members = members.into_iter().enumerate();
    let read: Vec<Option<Condition>> = members
        .map(|(n, member)| read(member, names, &format!("{place}[{n}]"), faults, tests))
        .collect();
    read.into_iter().collect()
}

fn read_test(
    fields: &mut Fields,
    names: &Names<'_>,
    place: &str,
    faults: &mut Faults,
) -> Option<Condition> {
    fields.require("path");
    fields.require("op");
    let path = fields.take_text("path", 1, 1_000);
    let known = |text: &str| Operator::ALL.iter().find(|(name, _)| *name == text);
    let operator = fields.take_parsed(
        "op",
        "must be one of eq, ne, gt, gte, lt, lte, in, contains, exists",
        |text| known(text).map(|(_, operator)| *operator),
    );
    let operand = fields.take("value");
    let fits = match operator {
        Some(Operator::In) => operand.as_ref().is_some_and(Value::is_array),
        Some(Operator::Gt | Operator::Gte | Operator::Lt | Operator::Lte) => operand
            .as_ref()
            .is_some_and(|v| v.is_number() || v.is_string()),
        Some(Operator::Exists) => operand.as_ref().is_none_or(Value::is_boolean),
        Some(Operator::Eq | Operator::Ne | Operator::Contains) | None => true,
    };
    if !fits {
        let message = "must be a list for in, a number or string for gt, gte, lt and lte, a boolean for exists";
        fields.fault("value", message);
    }
    let reference = Reference::parse(&path?, names)
        .map_err(|why| faults.add(&format!("{place}.path"), why))
        .ok()?;
    Some(Condition::Test(
        reference,
        operator?,
        operand.unwrap_or_default(),
    ))
}

fn compare(found: Option<&Value>, operator: Operator, operand: &Value) -> bool {
    let order = |accepted: fn(Ordering) -> bool| {
        found
            .and_then(|found| order(found, operand))
            .is_some_and(accepted)
    };
    match operator {
        Operator::Eq => found.is_some_and(|found| equal(found, operand)),
        Operator::Ne => found.is_none_or(|found| !equal(found, operand)),
        Operator::Gt => order(Ordering::is_gt),
        Operator::Gte => order(Ordering::is_ge),
        Operator::Lt => order(Ordering::is_lt),
        Operator::Lte => order(Ordering::is_le),
        Operator::In => match (found, operand) {
            (Some(found), Value::Array(items)) => items.iter().any(|item| equal(item, found)),
            _ => false,
        },
        Operator::Contains => match (found, operand) {
            (Some(Value::Array(items)), _) => items.iter().any(|item| equal(item, operand)),
            (Some(Value::String(text)), Value::String(part)) => text.contains(part.as_str()),
            _ => false,
        },
        Operator::Exists => {
            let exists = found.is_some_and(|found| !found.is_null());
            exists == operand.as_bool().unwrap_or(true)
        }
    }
}

fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(_), Value::Number(_)) => order(one, other) == Some(Ordering::Equal),
        _ => one == other,
    }
}

fn order(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => Some(one.cmp(&other)),
            _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
        },
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(condition: Value, input: &Value) -> bool {
        let mut faults = Faults::default();
        let condition = Condition::read(condition, &Names::new(), "when", &mut faults);
        assert_eq!(faults, Faults::default());
        condition
            .unwrap()
            .holds(&|reference| input.pointer(&reference.within).cloned())
    }

    #[test]
    fn tests_compare_by_value_and_groups_combine_them() {
        let input = json!({"n": 7, "s": "abc", "l": [1, 2.0], "null": null});
        let test = |path: &str, op: &str, value: Value| {
            holds(json!({"path": path, "op": op, "value": value}), &input)
        };
        for (path, op, value) in [
            ("/input/n", "eq", json!(7.0)),
            ("/input/n", "gt", json!(6.5)),
            ("/input/n", "in", json!([1, 7])),
            ("/input/l", "contains", json!(2)),
            ("/input/s", "contains", json!("bc")),
            ("/input/s", "lt", json!("b")),
            ("/input/none", "ne", json!(1)),
            ("/input/none", "exists", json!(false)),
            ("/input/null", "eq", json!(null)),
            ("/input/null", "exists", json!(false)),
        ] {
            assert!(test(path, op, value), "{path} {op}");
        }
        for (path, op, value) in [
            ("/input/none", "eq", json!(null)),
            ("/input/s", "gt", json!(1)),
            ("/input/none", "lt", json!(1)),
            ("/input/n", "exists", json!(false)),
        ] {
            assert!(!test(path, op, value), "{path} {op}");
        }
        let big = json!({"path": "/input/n", "op": "gt", "value": 10});
        let there = json!({"path": "/input/n", "op": "exists"});
        assert!(holds(json!({"any": [big, there]}), &input));
        assert!(!holds(json!({"all": [big, there]}), &input));
        assert!(holds(json!({"not": big}), &input));
    }

    #[test]
    fn every_fault_of_a_condition_is_named() {
        let mut faults = Faults::default();
        let condition = json!({"all": [
            {"path": "/nowhere", "op": "eq", "value": 1},
            {"op": "is", "x": 1},
            {"any": []},
            {"path": "/input", "op": "gt", "value": [1]},
        ]});
        Condition::read(condition, &Names::new(), "when", &mut faults);
        let places: Vec<&str> = faults.0.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(
            places,
            [
                "when.all[0].path",
                "when.all[1].path",
                "when.all[1].op",
                "when.all[1].x",
                "when.all[2].any",
                "when.all[3].value"
            ]
        );
    }
}
