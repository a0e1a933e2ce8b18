//! Names that callers choose for their tasks: who comes first with one decides what it stands for.

use super::keys::NAME_SECONDS;
use super::{Cache, CacheUnavailable};
use crate::domain::TaskId;

impl Cache {
    /// Notes that `task_id` stands for the request with this fingerprint, unless it stands for another one already; returns
    /// the fingerprint that it stands for. What the ledger says counts more.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn name(
        &self,
        task_id: TaskId,
        fingerprint: [u8; 32],
    ) -> Result<[u8; 32], CacheUnavailable> {
        let key = self.keys.name(task_id);
        let mut first = redis::cmd("SET");
        first.arg(&key).arg(&fingerprint[..]).arg("NX");
        first.arg("EX").arg(NAME_SECONDS);
        let mut pipeline = redis::pipe();
        pipeline.add_command(first).ignore();
        pipeline.cmd("GET").arg(&key);
        let (held,): (Option<Vec<u8>>,) = self
            .run(|mut connection| {
                let pipeline = &pipeline;
                async move { pipeline.query_async(&mut connection).await }
            })
            .await?;
        // One that ran out in between is free again.
        let held = held.and_then(|bytes| bytes.try_into().ok());
        Ok(held.unwrap_or(fingerprint))
    }
}
