//! How the deployments of agents stood when they were last looked at.

use super::convert::at;
use super::{Ledger, LedgerError};
use crate::domain::{AgentId, DeploymentRecord, Timestamp};

impl Ledger {
    /// Notes how the deployment of an agent stood at `now`.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn note_deployment(
        &self,
        agent_id: &AgentId,
        deployment: &DeploymentRecord,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let sql = "INSERT INTO agent_deployments (agent_id, deployment_id, status, stage, error, checked_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (agent_id) DO UPDATE SET \
             deployment_id = excluded.deployment_id, status = excluded.status, stage = excluded.stage, \
             error = excluded.error, checked_at = excluded.checked_at";
        let DeploymentRecord {
            deployment_id,
            status,
            stage,
            error,
        } = deployment.clone();
        let values = [
            agent_id.as_str().into(),
            deployment_id.into(),
            status.into(),
            stage.into(),
            error.into(),
            now.as_micros().into(),
        ];
        self.within(|db| db.execute(sql, values)).await?;
        Ok(())
    }

    /// How the deployment `deployment_id` of an agent last stood, and when; `None` when it was never looked at.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn deployment(
        &self,
        agent_id: &AgentId,
        deployment_id: &str,
    ) -> Result<Option<(DeploymentRecord, Option<Timestamp>)>, LedgerError> {
        let sql = "SELECT status, stage, error, checked_at FROM agent_deployments \
             WHERE agent_id = $1 AND deployment_id = $2";
        let values = [agent_id.as_str().into(), deployment_id.into()];
        let rows = self.within(|db| db.query(sql, values)).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let found = DeploymentRecord {
            deployment_id: deployment_id.to_owned(),
            status: row.try_get_by_index(0)?,
            stage: row.try_get_by_index(1)?,
            error: row.try_get_by_index(2)?,
        };
        Ok(Some((found, at(row.try_get_by_index(3)?))))
    }
}
