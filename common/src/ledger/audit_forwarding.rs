//! How far the audit log has been forwarded to another service.

use std::time::Duration;

use super::audit_pages::entry;
use super::{Connections, Ledger, LedgerError};
use crate::domain::{AuditEntry, Timestamp};

/// Longer than any transaction lasts: a number that is missing before an entry of that age is one that was never used.
const SETTLED: Duration = Duration::from_secs(60);

impl Ledger {
    /// The next entries that are to be forwarded, in the order of their numbers, at most `limit`.
    ///
    /// Numbers are given before transactions end, so that a lower one may come later than a higher: where one is missing,
    /// what follows waits until the missing one is there or can no longer come.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn entries_to_forward(
        &self,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<(i64, AuditEntry)>, LedgerError> {
        let columns = super::audit::COLUMNS.join(", ");
        let sql =
            format!("SELECT seq, {columns} FROM audit WHERE seq > $1 ORDER BY seq LIMIT {limit}");
        self.within(|db| async move {
            let mut last = forwarded(db).await?;
            let mut ready = Vec::new();
            for row in db.query(&sql, [last.into()]).await? {
                let (seq, entry) = entry(&row)?;
                let follows = last.checked_add(1) == Some(seq);
                if !follows && entry.at.plus(SETTLED) > now {
                    break;
                }
                last = seq;
                ready.push((seq, entry));
            }
            Ok(ready)
        })
        .await
    }

    /// Notes that every entry up to the number `seq` was forwarded. A crash before the commit has them forwarded again.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn note_forwarded(&self, seq: i64) -> Result<(), LedgerError> {
        let sql = "INSERT INTO audit_forwarding (log, forwarded) VALUES ('audit', $1) ON CONFLICT (log) \
                   DO UPDATE SET forwarded = excluded.forwarded WHERE audit_forwarding.forwarded < excluded.forwarded";
        self.within(|db| db.execute(sql, [seq.into()])).await?;
        Ok(())
    }
}

/// The number of the last entry that was forwarded; 0 before the first.
pub(super) async fn forwarded(db: &Connections) -> Result<i64, LedgerError> {
    let sql = "SELECT forwarded FROM audit_forwarding WHERE log = 'audit'";
    let rows = db.query(sql, []).await?;
    let forwarded = rows
        .first()
        .map(|row| row.try_get_by_index(0))
        .transpose()?;
    Ok(forwarded.unwrap_or(0))
}
