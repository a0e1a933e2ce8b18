//! Conversations, derived from the tasks that carry their names.

use std::time::Duration;

use sea_orm::QueryResult;

use super::convert::{agent_id, count, name};
use super::{Ledger, LedgerError};
use crate::domain::{Conversation, ConversationPart, SessionId, Timestamp, Usage};

/// The tasks of a conversation by agent and status.
const PARTS: &str = "SELECT agent_id, status, COUNT(*), CAST(SUM(attempt) AS BIGINT), CAST(SUM(tokens_used) AS BIGINT), \
     SUM(cost_estimate), MIN(submitted_at), MAX(COALESCE(completed_at, started_at, submitted_at)), MAX(submitted_at) \
     FROM tasks WHERE session_id = $1 GROUP BY agent_id, status";

/// How often a conversation was opened, and when for the last time: by a task before which nothing had happened for so
/// long. What has not ended is taken to last until now.
const OPENED: &str = "SELECT COUNT(*), MAX(submitted_at) FROM (SELECT submitted_at, \
     MAX(COALESCE(completed_at, $2)) OVER (ORDER BY submitted_at, task_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) \
     AS before FROM tasks WHERE session_id = $1) gaps WHERE before IS NULL OR submitted_at - before >= $3";

impl Ledger {
    /// A conversation, which ends when nothing has happened in it for `timeout`; `None` when no task carries its name.
    ///
    /// Reads all its tasks.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn conversation(
        &self,
        session_id: &SessionId,
        timeout: Duration,
        now: Timestamp,
    ) -> Result<Option<Conversation>, LedgerError> {
        let rows = self
            .within(|db| db.query(PARTS, [session_id.as_str().into()]))
            .await?;
        let parts: Vec<ConversationPart> = rows.iter().map(part).collect::<Result<_, _>>()?;
        if parts.is_empty() {
            return Ok(None);
        }
        let timeout_micros = i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX);
        let values = [
            session_id.as_str().into(),
            now.as_micros().into(),
            timeout_micros.into(),
        ];
        let rows = self.within(|db| db.query(OPENED, values)).await?;
        let opened = match rows.first() {
            Some(row) => (
                row.try_get_by_index::<Option<i64>>(1)?,
                count("count", row.try_get_by_index::<i64>(0)?)?,
            ),
            None => (None, 0),
        };
        let opened_at = Timestamp::from_micros(opened.0.unwrap_or_default());
        let opened = (opened_at, opened.1);
        Ok(Conversation::of(
            session_id.clone(),
            parts,
            opened,
            timeout,
            now,
        ))
    }
}

fn part(row: &QueryResult) -> Result<ConversationPart, LedgerError> {
    let tokens: Option<i64> = row.try_get_by_index(4)?;
    let (happened, submitted): (i64, i64) = (row.try_get_by_index(7)?, row.try_get_by_index(8)?);
    Ok(ConversationPart {
        agent_id: agent_id(&row.try_get_by_index::<String>(0)?)?,
        status: name("status", &row.try_get_by_index::<String>(1)?)?,
        tasks: count("count", row.try_get_by_index::<i64>(2)?)?,
        attempts: count("attempt", row.try_get_by_index::<i64>(3)?)?,
        usage: Usage {
            tokens_used: tokens
                .map(|tokens| count("tokens_used", tokens))
                .transpose()?,
            cost_estimate: row.try_get_by_index(5)?,
        },
        first_at: Timestamp::from_micros(row.try_get_by_index(6)?),
        last_at: Timestamp::from_micros(happened.max(submitted)),
    })
}
