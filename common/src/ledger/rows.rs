//! Many rows in one statement: `WITH v (…) AS (VALUES …)`, for PostgreSQL and SQLite alike.
//!
//! The number of rows is rounded up to a power of two with rows of NULLs, which match nothing: there are then only
//! nine texts per operation, and both databases find their prepared statement again.

use std::fmt::Write as _;

use sea_orm::{DatabaseBackend, Statement, Value};

/// The most rows of one statement; more become several statements.
const MAX_ROWS: usize = 256;

/// Rows on their way into statements. The first column must never be NULL in a real row.
#[derive(Clone, Debug)]
pub(super) struct Rows<const N: usize> {
    rows: Vec<[Value; N]>,
}

impl<const N: usize> Rows<N> {
    pub(super) fn new() -> Self {
        Self { rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: [Value; N]) {
        self.rows.push(row);
    }

    /// The statements `WITH v (columns) AS (VALUES rows) body`, as few as possible.
    pub(super) fn into_statements(
        self,
        backend: DatabaseBackend,
        columns: [&str; N],
        body: &str,
    ) -> Vec<Statement> {
        let mut statements = Vec::with_capacity(self.rows.len().div_ceil(MAX_ROWS));
        let mut rows = self.rows.into_iter().peekable();
        while rows.peek().is_some() {
            let chunk: Vec<[Value; N]> = rows.by_ref().take(MAX_ROWS).collect();
            statements.push(statement(backend, chunk, columns, body));
        }
        statements
    }
}

impl<const N: usize> FromIterator<[Value; N]> for Rows<N> {
    fn from_iter<I: IntoIterator<Item = [Value; N]>>(rows: I) -> Self {
        Self {
            rows: rows.into_iter().collect(),
        }
    }
}

fn statement<const N: usize>(
    backend: DatabaseBackend,
    mut rows: Vec<[Value; N]>,
    columns: [&str; N],
    body: &str,
) -> Statement {
    if let Some(first) = rows.first() {
        let filler = first.each_ref().map(Value::as_null);
        rows.resize(rows.len().next_power_of_two(), filler);
    }
    let mut sql = String::with_capacity(64 + body.len() + rows.len() * N * 6);
    sql.push_str("WITH v (");
    sql.push_str(&columns.join(", "));
    sql.push_str(") AS (VALUES ");
    for row in 0..rows.len() {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..N {
            sql.push_str(if column == 0 { "" } else { ", " });
            if backend == DatabaseBackend::Sqlite {
                // SQLite looks a numbered parameter up by its name, in time that grows with their number.
                sql.push('?');
            } else {
                // Writing to a string cannot fail.
                let _ = write!(sql, "${}", row * N + column + 1);
            }
        }
        sql.push(')');
    }
    sql.push_str(") ");
    sql.push_str(body);
    Statement::from_sql_and_values(backend, sql, rows.into_iter().flatten())
}

/// `($1, $2, …)` for an `IN` list, with the last value repeated up to a power of two.
pub(super) fn in_list(mut values: Vec<Value>) -> (String, Vec<Value>) {
    if let Some(last) = values.last().cloned() {
        values.resize(values.len().next_power_of_two(), last);
    }
    let list = (1..=values.len())
        .map(|n| format!("${n}"))
        .collect::<Vec<_>>()
        .join(", ");
    (format!("({list})"), values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_padded_to_a_power_of_two_and_split_at_the_limit() {
        let rows: Rows<2> = (0..3i64)
            .map(|n| [Value::from(n), Value::from("x")])
            .collect();
        let statements = rows.into_statements(
            DatabaseBackend::Postgres,
            ["id", "name"],
            "SELECT id FROM v",
        );
        assert_eq!(statements.len(), 1);
        assert_eq!(
            statements[0].sql,
            "WITH v (id, name) AS (VALUES ($1, $2), ($3, $4), ($5, $6), ($7, $8)) SELECT id FROM v"
        );
        let values = statements[0].values.as_ref().unwrap();
        assert_eq!(values.0[6], Value::BigInt(None));

        let many: Rows<1> = (0..300i64).map(|n| [Value::from(n)]).collect();
        let statements = many.into_statements(DatabaseBackend::Sqlite, ["id"], "SELECT id FROM v");
        assert_eq!(statements.len(), 2);
        assert!(
            statements[1]
                .sql
                .starts_with("WITH v (id) AS (VALUES (?), (?)")
        );
    }
}
