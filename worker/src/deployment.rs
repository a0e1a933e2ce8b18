//! Asks the Deployment Pipeline, if there is one, before an agent's brain is made.

use orchestrator_common::deployment_pipeline::PipelineError;
use orchestrator_common::domain::{AgentRecord, Timestamp};
use orchestrator_common::ledger::LedgerError;

use crate::worker::WorkerContext;

/// Why the deployment of an agent keeps it from being started; `None` when nothing does.
///
/// What the pipeline does not know, and a pipeline that does not answer, keep no agent: it is started without.
pub(crate) async fn obstacle(
    context: &WorkerContext,
    agent: &AgentRecord,
) -> Result<Option<String>, LedgerError> {
    let (Some(pipeline), Some(deployment_id)) = (&context.pipeline, &agent.deployment_id) else {
        return Ok(None);
    };
    let agent_id = &agent.agent_id;
    let deployment = match pipeline.deployment(deployment_id).await {
        Ok(deployment) => deployment,
        Err(PipelineError::UnknownDeployment) => return Ok(None),
        Err(
            error @ (PipelineError::Unreachable(_)
            | PipelineError::Unavailable(_)
            | PipelineError::TimedOut(_)
            | PipelineError::InvalidAnswer(_)),
        ) => {
            tracing::warn!(%agent_id, %error, "an agent is started without knowing how its deployment stands");
            return Ok(None);
        }
    };
    let now = Timestamp::now();
    context
        .ledger
        .note_deployment(agent_id, &deployment, now)
        .await?;
    Ok(deployment.has_failed().then(|| {
        let why = deployment.error.as_deref().unwrap_or("no reason is known");
        format!("its deployment {deployment_id} has failed: {why}")
    }))
}
