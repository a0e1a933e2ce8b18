//! Templates: JSON in which `{"$ref": "/pointer"}` stands for what the pointer leads to.

use serde_json::{Map, Value};

use super::reference::{Names, Reference};
use crate::domain::Faults;

/// The field that makes an object a reference.
const REFERENCE: &str = "$ref";
/// What stands in for a reference that leads nowhere.
const DEFAULT: &str = "default";
/// The field that keeps what is in it from being read as a template.
const LITERAL: &str = "$literal";

/// JSON with references in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Template {
    /// Nothing in it refers to anything.
    Literal(Value),
    /// Stands for what it leads to.
    Reference(Reference),
    /// A list.
    Array(Vec<Self>),
    /// An object.
    Object(Vec<(String, Self)>),
}

impl Template {
    /// Reads a template; faults are noted under `place`.
    pub(super) fn read(value: Value, names: &Names<'_>, place: &str, faults: &mut Faults) -> Self {
        match value {
            Value::Object(map) if map.contains_key(REFERENCE) => {
                read_reference(map, names, place, faults)
            }
            Value::Object(mut map) if map.len() == 1 && map.contains_key(LITERAL) => {
                Self::Literal(map.shift_remove(LITERAL).unwrap_or_default())
            }
            Value::Object(map) => {
                let fields = map.into_iter().map(|(name, value)| {
                    let template = Self::read(value, names, &format!("{place}.{name}"), faults);
                    (name, template)
                });
                Self::of_fields(fields.collect())
            }
            Value::Array(items) => {
                let items = items.into_iter().enumerate();
                Self::of_items(
                    items
                        .map(|(n, item)| Self::read(item, names, &format!("{place}[{n}]"), faults))
                        .collect(),
                )
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                Self::Literal(value)
            }
        }
    }

    /// An object whose fields are all literal is one itself.
    fn of_fields(fields: Vec<(String, Self)>) -> Self {
        if fields.iter().any(|(_, field)| !field.is_literal()) {
            return Self::Object(fields);
        }
        let literal = |(name, field)| match field {
            Self::Literal(value) => Some((name, value)),
            Self::Reference(_) | Self::Array(_) | Self::Object(_) => None,
        };
        Self::Literal(Value::Object(
            fields.into_iter().filter_map(literal).collect(),
        ))
    }

    fn of_items(items: Vec<Self>) -> Self {
        if items.iter().any(|item| !item.is_literal()) {
            return Self::Array(items);
        }
        let literal = |item| match item {
            Self::Literal(value) => Some(value),
            Self::Reference(_) | Self::Array(_) | Self::Object(_) => None,
        };
        Self::Literal(Value::Array(
            items.into_iter().filter_map(literal).collect(),
        ))
    }

    pub(super) const fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }

    /// Calls `visit` with every reference.
    pub(super) fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a Reference)) {
        match self {
            Self::Literal(_) => {}
            Self::Reference(reference) => visit(reference),
            Self::Array(items) => items.iter().for_each(|item| item.visit(visit)),
            Self::Object(fields) => fields.iter().for_each(|(_, field)| field.visit(visit)),
        }
    }

    /// The JSON that it stands for. `look_up` says what a reference leads to.
    ///
    /// # Errors
    /// The first reference that leads nowhere and has no default.
    pub(super) fn fill<'a>(
        &'a self,
        look_up: &impl Fn(&Reference) -> Option<Value>,
    ) -> Result<Value, &'a Reference> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::Reference(reference) => look_up(reference)
                .or_else(|| reference.default.clone())
                .ok_or(reference)?,
            Self::Array(items) => {
                let items = items.iter().map(|item| item.fill(look_up));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Self::Object(fields) => {
                let mut map = Map::with_capacity(fields.len());
                for (name, field) in fields {
                    map.insert(name.clone(), field.fill(look_up)?);
                }
                Value::Object(map)
            }
        })
    }
}

fn read_reference(
    mut map: Map<String, Value>,
    names: &Names<'_>,
    place: &str,
    faults: &mut Faults,
) -> Template {
    let pointer = map.shift_remove(REFERENCE).unwrap_or_default();
    let default = map.shift_remove(DEFAULT);
    for field in map.keys() {
        faults.add(
            &format!("{place}.{field}"),
            "must not stand beside $ref; only default may (put the object into $literal to pass it as it is)",
        );
    }
    let Some(pointer) = pointer.as_str() else {
        faults.add(place, "must have a string as $ref");
        return Template::Literal(Value::Null);
    };
    match Reference::parse(pointer, names) {
        Ok(reference) => Template::Reference(reference.or_else(default)),
        Err(why) => {
            faults.add(place, why);
            Template::Literal(Value::Null)
        }
    }
}
