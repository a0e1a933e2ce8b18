//! Sums of sessions, made by the database: one row for all that are alike.

use std::fmt::Write as _;
use std::sync::LazyLock;

use sea_orm::QueryResult;

use crate::domain::{BOUNDS, ErrorCode, Performance, SessionOutcome, TaskStatus};
use crate::ledger::LedgerError;
use crate::ledger::convert::{count, name};

/// What is selected of sessions, to be grouped by the first four.
///
/// The outcome of an attempt after which the task was to be tried again is the code of its error.
pub(super) static COLUMNS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "outcome, error_code, {} AS took, {} AS waited, COUNT(*), CAST(SUM(ended_at - started_at) AS BIGINT), \
         CAST(COALESCE(SUM(waited_micros), 0) AS BIGINT), CAST(COALESCE(SUM(tokens_used), 0) AS BIGINT), \
         COALESCE(SUM(cost_estimate), 0.0)",
        slot("ended_at - started_at"),
        format_args!(
            "CASE WHEN waited_micros IS NULL THEN NULL ELSE {} END",
            slot("waited_micros")
        ),
    )
});

/// The range in which the time `expression` lies: a search by halves among the bounds, the same in both databases.
fn slot(expression: &str) -> String {
    let mut sql = String::new();
    search(&mut sql, expression, 0, BOUNDS.len());
    sql
}

/// Writes the search among the ranges `least` to `most`.
fn search(sql: &mut String, expression: &str, least: usize, most: usize) {
    // Writing to a string cannot fail.
    let Some(bound) = BOUNDS
        .get(usize::midpoint(least, most))
        .filter(|_| least < most)
    else {
        let _ = write!(sql, "{least}");
        return;
    };
    let middle = usize::midpoint(least, most);
    let _ = write!(sql, "CASE WHEN {expression} < {bound} THEN ");
    search(sql, expression, least, middle);
    sql.push_str(" ELSE ");
    search(sql, expression, middle + 1, most);
    sql.push_str(" END");
}

/// Adds a row of [`COLUMNS`], which begin at `from`.
pub(super) fn add(
    performance: &mut Performance,
    row: &QueryResult,
    from: usize,
) -> Result<(), LedgerError> {
    let written: String = row.try_get_by_index(from)?;
    let code: Option<String> = row.try_get_by_index(from + 1)?;
    let (outcome, code) = match written.parse::<TaskStatus>() {
        Ok(status) => (SessionOutcome::of(status), code),
        Err(()) => (SessionOutcome::Retried, Some(written)),
    };
    let took: i32 = row.try_get_by_index(from + 2)?;
    let waited: Option<i32> = row.try_get_by_index(from + 3)?;
    let number: u64 = count("count", row.try_get_by_index::<i64>(from + 4)?)?;
    // Clocks of workers differ: a session can seem to have ended before it began.
    let busy: i64 = row.try_get_by_index::<i64>(from + 5)?.max(0);
    let outcomes = &mut performance.outcomes;
    *match outcome {
        SessionOutcome::Completed => &mut outcomes.completed,
        SessionOutcome::Failed => &mut outcomes.failed,
        SessionOutcome::TimedOut => &mut outcomes.timed_out,
        SessionOutcome::Cancelled => &mut outcomes.cancelled,
        SessionOutcome::Retried | SessionOutcome::Running => &mut outcomes.retried,
    } += number;
    performance.busy_micros += count::<u64>("busy", busy)?;
    performance
        .response_time
        .add(count("slot", took.into())?, number);
    if let Some(slot) = waited {
        performance
            .queue_wait
            .add(count("slot", slot.into())?, number);
    }
    performance.waited_micros += count::<u64>("waited_micros", row.try_get_by_index(from + 6)?)?;
    performance.tokens += count::<u64>("tokens_used", row.try_get_by_index(from + 7)?)?;
    performance.cost += row.try_get_by_index::<f64>(from + 8)?;
    if let Some(code) = code.filter(|_| outcome != SessionOutcome::Cancelled) {
        let code: ErrorCode = name("error_code", &code)?;
        *performance.errors.entry(code.to_string()).or_default() += number;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_has_an_answer_for_every_range() {
        let sql = slot("x");
        for slot in 0..=BOUNDS.len() {
            assert!(
                sql.contains(&format!("THEN {slot} ")) || sql.contains(&format!("ELSE {slot} ")),
                "{slot}"
            );
        }
        assert_eq!(sql.matches("CASE").count(), BOUNDS.len());
        assert!(sql.starts_with("CASE WHEN x < "));
    }
}
