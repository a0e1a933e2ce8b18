//! Dead letters: messages that were not accepted, for people to look at and to send again.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, QueryResult, Value};
use uuid::Uuid;

use super::convert::{at, count, small};
use super::rows::Rows;
use super::{Connections, Ledger, LedgerError};
use crate::domain::{AuditEntry, AuditOutcome, DeadLetter, LetterId, Origin, Timestamp};

/// A place between two letters in their order: by the time they were put aside, then by identifier.
pub type LetterPlace = (Timestamp, LetterId);

/// Which dead letters to list.
#[derive(Clone, Debug, Default)]
pub struct LetterQuery {
    /// Only letters that were put aside for this reason.
    pub reason: Option<String>,
    /// Only letters older than this one.
    pub before: Option<LetterPlace>,
    /// At most this many.
    pub limit: u32,
}

const COLUMNS: [&str; 13] = [
    "letter_id",
    "received_at",
    "reason",
    "problem",
    "routing_key",
    "message_id",
    "correlation_id",
    "reply_to",
    "content_type",
    "headers",
    "body",
    "body_size",
    "refused_by",
];

/// A letter that comes again, because its replay was refused too, is there to be replayed again.
const KEEP: &str = "ON CONFLICT (letter_id) DO UPDATE SET received_at = excluded.received_at, reason = excluded.reason, \
     problem = excluded.problem, refused_by = excluded.refused_by, times = dead_letters.times + 1, replayed_at = NULL, replayed_by = NULL";

impl Ledger {
    /// Keeps dead letters, and writes down who refused them. Keeping one twice is harmless.
    ///
    /// A crash before the commit leaves them with the broker, and so does one after it: they come again.
    ///
    /// # Errors
    /// When the ledger does not take them.
    pub async fn keep_dead_letters(&self, letters: &[DeadLetter]) -> Result<(), LedgerError> {
        self.within(|db| self.keep_letters(db, letters)).await
    }

    async fn keep_letters(
        &self,
        db: &Connections,
        letters: &[DeadLetter],
    ) -> Result<(), LedgerError> {
        // One statement cannot write a row twice. In one order, so that two processes do not wait for each other.
        let once: BTreeMap<LetterId, &DeadLetter> = letters
            .iter()
            .map(|letter| (letter.letter_id, letter))
            .collect();
        let noted: Vec<AuditEntry> = once.values().map(|letter| put_aside(letter)).collect();
        let rows: Rows<{ COLUMNS.len() }> = once.into_values().map(values_of).collect();
        let columns = COLUMNS.join(", ");
        let body = format!(
            "INSERT INTO dead_letters ({columns}) SELECT {columns} FROM v WHERE v.letter_id IS NOT NULL {KEEP}"
        );
        let tx = db.begin().await?;
        for statement in rows.into_statements(self.backend(), COLUMNS, &body) {
            tx.execute_raw(statement).await?;
        }
        self.write_entries(&tx, &noted).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The dead letters that `query` asks for, newest first, without their bodies.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn dead_letters(&self, query: &LetterQuery) -> Result<Vec<DeadLetter>, LedgerError> {
        let mut conditions = vec!["TRUE".to_owned()];
        let mut values: Vec<Value> = Vec::new();
        if let Some(reason) = &query.reason {
            values.push(reason.as_str().into());
            conditions.push(format!("reason = ${}", values.len()));
        }
        if let Some((received_at, letter_id)) = query.before {
            values.push(received_at.as_micros().into());
            values.push(letter_id.uuid().into());
            let last = values.len();
            conditions.push(format!(
                "(received_at, letter_id) < (${}, ${last})",
                last - 1
            ));
        }
        let order = format!(
            "ORDER BY received_at DESC, letter_id DESC LIMIT {}",
            query.limit
        );
        let condition = conditions.join(" AND ");
        let rows = self
            .letters_where(&condition, &order, "NULL", values)
            .await?;
        rows.iter().map(letter).collect()
    }

    /// One dead letter with its body.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn dead_letter(&self, id: LetterId) -> Result<Option<DeadLetter>, LedgerError> {
        let values = vec![id.uuid().into()];
        let rows = self
            .letters_where("letter_id = $1", "", "body", values)
            .await?;
        rows.first().map(letter).transpose()
    }

