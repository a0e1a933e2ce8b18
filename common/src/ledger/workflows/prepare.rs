//! From a request to a run that can be started: what it names is looked up.

use super::super::{Ledger, LedgerError};
use crate::domain::workflow::{Definition, Draft, NewRun, RunId, RunRequest, RunSource};
use crate::domain::{Faults, Timestamp};

impl Ledger {
    /// A definition that names only agents and domains that there are, or all that is wrong with it.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn check_draft(
        &self,
        draft: Draft,
    ) -> Result<Result<Definition, Faults>, LedgerError> {
        let agents = self.registered_among(draft.agents()).await?;
        let domains = self.agents_of_domains(draft.domains()).await?;
        Ok(draft.checked(
            |agent_id| agents.contains(agent_id),
            |domain| domains.contains_key(domain),
        ))
    }

    /// The run that a request asks for, or all that is wrong with it.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn prepare_run(
        &self,
        request: RunRequest,
        run_id: RunId,
        created_at: Timestamp,
    ) -> Result<Result<NewRun, Faults>, LedgerError> {
        let (named, body, draft) = match request.source {
            RunSource::Inline { body, draft } => (None, body, *draft),
            RunSource::Stored(name, version) => {
                let Some(stored) = self.definition(&name, version).await? else {
                    return Ok(Err(match version {
                        None => Faults::one("name", format!("there is no definition {name}")),
                        Some(version) => Faults::one(
                            "version",
                            format!("there is no version {version} of {name}"),
                        ),
                    }));
                };
                // Agents come and go after a definition was stored.
                let draft = Draft::read(stored.body.clone());
                (Some((name, stored.summary.version)), stored.body, draft)
            }
        };
        let definition = match self.check_draft(draft).await? {
            Ok(definition) => definition,
            Err(faults) => return Ok(Err(faults)),
        };
        Ok(Ok(NewRun {
            run_id,
            named,
            body,
            definition,
            input: request.input,
            created_at,
            fingerprint: None,
            traceparent: None,
        }))
    }
}
