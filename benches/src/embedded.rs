//! The embedded default as a process of its own: a new folder, a free port, and an end with the measurement.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::connection::{Connection, Target};
use crate::program::{Folder, Program, free_address, variables};

/// A running `agent-orchestrator` without any service beside it. Killed, and its folder removed, when dropped.
#[derive(Debug)]
pub struct Embedded {
    program: Program,
    /// Where it listens, without a token.
    pub target: Target,
    /// Dropped after the process that writes to it.
    _folder: Folder,
}

impl Embedded {
    /// Starts the program at `path` with the settings of the embedded default and `more` on top.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(path: &Path, more: &[(String, String)]) -> Result<Self> {
        let folder = Folder::create()?;
        let address = free_address()?;
        let mut settings = variables([
            ("AGENT_ORCHESTRATOR_HOST", address.ip().to_string()),
            ("AGENT_ORCHESTRATOR_PORT", address.port().to_string()),
            (
                "ORCHESTRATOR_DATA_DIR",
                folder.0.join("data").display().to_string(),
            ),
        ]);
        settings.extend(more.iter().cloned());
        Ok(Self {
            program: Program::start(path, &[], &folder.0, &settings)?,
            target: Target {
                address,
                token: None,
            },
            _folder: folder,
        })
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// When the process was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.program.started
    }

    /// Waits until it is ready and returns a connection to it.
    ///
    /// # Errors
    /// When it ends instead, or is not ready within a minute; with the end of its log.
    pub async fn ready(&mut self) -> Result<Connection> {
        self.program.ready(&self.target).await
    }

    /// The last lines that it wrote.
    #[must_use]
    pub fn log_end(&self) -> String {
        self.program.log_end()
    }
}