    async fn letters_where(
        &self,
        condition: &str,
        order: &str,
        body: &str,
        values: Vec<Value>,
    ) -> Result<Vec<QueryResult>, LedgerError> {
        let columns = COLUMNS.map(|column| if column == "body" { body } else { column });
        let columns = columns.join(", ");
        let sql = format!(
            "SELECT {columns}, times, replayed_at, replayed_by FROM dead_letters WHERE {condition} {order}"
        );
        self.within(|db| db.query(&sql, values)).await
    }

    /// Notes that a dead letter was sent again, unless that is noted already or it came back since `letter` was read.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn note_replay(
        &self,
        letter: &DeadLetter,
        by: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let sql = "UPDATE dead_letters SET replayed_at = $1, replayed_by = $2 \
                   WHERE letter_id = $3 AND replayed_at IS NULL AND times = $4";
        let values = [
            now.as_micros().into(),
            by.into(),
            letter.letter_id.uuid().into(),
            small(letter.times).into(),
        ];
        let id = letter.letter_id.to_string();
        self.execute_noted("dead_letter.replay", &id, now, sql, &values)
            .await?;
        Ok(())
    }

    /// Throws a dead letter away; returns whether it was there.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn discard_dead_letter(&self, id: LetterId) -> Result<bool, LedgerError> {
        let sql = "DELETE FROM dead_letters WHERE letter_id = $1";
        let values = [id.uuid().into()];
        let (id, now) = (id.to_string(), Timestamp::now());
        self.execute_noted("dead_letter.discard", &id, now, sql, &values)
            .await
    }
}

/// What the audit log says of a letter.
fn put_aside(letter: &DeadLetter) -> AuditEntry {
    let refused_by = letter.refused_by.as_deref();
    AuditEntry {
        at: letter.received_at,
        origin: Origin::new(refused_by.unwrap_or("broker"), None),
        action: "message.dead_letter".to_owned(),
        resource: letter.letter_id.to_string(),
        outcome: AuditOutcome::Refused,
        detail: Some(format!("{} {}", letter.reason, letter.routing_key)),
    }
}

fn values_of(letter: &DeadLetter) -> [Value; COLUMNS.len()] {
    [
        letter.letter_id.uuid().into(),
        letter.received_at.as_micros().into(),
        letter.reason.as_str().into(),
        letter.problem.clone().into(),
        letter.routing_key.as_str().into(),
        letter.message_id.clone().into(),
        letter.correlation_id.clone().into(),
        letter.reply_to.clone().into(),
        letter.content_type.clone().into(),
        serde_json::to_string(&letter.headers)
            .unwrap_or_default()
            .into(),
        letter.body.clone().into(),
        i64::try_from(letter.size).unwrap_or(i64::MAX).into(),
        letter.refused_by.clone().into(),
    ]
}

fn letter(row: &QueryResult) -> Result<DeadLetter, LedgerError> {
    let headers: String = row.try_get_by_index(9)?;
    Ok(DeadLetter {
        letter_id: row.try_get_by_index::<Uuid>(0)?.into(),
        received_at: Timestamp::from_micros(row.try_get_by_index(1)?),
        reason: row.try_get_by_index(2)?,
        problem: row.try_get_by_index(3)?,
        routing_key: row.try_get_by_index(4)?,
        message_id: row.try_get_by_index(5)?,
        correlation_id: row.try_get_by_index(6)?,
        reply_to: row.try_get_by_index(7)?,
        content_type: row.try_get_by_index(8)?,
        headers: serde_json::from_str(&headers)
            .map_err(|_| LedgerError::Corrupt("the headers of a dead letter".to_owned()))?,
        body: row
            .try_get_by_index::<Option<Vec<u8>>>(10)?
            .unwrap_or_default(),
        size: count("body_size", row.try_get_by_index(11)?)?,
        refused_by: row.try_get_by_index(12)?,
        times: count("times", row.try_get_by_index::<i32>(13)?.into())?,
        replayed_at: at(row.try_get_by_index(14)?),
        replayed_by: row.try_get_by_index(15)?,
    })
}
