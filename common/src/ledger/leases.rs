//! Leases on work that one worker at a time does for all.

use std::time::Duration;

use super::{Ledger, LedgerError};
use crate::domain::{Timestamp, WorkerId};

impl Ledger {
    /// Takes or renews the lease on the work `name`; returns whether `holder` has it now, for `lease` from `now`.
    ///
    /// A holder that crashes keeps others away for `lease` at most.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn lease(
        &self,
        name: &str,
        holder: WorkerId,
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let sql = "INSERT INTO leases (name, holder, held_until) VALUES ($1, $2, $3) \
                   ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until \
                   WHERE leases.holder = excluded.holder OR leases.held_until <= $4";
        let values = [
            name.into(),
            holder.uuid().into(),
            now.plus(lease).as_micros().into(),
            now.as_micros().into(),
        ];
        let taken = self.within(|db| db.execute(sql, values)).await?;
        Ok(taken > 0)
    }

    /// Gives up a lease, if `holder` has it.
    ///
    /// # Errors
    /// When the ledger does not take it; the lease then runs out.
    pub async fn release(&self, name: &str, holder: WorkerId) -> Result<(), LedgerError> {
        let sql = "DELETE FROM leases WHERE name = $1 AND holder = $2";
        let values = [name.into(), holder.uuid().into()];
        self.within(|db| db.execute(sql, values)).await?;
        Ok(())
    }
}
