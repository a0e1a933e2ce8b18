//! Conditions of a query with their values, numbered as they come.

use sea_orm::Value;

/// Conditions that must all hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    sql: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// `sql` and a value behind it.
    pub(super) fn add(&mut self, sql: &str, value: impl Into<Value>) {
        let place = self.bind(value);
        self.sql.push(format!("{sql} {place}"));
    }

    /// `sql` and a row of values behind it.
    pub(super) fn add_row<const N: usize>(&mut self, sql: &str, row: [Value; N]) {
        let places = row.map(|value| self.bind(value)).join(", ");
        self.sql.push(format!("{sql} ({places})"));
    }

    /// `sql` as it is.
    pub(super) fn add_plain(&mut self, sql: &str) {
        self.sql.push(sql.to_owned());
    }

    /// The place of a value.
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    /// None yet, for a query around one with these.
    pub(super) fn outside(&self) -> Self {
        Self {
            sql: Vec::new(),
            values: self.values.clone(),
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.sql.is_empty()
    }

    /// The values of all of them and of those inside.
    pub(super) fn values(&self) -> Vec<Value> {
        self.values.clone()
    }

    /// `WHERE` and all of them, or nothing.
    pub(super) fn clause(&self) -> String {
        if self.sql.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", self.sql.join(" AND "))
        }
    }
}
